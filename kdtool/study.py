"""The folder of a recipe: where each file lies, atomic writes, which stages are done."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from filelock import FileLock, Timeout
from pydantic import BaseModel

from kdtool import __version__
from kdtool.errors import StudyError
from kdtool.files import UNFINISHED, sha256_of, write_atomic
from kdtool.recipe import Recipe
from kdtool.recipe_file import load_recipe, recipe_toml
from kdtool.record import Record, Role, to_json
from kdtool.results import DataResult, Results, load_results

R = TypeVar("R", bound=Record)
StartTable = Literal["teacher", "student"]
LOCK = ".lock"

MAY_CHANGE: dict[str, Any] = {
    "data": {"root"},
    "export": True,
    "profile": True,
    "explain": True,
}

# Whose learning the keys of a table say; these can be swept.
SWEPT: dict[str, Role] = {"distill": "student", "subclass": "subclass-student"}


def swept_role(sweep: Iterable[str]) -> Role:
    """Return whose settings a sweep over these recipe keys tries."""
    return SWEPT[next(iter(sweep)).partition(".")[0]]


def same_but_for_files(one: dict[str, object], other: dict[str, object]) -> bool:
    """Say whether two recipes of results.json ask for the same models, whatever files are called.

    Files that models start from are known by their content, which neither of them holds.
    """
    keys = {key for key in one.keys() | other.keys() if MAY_CHANGE.get(key) is not True}
    return all(_nameless(one.get(key)) == _nameless(other.get(key)) for key in keys)


def _nameless(content: object) -> object:
    """Return a table without the names of files."""
    if not isinstance(content, dict):
        return content
    weights, model = content.get("weights"), content.get("model")
    names = {
        "weights": "a file" if weights not in {None, "imagenet"} else weights,
        "model": "a file" if str(model).lower().endswith(".onnx") else model,
    }
    return content | names


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

    def claim(
        self, recipe: Recipe, data: DataResult, *, sweep: dict[str, list[Any]], force: bool
    ) -> None:
        """Bind the folder to a recipe and its data.

        Args:
            recipe: Recorded in the folder.
            data: What it was found to name.
            sweep: Keys whose value is still to be chosen; these may differ.
            force: Take the folder over; stages that fit the new recipe are kept all the same.

        Raises:
            StudyError: It holds the study of another recipe or data, and `force` is False.
        """
        differences = [] if force else self._differences(recipe, data, sweep)
        if differences:
            lines = [f"{self.folder} holds a study that was made otherwise:", *differences]
            fix = (
                "give the new one another name with --set name=..., or put it into this folder "
                "with --force, where all that fits both is kept"
            )
            raise StudyError("\n".join([*lines, fix]))
        self.record_recipe(recipe)

    def _differences(
        self, recipe: Recipe, data: DataResult, sweep: dict[str, list[Any]]
    ) -> list[str]:
        differences = []
        old_results = load_results(self.results_path) if self.results_path.exists() else None
        tried = (
            {key for point in old_results.sweep for key in point.settings} if old_results else ()
        )
        if self.recipe_path.exists() and any(self.folder.glob("checkpoints/*")):
            old, new = _settings(load_recipe(self.recipe_path)), _settings(recipe)
            self._compare_weights(recipe, old, new)
            untouched = () if any(self.folder.glob("checkpoints/subclass-*")) else ("subclass.",)
            differences += [
                f"  {key}: there {old.get(key)}, here {new.get(key)}"
                + (f" (its sweep chose: --set {key}={old[key]} keeps it)" if key in tried else "")
                for key in sorted(old.keys() | new.keys())
                if key not in sweep and not key.startswith(untouched)
                if old.get(key) != new.get(key)
            ]
        if old_results:
            swept = swept_role(sweep) if sweep else None
            if swept in old_results.models and swept not in {p.role for p in old_results.sweep}:
                differences.append(f"  sweep: there none, here over {', '.join(sweep)}")
            made_from = old_results.data
            if made_from.fingerprint != data.fingerprint:
                differences.append(
                    f"  data: there {made_from.description}, {made_from.num_train:,} to train on, "
                    f"here {data.description}, {data.num_train:,} to train on"
                )
        return differences

    def _compare_weights(
        self, recipe: Recipe, old: dict[str, object], new: dict[str, object]
    ) -> None:
        """Have files of weights compared by their content, where that is known, and not by name."""
        tables: tuple[tuple[StartTable, str | None], ...] = (
            ("teacher", recipe.teacher.weights),
            ("student", recipe.student.weights),
        )
        for table, weights in tables:
            known, key = self.origin(table), f"{table}.weights"
            if known is None or weights is None or not Path(weights).is_file():
                continue
            if sha256_of(Path(weights)) == known.identity:
                old[key] = new[key]
            elif old[key] == new[key]:
                new[key] = f"another file of the name {new[key]}"

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


def _settings(recipe: Recipe) -> dict[str, object]:
    """Return the recipe as key -> value, without what may change within a study.

    These are the places of files, which are known by their content, and the tables of stages that
    are cheap to run again.
    """
    settings: dict[str, object] = {}
    content_of = recipe.without_paths.model_dump(mode="json", exclude=MAY_CHANGE)
    for table, content in content_of.items():
        if isinstance(content, dict):
            settings |= {f"{table}.{key}": value for key, value in content.items()}
        else:
            settings[table] = content
    return settings


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(f"cannot hash {type(value).__name__}")
