"""The record of a stage: its key, the hashes of its files and its result, sealed by one hash."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdtool.errors import StudyError
from kdtool.files import write_atomic
from kdtool.results.base import seal_of
from kdtool.results.consistent import is_inside

FIELDS = {"key": str, "files": dict, "result": dict}


@dataclass(frozen=True)
class StageRecord:
    """What `stages/NAME.json` holds."""

    key: str  # from `kdtool.study.keys.key_of`
    files: dict[str, str]  # path in the study -> SHA-256
    result: dict[str, Any]  # a Record, as JSON
    # Whether key, files and result were written with a hash over all three. Records of kdtool
    # 0.1.0 have hashes of the files only.
    is_sealed: bool = True


def write_record(path: Path, record: StageRecord) -> None:
    """Write a record, sealed.

    Raises:
        StudyError: The disk is full or the folder cannot be written.
    """
    content = {"key": record.key, "files": record.files, "result": record.result}
    write_atomic(path, json.dumps(content | {"sha256": seal_of(content)}, indent=1))


def read_record(path: Path) -> StageRecord | None:
    """Read a record; None if there is no such file.

    Raises:
        StudyError: The file exists and cannot be read.
        ValueError: The file is damaged or was edited; says how.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StudyError(
            f"cannot read {path}: {error.strerror}; make it readable, or delete it to have this "
            "stage run again"
        ) from error
    try:
        content = json.loads(text)
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError("is not the record of a stage")
    seal = content.pop("sha256", None)
    if content.keys() != FIELDS.keys() or not all(
        isinstance(content[name], kind) for name, kind in FIELDS.items()
    ):
        raise ValueError("is not the record of a stage")
    if bad := [path for path in content["files"] if not is_inside(path)]:
        raise ValueError(f"names a file outside of the study: {bad[0]!r}")
    is_sealed = seal is not None
    # A key of kdtool 0.1.0 has no colon; any other record must have its seal.
    if (is_sealed or ":" in content["key"]) and seal != seal_of(content):
        raise ValueError("was changed: its content does not match its SHA-256")
    return StageRecord(**content, is_sealed=is_sealed)
