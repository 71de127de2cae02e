"""The folder of a study: where each file is, which stages are done, and its lock."""

import fnmatch
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import ValidationError

from kdtool.errors import RecipeError, StudyError
from kdtool.files import UNFINISHED, sha256_of, write_atomic
from kdtool.recipe.load import load_recipe, recipe_toml
from kdtool.recipe.schema import Recipe
from kdtool.results.base import Record, Role, to_json
from kdtool.results.study import Results, load_results
from kdtool.study.keys import key_of, short_key
from kdtool.study.stages import StageRecord, read_record, write_record

R = TypeVar("R", bound=Record)
StartTable = Literal["teacher", "student"]
LOCK = ".lock"
TENSORBOARD = "tensorboard"  # folder of its log
SECONDS_TO_WAIT = 0.2  # for the lock: `kdtool status` holds it for a moment, to see if it is free

# The students that each table of the recipe is about; its keys can be swept.
SWEPT: dict[str, Role] = {"distill": "student", "subclass": "subclass-student"}


def swept_role(sweep: Iterable[str]) -> Role:
    """Return the role of the students that a sweep over these recipe keys trains."""
    return SWEPT[next(iter(sweep)).partition(".")[0]]


class Origin(Record):
    """The weights that the models of a table start from; replaces the file if that is gone."""

    name: str  # of the file
    identity: str  # SHA-256 of the file, or name and address of published weights
    network: str  # the model that loaded them
    # Mean and deviation of the channels of the images that the weights were trained on, if known
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None


def refuse_damage(text: str) -> None:
    """Raise StudyError: the file of a stage is damaged, and nothing can run that stage again."""
    raise StudyError(text)


