"""A folder that runs a model on a device that has never heard of kdtool."""

import json
import secrets
import shutil
from importlib.metadata import packages_distributions, version
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdtool import __version__
from kdtool.edge.kit.check import MANIFEST, PACKAGES, changed_files, check_kit, kit_files
from kdtool.edge.kit.readme import TOLERANCES, KitFacts, readme
from kdtool.edge.model_file import check_file
from kdtool.edge.predict import LABELS, check_classifier, class_names
from kdtool.edge.session import InferenceSession, open_session
from kdtool.errors import ModelFileError, StudyError
from kdtool.files import sha256_of
from kdtool.results.base import SCHEMA

NUM_GOLDEN = 16


def pick_golden(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], tolerance: float
) -> list[int]:
    """Choose images: half typical, of as many classes as there are, half hard.

    The margin of an image is how far its two most probable classes are apart. Typical are those
    that the model gets right by about the median margin of their class; hard are those of the least
    margin, where a difference shows first. None is so close that a difference within the tolerance
    could change the class, unless all are.

    Args:
        labels: `(N,)`.
        probabilities: `(N, K)`.
        tolerance: How far a probability may be off.

    Returns:
        At most `NUM_GOLDEN` places.
    """
    ordered = np.sort(probabilities, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]  # (N,)
    clear = np.flatnonzero(margins > 2 * tolerance).tolist()
    if not clear:  # a model that is sure of nothing has golden images as well
        clear = list(range(len(labels)))
    right = [place for place in clear if probabilities[place].argmax() == labels[place]]
    turns = []  # (how many of the class are more typical, class, place)
    for label in np.unique(labels[right]).tolist():
        own = [place for place in right if labels[place] == label]
        distances = np.abs(margins[own] - np.median(margins[own]))
        order = np.argsort(distances, kind="stable").tolist()
        turns += [(turn, label, own[k]) for turn, k in enumerate(order)]
    typical = [place for _, _, place in sorted(turns)[: NUM_GOLDEN // 2]]
    hard = sorted(clear, key=lambda place: float(margins[place]))
    rest = [place for place in hard if place not in typical]
    return typical + rest[: NUM_GOLDEN - len(typical)]


def write_golden(
    folder: Path,
    images: NDArray[np.uint8],
    labels: list[str],
    probabilities: NDArray[np.float32],
    tolerance: float,
) -> None:
    """Write images as PNG files and what is expected of them as JSON.

    Args:
        folder: Is made.
        images: `(G, H, W, C)`, 1 or 3 channels.
        labels: G names.
        probabilities: `(G, K)`.
        tolerance: How far a probability may be off.
    """
    folder.mkdir(parents=True)
    entries = []
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f"{place:02}.png"
        Image.fromarray(image.squeeze(axis=2) if image.shape[2] == 1 else image).save(folder / name)
        # Seven digits tell float32 numbers in [0, 1] apart far below any tolerance.
        expected = [round(float(value), 7) for value in probabilities[place]]
        entries.append({"file": name, "label": label, "probabilities": expected})
    document = {"tolerance": tolerance, "images": entries}
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


__all__ = ["KitFacts", "build_kit"]

MODEL = "model.onnx"
SCRIPTS = ("predict.py", "check.py", "classifier.py", "picture.py")
# The lowest versions that a kit runs with. Pillow: the first with has_transparency_data; the others
# are kdtool's own.
REQUIREMENTS = {"numpy": "1.26", "onnxruntime": "1.20", "pillow": "10.1"}
MOST_CHANGES = 5  # of an old kit, in a message
NEWEST_OPSET = 21  # that the lowest onnxruntime knows


def build_kit(
    folder: Path,
    model: Path,
    facts: KitFacts,
    *,
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float32],
) -> str:
    """Write a kit; it gets its name once it ran, alone with numpy, onnxruntime and Pillow.

    Args:
        folder: Is made; a kit that stands there is replaced, if nobody changed it.
        model: ONNX file of a classifier that kdtool exported.
        facts: Of that file, whose SHA-256 must still be `facts.file.sha256`.
        images: `(N, H, W, C)`, test images; some become the golden images.
        labels: `(N,)`, their classes.
        probabilities: `(N, K)`, what the file gave when it was compared with PyTorch.

    Returns:
        What the kit's own check said.

    Raises:
        ModelFileError: The file was changed since it was checked, or is no such classifier.
        StudyError: `folder` cannot be written, or holds something else.
        GateError: The kit does not give these probabilities; `folder` stays as it was.
    """
    new = _beside(folder)
    try:
        _check_target(folder)
        new.mkdir(parents=True)
        session = _copy_model(model, new / MODEL, facts)
        classes = class_names(session, model)
        tolerance, _ = TOLERANCES[facts.precision]
        golden = pick_golden(labels, probabilities, tolerance)
        names = [classes[label] for label in labels[golden]]
        write_golden(new / "golden", images[golden], names, probabilities[golden], tolerance)
        texts = {
            LABELS: _one_a_line(classes),
            "requirements.txt": _requirements(facts.file.opset),
            "README.md": readme(facts, session, classes, len(golden)),
        }
        for name in SCRIPTS:
            texts[name] = files("kdtool.edge.portable").joinpath(name).read_text(encoding="utf-8")
        for name, text in texts.items():
            (new / name).write_text(text, encoding="utf-8", newline="\n")
        _write_manifest(new, facts)
        said = check_kit(new)
        _rename(new, folder)
    except OSError as error:
        raise StudyError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return said


def _check_target(folder: Path) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    try:
        changes = changed_files(folder)
    except StudyError as error:
        raise StudyError(
            f"{folder} exists and is not a kit; name another folder or move it away"
        ) from error
    if changes:
        few = changes[:MOST_CHANGES]
        if len(changes) > MOST_CHANGES:
            few.append(f"{len(changes) - MOST_CHANGES} more")
        raise StudyError(
            f"{folder} holds a kit that was changed ({'; '.join(few)}), which would be lost; "
            "move it away or delete it"
        )


def _beside(folder: Path) -> Path:
    """Return a name that nobody uses, in the same folder and so on the same disk."""
    return folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")


def _copy_model(model: Path, copy: Path, facts: KitFacts) -> InferenceSession:
    check_file(model)
    shutil.copyfile(model, copy)
    if sha256_of(copy) != facts.file.sha256:
        raise ModelFileError(
            f"{model} was changed since it was checked; `kdtool export STUDY` writes it again"
        )
    session = open_session(copy)
    check_classifier(session, model)
    return session


def _one_a_line(classes: list[str]) -> str:
    for name in classes:
        if name.splitlines() != [name]:
            raise ModelFileError(
                f"the class {name!r} is empty or has a line break in its name, but {LABELS} holds "
                "one class a line; rename it in the data and export again"
            )
    return "".join(f"{name}\n" for name in classes)


def _requirements(opset: int) -> str:
    installed = packages_distributions()
    versions = {
        name: version(installed[package][0])
        for name, package in zip(REQUIREMENTS, PACKAGES, strict=True)
    }
    lowest = dict(REQUIREMENTS)
    if opset > NEWEST_OPSET:
        lowest["onnxruntime"] = versions["onnxruntime"]
    checked = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [f"# Checked with {checked}.", *(f"{name}>={low}" for name, low in lowest.items())]
    return "\n".join(lines) + "\n"


def _write_manifest(folder: Path, facts: KitFacts) -> None:
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
    """Give a checked kit its name; what had it before is kept until then."""
    if not folder.exists():
        new.rename(folder)
        return
    old = _beside(folder)
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
