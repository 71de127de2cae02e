"""Whether the folders made from a study, for devices and to publish, are whole and of its files."""

import json
from collections.abc import Iterator
from pathlib import Path

from kdtool.edge.kit.folder import MANIFEST, changes_of
from kdtool.errors import StudyError
from kdtool.files import sha256_of
from kdtool.results.commands.verification import SHA256, Part, compared, joined, mismatched
from kdtool.results.study import Results

NAME = "kit, folders of other runtimes, card: by their manifests"
NO_FILE = "of no file of this study"
COPIES = ("*.onnx", "*.safetensors")  # of a card, whose texts are its user's


def made_folders(study: Path, results: Results) -> Part:
    """Compare the kit, the folders of other runtimes and the card with what they are made from.

    Args:
        study: Its folder.
        results: Of the study.
    """
    known = {file.sha256 for *_, file in results.files}
    listed = [one.path for one in results.targets if one.path is not None]
    folders = [name for name in ("kit", *listed) if (study / name).exists() or name in listed]
    parts = [part for name in folders for part in _folder(study, name, known)]
    return joined(NAME, [*parts, *_card(study, known)])


def _folder(study: Path, name: str, known: set[str]) -> Iterator[Part]:
    try:
        changes = changes_of(study / name, "folder of kdtool")
        manifest = json.loads((study / name / MANIFEST).read_bytes())
    except StudyError:
        yield _damaged(f"{name}/{MANIFEST}", "missing, or cannot be read")
        return
    num_whole = max(0, len(manifest["files"]) + 1 - len(changes))
    yield Part(name=NAME, num_compared=num_whole, mismatches=[], not_checked=[])
    for file, change in changes.items():
        yield _damaged(f"{name}/{file}", f"the file {change}")
    if "source" in manifest:  # not in kits of kdtool 0.1.0
        source = str(manifest["source"])
        found = source if source in known else NO_FILE
        yield compared(NAME, f"{name}/{MANIFEST}", source, found, "source")


def _damaged(file: str, found: str) -> Part:
    return mismatched(NAME, file, SHA256, "as it was written", found)


def _card(study: Path, known: set[str]) -> Iterator[Part]:
    """Compare the copies of a card with the files of the study."""
    weights = {sha256_of(path) for path in (study / "checkpoints").glob("*.safetensors")}
    for pattern in COPIES:
        for path in sorted((study / "card").rglob(pattern)):
            found = sha256_of(path) if path.is_file() else "no file"
            file = path.relative_to(study).as_posix()
            same = found if found in known | weights else NO_FILE
            yield compared(NAME, file, found, same, SHA256)
