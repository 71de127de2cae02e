"""A folder that is written whole or not at all, with a manifest by which changes are noticed."""

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kdtool import __version__
from kdtool.edge.image_files import is_system
from kdtool.errors import StudyError
from kdtool.files import UNFINISHED, sha256_of
from kdtool.results.base import SCHEMA, is_edited, seal_of

MANIFEST = "manifest.json"
MAX_CHANGES = 5  # of an old folder, listed in a message
CHANGED = "was changed"
FOLDERS = ("golden", "site", "site/golden")  # whose files count; the last two are for browsers


@contextmanager
def replaced_folder(folder: Path, kind: str) -> Iterator[Path]:
    """Yield a new folder, which gets the name `folder` if the block raises nothing.

    Args:
        folder: An unchanged folder of kdtool in its place is deleted after that.
        kind: What it is, for messages, such as "kit".

    Raises:
        StudyError: It cannot be written, or its place holds something else.
    """
    new = _unused_sibling(folder, UNFINISHED)
    try:
        _check_replaceable(folder, kind)
        new.mkdir(parents=True)
        yield new
        _rename(new, folder)
    except OSError as error:
        raise StudyError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def write_manifest(folder: Path, facts: Mapping[str, str]) -> None:
    """Write the manifest of a folder: facts, the SHA-256 of every file, and one of all this."""
    document: dict[str, object] = {
        "schema": SCHEMA,
        "kdtool": __version__,
        **facts,
        "files": {name: sha256_of(folder / name) for name in kit_files(folder)},
    }
    document["sha256"] = seal_of(document)
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    (folder / MANIFEST).write_text(text, encoding="utf-8", newline="\n")


def changed_files(folder: Path, kind: str = "kit") -> list[str]:
    """List how a folder differs from its manifest; empty if it does not.

    Raises:
        StudyError: It has no manifest of kdtool.
    """
    return [f"{name} {change}" for name, change in changes_of(folder, kind).items()]


def changes_of(folder: Path, kind: str = "kit") -> dict[str, str]:
    """Return what happened to each file of a folder that is not as in its manifest.

    Raises:
        StudyError: It has no manifest of kdtool.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
        wanted = json.loads(text)["files"]
        hashes = {str(name): str(sha256) for name, sha256 in wanted.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudyError(f"{folder} is not a {kind}: it has no readable {MANIFEST}") from error
    present = kit_files(folder)
    changes = {MANIFEST: CHANGED} if is_edited(text) else {}
    changes |= {name: "is missing" for name in hashes if name not in present}
    changes |= {
        name: f"does not belong to the {kind}"
        for name in present
        if name not in hashes and not is_harmless(name)
    }
    both = [name for name in present if name in hashes]
    return changes | {n: CHANGED for n in both if not _holds(folder / n, hashes[n])}


def is_harmless(name: str) -> bool:
    """Return whether a file may lie beside those of a folder: it is of the system, or a wheel."""
    return is_system(name) or name.endswith(".whl")


def kit_files(folder: Path) -> list[str]:
    """Return the files of a folder, without its manifest and compiled Python.

    Any folder but `FOLDERS` is one name, whatever it contains.
    """
    paths = [*folder.glob("*"), *(path for name in FOLDERS for path in folder.glob(f"{name}/*"))]
    names = {path.relative_to(folder).as_posix() for path in paths}
    return sorted(names - {MANIFEST, "__pycache__", *FOLDERS})


def _holds(file: Path, sha256: str) -> bool:
    return file.is_file() and sha256_of(file) == sha256


def _check_replaceable(folder: Path, kind: str) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        changes = changed_files(folder, kind)
    except StudyError as error:
        raise StudyError(
            f"{folder} exists and is not a {kind}; move it away or delete it"
        ) from error
    if changes:
        few = changes[:MAX_CHANGES]
        if len(changes) > MAX_CHANGES:
            few.append(f"{len(changes) - MAX_CHANGES} more")
        raise StudyError(
            f"{folder} is a {kind} with changes that would be lost ({'; '.join(few)}); "
            "move it away or delete it"
        )


def _unused_sibling(folder: Path, ending: str = "") -> Path:
    """Return an unused path next to `folder`, so on the same disk."""
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}{ending}")


def _rename(new: Path, folder: Path) -> None:
    """Give a checked folder its name; an older one is deleted only after that."""
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
