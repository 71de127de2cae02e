"""The folder of a recipe: where each file lies, atomic writes, which stages are done."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel

from kdtool import __version__
from kdtool.errors import StudyError
from kdtool.files import UNFINISHED, sha256_of, write_atomic
from kdtool.recipe.load import load_recipe, recipe_toml
from kdtool.recipe.schema import Recipe
from kdtool.results.base import Record, Role, to_json
from kdtool.results.study import Results, load_results

R = TypeVar("R", bound=Record)
StartTable = Literal["teacher", "student"]
LOCK = ".lock"

# Whose learning the keys of a table say; these can be swept.
SWEPT: dict[str, Role] = {"distill": "student", "subclass": "subclass-student"}


def swept_role(sweep: Iterable[str]) -> Role:
    """Return whose settings a sweep over these recipe keys tries."""
    return SWEPT[next(iter(sweep)).partition(".")[0]]


def key_of(*parts: object) -> str:
    """Return a hash of all that a stage depends on, and of kdtool's version."""
    text = json.dumps([__version__, *parts], sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Origin(Record):
    """What the models of a table start from; with it a study can do without the file."""

    name: str  # of the file
    identity: str  # SHA-256 of the file, or name and address of what is published
    network: str  # that takes them; another is not known to
    # Mean and deviation of the channels of the images that the weights were trained on, if known
    normalization: tuple[tuple[float, ...], tuple[float, ...]] | None


class Study:
    """The folder of one study.

    Every stage leaves `stages/NAME.json` with its key, its result and the hashes of the files it
    wrote. It is not run again while all three stand.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def recipe_path(self) -> Path:
        """The recipe as it was run, with every `--set` in it."""
        return self.folder / "recipe.toml"

    @property
    def results_path(self) -> Path:
        """The results.json."""
        return self.folder / "results.json"

    def checkpoint(self, role: str, seed: int, key: str) -> Path:
        """The weights of one run of training; runs of different settings stand side by side."""
        return self.folder / "checkpoints" / f"{role}-seed{seed}-{key[:8]}.safetensors"

    def predictions(self, role: str, seed: int, key: str) -> Path:
        """The probabilities that one model gives each test image."""
        return self.folder / "predictions" / f"{role}-seed{seed}-{key[:8]}.npz"

    def stage(
        self, name: str, key: str, kind: type[R], make: Callable[[], tuple[R, list[Path]]]
    ) -> R:
        """Return the result of a stage, which `make` computes if it does not stand already.

        Args:
            name: Of the stage; the same name with another key replaces it.
            key: From `key_of`, over all that the result depends on.
            kind: Class of the result.
            make: Returns the result and the files that it wrote.
        """
        done = self.done(name, key, kind)
        if done is not None:
            return done
        result, files = make()
        self._write(name, key, result, files)
        return result

    def _write(self, name: str, key: str, result: Record, files: list[Path]) -> None:
        record = {
            "key": key,
            "files": {path.relative_to(self.folder).as_posix(): sha256_of(path) for path in files},
            "result": json.loads(to_json(result)),
        }
        write_atomic(self._record(name), json.dumps(record, indent=1))

    def done(self, name: str, key: str, kind: type[R]) -> R | None:
        """Return the result of a stage that stands, or None if it has to be run."""
        try:
            record = json.loads(self._record(name).read_bytes())
            if record["key"] != key:
                return None
            for path, digest in record["files"].items():
                if sha256_of(self.folder / path) != digest:
                    return None
            return kind.model_validate(record["result"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # absent, cut off or of an older kdtool: the stage is run again

    def origin(self, table: StartTable) -> Origin | None:
        """Return what the models of a table were last seen to start from, if it was recorded."""
        return self.done(f"weights-{table}", key_of("weights"), Origin)

    def record_origin(self, table: StartTable, origin: Origin | None) -> None:
        """Record what the models of a table start from, if from any weights."""
        if origin and origin != self.origin(table):
            self._write(f"weights-{table}", key_of("weights"), origin, [])

    def forget(self, name: str) -> None:
        """Have a stage run again: the one of that name, or one for each role."""
        records = self.folder / "stages"
        for record in (*records.glob(f"{name}.json"), *records.glob(f"{name}-*.json")):
            record.unlink()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of the folder; the lock ends with the process, however it ends.

        A folder that is made for it goes again if nothing was written.

        Raises:
            StudyError: Another run is in it, or it cannot be written.
        """
        is_new = not self.folder.exists()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / LOCK)
            lock.acquire(timeout=0)
        except Timeout as error:
            raise StudyError(
                f"{self.folder} is in use by another kdtool run; wait for it, "
                "or choose another folder with --out"
            ) from error
        except OSError as error:
            raise StudyError(f"cannot write {self.folder}: {error.strerror}") from error
        try:
            for orphan in self.folder.rglob(f"*{UNFINISHED}*"):  # of a run that was killed
                orphan.unlink()
            yield
        finally:
            if is_new and [path.name for path in self.folder.iterdir()] == [LOCK]:
                with suppress(OSError):  # Windows deletes no open file
                    (self.folder / LOCK).unlink()
                    self.folder.rmdir()
            lock.release()

    def record_recipe(self, recipe: Recipe) -> None:
        """Write the recipe as it is run."""
        write_atomic(self.recipe_path, recipe_toml(recipe))

    def _record(self, name: str) -> Path:
        return self.folder / "stages" / f"{name}.json"


def load_study(folder: Path) -> tuple[Study, Recipe, Results]:
    """Open the finished study in `folder`.

    Raises:
        StudyError: There is none.
    """
    study = Study(folder)
    if not study.results_path.exists():
        raise StudyError(
            f"{folder} holds no finished study (no results.json); `kdtool distill RECIPE` makes one"
        )
    return study, load_recipe(study.recipe_path), load_results(study.results_path)


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"cannot hash {type(value).__name__}")
