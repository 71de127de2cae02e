"""Whether a finished study has anything left to do, found out without PyTorch and the images.

When a command ends, it records what it was asked, the size and time of change of every file that it
read or left in the study, and the SHA-256 of the files that a user takes from it. The same command
compares these first. Any difference, and any doubt, means that the command runs as usual.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import kdtool
from kdtool.environment import collect_environment
from kdtool.errors import StudyError
from kdtool.files import sha256_of, size_and_time
from kdtool.recipe.schema import Recipe
from kdtool.results.study import Results, load_results
from kdtool.study.folder import LOCK, TENSORBOARD, Study
from kdtool.study.keys import ALGORITHMS, key_of
from kdtool.study.stages import StageRecord, read_record, write_record

NAME = "finished.json"  # in the folder `stages`


def command_key(
    recipe: Recipe, *, subclasses: bool, sweep: dict[str, list[Any]], device: str
) -> str:
    """Return the key of a command on this machine, with this kdtool and these packages.

    Args:
        recipe: As the user gives it, with every `--set`.
        subclasses: Whether the command is subclass-distill.
        sweep: Recipe keys and values.
        device: As the user gives it, "auto" included.
    """
    environment = collect_environment(None)
    machine = [environment.cpu, environment.num_cores, environment.python, environment.packages]
    whole = recipe.model_dump(mode="json")  # in another kdtool a default may differ
    return key_of(ALGORITHMS, kdtool.__version__, machine, whole, subclasses, sweep, device)


def record_finished(study: Study, key: str, inputs: Iterable[Path]) -> None:
    """Record that a command is finished; the last thing that it writes.

    Args:
        study: With its lock held.
        key: Of `command_key`.
        inputs: Files and folders outside the study that its results depend on.
    """
    places = [*inputs, Path(kdtool.__file__).parent]
    record = StageRecord(
        key=key,
        files={path.name: sha256_of(path) for path in _files_for_users(study)},
        result={
            "study": state_of(study.folder, study.folder),
            "folder": str(Path.cwd()),  # where the user's own networks are looked for
            "inputs": {str(path): state_of(path, study.folder) for path in places},
        },
    )
    write_record(study.folder / "stages" / NAME, record)


def finished_results(study: Study, key: str) -> Results | None:
    """Return the results of a study if the command of that key has nothing left to do.

    Args:
        study: Its folder need not exist.
        key: Of `command_key`.
    """
    try:
        record = read_record(study.folder / "stages" / NAME)
        if record is None or record.key != key or not _is_unchanged(study, record):
            return None
        return load_results(study.results_path)
    except (OSError, ValueError, KeyError, StudyError):
        return None  # the command runs, and reports what is wrong


def _is_unchanged(study: Study, record: StageRecord) -> bool:
    found, files = record.result, _files_for_users(study)
    return (
        found["folder"] == str(Path.cwd())
        and {path.name for path in files} == record.files.keys()
        and found["study"] == state_of(study.folder, study.folder)
        and all(state_of(Path(p), study.folder) == then for p, then in found["inputs"].items())
        and all(sha256_of(path) == record.files[path.name] for path in files)
    )


def _files_for_users(study: Study) -> list[Path]:
    """Return the files in the folder itself: results.json, the report, the recipe, the models."""
    return [path for path in study.folder.iterdir() if path.is_file() and path.name != LOCK]


def state_of(place: Path, study: Path) -> str:
    """Return a hash of the names, sizes and times of change of all files in a place.

    Args:
        place: A file or a folder; neither needs to exist.
        study: A folder that is left out if it lies inside `place`.
    """
    seen = hashlib.sha256()
    for path in sorted(_files_in(place, study)):
        seen.update(f"{path.relative_to(place)}\0{size_and_time(path)}\n".encode())
    return seen.hexdigest()


def _files_in(place: Path, study: Path) -> Iterator[Path]:
    if place.is_file():
        yield place
    entered = set()  # a link may lead back
    for folder, names, files in os.walk(place, followlinks=True):
        is_study = place == study and Path(folder) == study
        left_out = {"__pycache__", TENSORBOARD} if is_study else {"__pycache__"}
        names[:] = [name for name in names if name not in left_out]
        real = os.path.realpath(folder)
        if real in entered or (place != study and Path(real) == study.resolve()):
            names.clear()
            continue
        entered.add(real)
        # results.json and the report are written again, with equal content, by a command that
        # finds nothing to do: their hashes count, and their times do not
        if is_study:
            continue
        yield from (Path(folder, name) for name in files if name != NAME)