class Study:
    """The folder of one study.

    Every stage leaves `stages/NAME.json` with its key, its result and the hashes of the files it
    wrote. The stage runs again if the key is another one, or if record or files do not match their
    hashes.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = refuse_damage) -> None:
        """Name the folder; it need not exist.

        Args:
            folder: Of the study.
            warn: Called with the name of each damaged file and what runs again for it. Without it,
                as where nothing can be run again, damage is an error.
        """
        self.folder = folder
        self.warn = warn
        self._warned: set[str] = set()
        self._hashed: dict[Path, tuple[tuple[int, ...], str]] = {}

    @property
    def recipe_path(self) -> Path:
        """The recipe that was run, with every `--set` applied."""
        return self.folder / "recipe.toml"

    @property
    def results_path(self) -> Path:
        """The results.json."""
        return self.folder / "results.json"

    def checkpoint(self, role: str, seed: int, key: str) -> Path:
        """Return the path of the weights of one training; each setting has a file of its own."""
        return self.folder / "checkpoints" / f"{role}-seed{seed}-{short_key(key)}.safetensors"

    def predictions(self, role: str, seed: int, key: str) -> Path:
        """Return the path of the probabilities that one model gives each test image."""
        return self.folder / "predictions" / f"{role}-seed{seed}-{short_key(key)}.npz"

    def stage(
        self, name: str, key: str, kind: type[R], make: Callable[[], tuple[R, list[Path]]]
    ) -> R:
        """Return the result of a stage: the recorded one, or else what `make` computes.

        Args:
            name: Of the stage; the same name with another key replaces it.
            key: From `key_of`, over all that the result depends on.
            kind: Class of the result.
            make: Returns the result and the files that it wrote.

        Raises:
            StudyError: A file of the stage cannot be read or written.
        """
        done = self.done(name, key, kind)
        if done is not None:
            return done
        result, files = make()
        self._write(name, key, result, files)
        return result

    def _write(self, name: str, key: str, result: Record, files: list[Path]) -> None:
        hashes = {path.relative_to(self.folder).as_posix(): sha256_of(path) for path in files}
        write_record(
            self._record(name), StageRecord(key, hashes, result=json.loads(to_json(result)))
        )

    def done(self, name: str, key: str, kind: type[R]) -> R | None:
        """Return the result of a finished stage, or None if the stage has to run.

        A record or file that does not match its hash is reported, once.

        Raises:
            StudyError: A file of the stage exists and cannot be read.
        """
        record = self.record(name)
        if record is None or record.key != key or not self.has_files(name, record):
            return None
        try:
            return kind.model_validate(record.result)
        except ValidationError:
            self._report(self._record(name), "has a result that this kdtool cannot read", name)
            return None

    def record(self, name: str) -> StageRecord | None:
        """Return the record of a stage, whatever its key; None if absent or damaged.

        Raises:
            StudyError: It exists and cannot be read.
        """
        try:
            return read_record(self._record(name))
        except ValueError as error:
            self._report(self._record(name), str(error), name)
            return None

    def records(self, pattern: str) -> Iterator[tuple[str, StageRecord]]:
        """Yield name and record of the stages with such names, in order; damaged ones are left out.

        Args:
            pattern: With wildcards, such as `student-seed0-*`.

        Raises:
            StudyError: The folder or a record exists and cannot be read.
        """
        try:
            names = sorted(path.stem for path in (self.folder / "stages").iterdir())
        except FileNotFoundError:
            return
        except OSError as error:
            raise StudyError(f"cannot read {self.folder / 'stages'}: {error.strerror}") from error
        for name in fnmatch.filter(names, pattern):
            if record := self.record(name):
                yield name, record

    def written_at(self, name: str) -> int:
        """Return when the record of a stage was written, in nanoseconds; it must exist."""
        return self._record(name).stat().st_mtime_ns

    def files_of(self, name: str) -> list[Path]:
        """Return the record of a stage and its files; empty if it has no record."""
        if (record := self.record(name)) is None:
            return []
        return [self._record(name), *(self.folder / path for path in record.files)]

    def has_files(self, name: str, record: StageRecord) -> bool:
        """Return whether the files of a record exist with their content; report those that do not.

        Raises:
            StudyError: One exists and cannot be read.
        """
        for relative, digest in record.files.items():
            path = self.folder / relative
            try:
                found = self._sha256_of(path)
            except FileNotFoundError:
                self._report(path, "is missing", name)
                return False
            except OSError as error:
                raise StudyError(
                    f"cannot read {path}: {error.strerror}; make it readable, or delete it to have "
                    "it made again"
                ) from error
            if found != digest:
                self._report(path, "was changed: it does not match its SHA-256", name)
                return False
        return True

    def _sha256_of(self, path: Path) -> str:
        """Hash a file, once until it is written again: a study asks for its stages often."""
        status = path.stat()
        stamp = status.st_ino, status.st_size, status.st_mtime_ns
        if path not in self._hashed or self._hashed[path][0] != stamp:
            self._hashed[path] = stamp, sha256_of(path)
        return self._hashed[path][1]

    def _report(self, path: Path, fault: str, name: str) -> None:
        text = f"{path} {fault}; stage {name} runs again"
        if text not in self._warned:
            self._warned.add(text)
            self.warn(text)

    def origin(self, table: StartTable) -> Origin | None:
        """Return the recorded origin of the models of a table; None if none was recorded."""
        name = f"weights-{table}"
        record = self.record(name)
        if record is not None and not record.is_sealed:  # of kdtool 0.1.0
            return Origin.model_validate(record.result)
        return self.done(name, key_of("origin"), Origin)

    def record_origin(self, table: StartTable, origin: Origin | None) -> None:
        """Record the weights that the models of a table start from, if they start from any."""
        if origin and origin != self.origin(table):
            self._write(f"weights-{table}", key_of("origin"), origin, [])

    def forget(self, name: str) -> None:
        """Delete the record of a stage, or of all `NAME-ROLE` stages, so that it runs again.

        Raises:
            StudyError: One cannot be deleted.
        """
        records = self.folder / "stages"
        for record in (*records.glob(f"{name}.json"), *records.glob(f"{name}-*.json")):
            try:
                record.unlink()
            except OSError as error:  # a folder, or no permission
                raise StudyError(
                    f"cannot delete {record}: {error.strerror}; delete it yourself to have this "
                    "stage run again"
                ) from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of the folder, which the system releases if the process dies.

        A folder created for the lock is removed again if nothing was written.

        Raises:
            StudyError: Another run holds the lock, or the folder cannot be written.
        """
        from filelock import FileLock, Timeout  # asyncio with it: 50 ms that other commands save

        is_new = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / LOCK)
            lock.acquire(timeout=SECONDS_TO_WAIT)
        except Timeout as error:
            raise StudyError(
                f"{self.folder} is in use by another kdtool run; wait for it, "
                "or choose another folder with --out"
            ) from error
        except OSError as error:
            raise StudyError(f"cannot write {self.folder}: {error.strerror}") from error
        try:
            self._delete_unfinished()  # left by a killed run
            yield
        finally:
            self._delete_unfinished()  # left by training processes that a signal ended
            if is_new and [path.name for path in self.folder.iterdir()] == [LOCK]:
                with suppress(OSError):  # Windows does not delete open files
                    (self.folder / LOCK).unlink()
                    self.folder.rmdir()
            lock.release()

    def _delete_unfinished(self) -> None:
        for orphan in [*self.folder.rglob(f"*{UNFINISHED}*")]:
            if orphan.is_dir() and not orphan.is_symlink():
                shutil.rmtree(orphan, ignore_errors=True)
            else:
                orphan.unlink(missing_ok=True)

    def is_locked(self) -> bool | None:
        """Return whether a run holds the lock; None where that cannot be found out."""
        path = self.folder / LOCK
        if not path.exists():
            return False
        try:
            import fcntl
        except ImportError:  # Windows
            return _is_locked_elsewhere(path)
        try:
            with path.open("rb") as file:  # as `FileLock` does it, but the folder may be read only
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except OSError:
            return None
        return False

    def record_recipe(self, recipe: Recipe) -> None:
        """Write the recipe, with every `--set` applied."""
        write_atomic(self.recipe_path, recipe_toml(recipe))

    def load_recipe(self, overrides: list[str] | None = None) -> Recipe:
        """Read the recipe that was run.

        Args:
            overrides: `KEY=VALUE` each.

        Raises:
            StudyError: It is damaged.
        """
        try:
            return load_recipe(self.recipe_path, overrides)
        except RecipeError as error:
            if overrides:
                raise  # perhaps of these
            raise StudyError(
                f"{error}\nit is the recipe of a study: put the unchanged file back, or delete it "
                "and run the command that made the study again: it writes the file and trains "
                "nothing"
            ) from error

    def _record(self, name: str) -> Path:
        return self.folder / "stages" / f"{name}.json"


def _is_locked_elsewhere(path: Path) -> bool | None:
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return None
    lock.release()
    return False


def load_study(
    folder: Path, warn: Callable[[str], None] = refuse_damage
) -> tuple[Study, Recipe, Results]:
    """Open the finished study in `folder`.

    Args:
        folder: Of the study.
        warn: As of `Study`.

    Raises:
        StudyError: There is none.
    """
    study = Study(folder, warn)
    if not study.results_path.exists():
        raise StudyError(
            f"{folder} holds no finished study (no results.json); run `kdtool distill RECIPE` first"
        )
    return study, study.load_recipe(), load_results(study.results_path)
