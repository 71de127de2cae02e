"""The SHA-256 of everything that a study lists, and the seals of its records."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from kdtool.files import sha256_of
from kdtool.results.base import is_edited
from kdtool.results.commands.verification import (
    SHA256,
    Part,
    compared,
    joined,
    mismatched,
    not_checked,
)
from kdtool.results.study import Results
from kdtool.study.finished import NAME
from kdtool.study.folder import Study
from kdtool.study.stages import StageRecord
from kdtool.study.verify.finished_study import FinishedStudy

FILES = "files, by their SHA-256"
RESULTS = "results.json"
LAST = (NAME, "report.json")  # records, written when all others are
UNLISTED = (".state.pt", "test.csv")


def listed_files(finished: FinishedStudy) -> Part:
    """Compare every file that a study lists with its SHA-256."""
    study, results = finished.study, finished.results
    return joined(FILES, [_results(study, results), *_shipped(study, results), *_stages(finished)])


def _results(study: Study, results: Results) -> Part:
    if results.sha256 is None:
        return not_checked(
            FILES, f"{RESULTS} itself: the kdtool that wrote it did not record its SHA-256"
        )
    edited = is_edited(study.results_path.read_bytes())
    return _checked(RESULTS, results.sha256, "another one" if edited else results.sha256)


def _checked(file: str, stored: str, found: str) -> Part:
    return compared(FILES, file, stored, found, SHA256)


def _of_file(study: Study, relative: str, stored: str) -> Part:
    return _checked(relative, stored, found_sha256(study.folder / relative))


def found_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, or in words why it has none."""
    try:
        return sha256_of(path)
    except FileNotFoundError:
        return "no such file"
    except OSError as error:
        return f"it cannot be read: {error.strerror}"


def sha256_of_text(text: str) -> str:
    """Return the SHA-256 of a file with this content."""
    return hashlib.sha256(text.encode()).hexdigest()


def _shipped(study: Study, results: Results) -> Iterator[Part]:
    """Compare the files of results.json, and what measurements and targets say they are of."""
    known = set()
    for role, precision, file in results.files:
        known.add(file.sha256)
        yield _of_file(study, file.path, file.sha256)
        path = study.folder / file.path
        if path.is_file():
            field = f"models.{role}.files.{precision}.size_bytes"
            yield compared(FILES, RESULTS, file.size_bytes, path.stat().st_size, field)
    places = [
        (f"devices[{i}].files[{k}].sha256", file.sha256)
        for i, device in enumerate(results.devices)
        for k, file in enumerate(device.files)
    ]
    places += [
        (f"targets[{i}].checks[{k}].sha256", check.sha256)
        for i, target in enumerate(results.targets)
        for k, check in enumerate(target.checks)
    ]
    for field, sha256 in places:
        found = sha256 if sha256 in known else "of no file of this study"
        yield compared(FILES, RESULTS, sha256, found, field)


def _stages(finished: FinishedStudy) -> Iterator[Part]:
    """Compare the record of every stage with its seal, and the files of the stage with theirs."""
    study, results, listed = finished.study, finished.results, set[str]()
    for name, fault in finished.damaged.items():
        yield _damaged(f"stages/{name}.json", "intact", fault)
    for name, record in finished.records.items():
        if record.is_sealed:
            yield Part(name=FILES, num_compared=1, mismatches=[], not_checked=[])
        else:
            why = "itself: kdtool 0.1.0 did not record its SHA-256"
            yield not_checked(FILES, f"stages/{name}.json {why}")
        listed |= record.files.keys()
        for relative, sha256 in _files_of(name, record, study, results).items():
            yield _of_file(study, relative, sha256)
    if not finished.damaged and results.sha256 is not None:
        yield from _unrecorded(study, listed)


def _unrecorded(study: Study, listed: set[str]) -> Iterator[Part]:
    """Name the weights and predictions of no record, and the last records if they are missing.

    States of unfinished trainings are no results, and the table of answers has no record: it is
    written again from the predictions and the images.
    """
    for name in LAST:
        if not (study.folder / "stages" / name).exists():
            yield _damaged(f"stages/{name}", "written last", "no such file")
    for folder in ("checkpoints", "predictions"):
        for path in sorted((study.folder / folder).glob("*")):
            file = f"{folder}/{path.name}"
            if file not in listed and not path.name.endswith(UNLISTED):
                yield _damaged(file, "listed by the record of a stage", "no record lists it")


def _damaged(file: str, stored: str, found: str) -> Part:
    return mismatched(FILES, file, SHA256, stored, found)


def _files_of(name: str, record: StageRecord, study: Study, results: Results) -> dict[str, str]:
    """Return the files of a stage that the study still needs.

    A model's file that the results do not list is of an earlier recipe and was deleted. After
    `export` and `profile --merge` the other files are not those that `distill` left.
    """
    listed = {file.path for *_, file in results.files}
    if f"{name}.json" == NAME:
        same = record.files.get(RESULTS) == found_sha256(study.results_path)
        other = {one for one in record.files if same and not one.startswith("report.")}
        return {one: record.files[one] for one in other - listed}
    return {
        file: sha256
        for file, sha256 in record.files.items()
        if not file.endswith(".onnx") or "/" in file or file in listed
    }
