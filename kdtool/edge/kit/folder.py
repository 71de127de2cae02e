"""The folder of a kit: written whole or not at all, with the hashes of its files."""

import json
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdtool import __version__
from kdtool.edge.kit.check import MANIFEST, changed_files, kit_files
from kdtool.edge.kit.readme import KitFacts
from kdtool.errors import StudyError
from kdtool.files import sha256_of
from kdtool.results.base import SCHEMA

MAX_CHANGES = 5  # of an old kit, listed in a message


@contextmanager
def replaced_kit(folder: Path) -> Iterator[Path]:
    """Yield a new folder, renamed to `folder` if the block raises nothing.

    An unchanged kit in its place is replaced.

    Raises:
        StudyError: `folder` cannot be written, or holds something else.
    """
    new = _unused_sibling(folder)
    try:
        _check_target(folder)
        new.mkdir(parents=True)
        yield new
        _rename(new, folder)
    except OSError as error:
        raise StudyError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _check_target(folder: Path) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        changes = changed_files(folder)
    except StudyError as error:
        raise StudyError(f"{folder} exists and is not a kit; move it away or delete it") from error
    if changes:
        few = changes[:MAX_CHANGES]
        if len(changes) > MAX_CHANGES:
            few.append(f"{len(changes) - MAX_CHANGES} more")
        raise StudyError(
            f"{folder} is a kit with changes that would be lost ({'; '.join(few)}); "
            "move it away or delete it"
        )


def _unused_sibling(folder: Path) -> Path:
    """Return an unused path next to `folder`, so on the same disk."""
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")


def write_manifest(folder: Path, facts: KitFacts) -> None:
    """Write the hashes of the files of a kit, and what it holds."""
    document = {
        "schema": SCHEMA,
        "kdtool": __version__,
        "study": facts.study,
        "role": facts.role,
        "precision": facts.precision,
        "files": {name: sha256_of(folder / name) for name in kit_files(folder)},
    }
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")


def _rename(new: Path, folder: Path) -> None:
    """Give a checked kit its name; an older kit is deleted only after that."""
    if not folder.exists():
        new.rename(folder)
        return
    old = _unused_sibling(folder)
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
