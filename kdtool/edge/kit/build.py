"""Write a kit: a folder that runs a model on a device without kdtool and PyTorch."""

import hashlib
import json
import shutil
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from importlib.metadata import packages_distributions, version
from importlib.resources import files
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdtool import __version__
from kdtool.edge.kit.check import PACKAGES, check_kit
from kdtool.edge.kit.folder import replaced_folder, write_manifest
from kdtool.edge.kit.readme import ROUNDING, TOLERANCES, KitFacts, golden_name, readme
from kdtool.edge.model_file import check_file
from kdtool.edge.predict import LABELS, check_classifier, class_names
from kdtool.edge.session import InferenceSession, open_session
from kdtool.errors import ModelFileError, StudyError
from kdtool.files import sha256_of


class Pictures(Protocol):
    """Images `(N, H, W, C)` in memory or in a file, of which some are read by index."""

    def __getitem__(self, index: list[int] | slice, /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """Test images with what a file answers; golden images are chosen from them."""

    images: Pictures
    labels: NDArray[np.int64]  # (N,), their classes
    probabilities: NDArray[np.float32]  # (N, K) in [0, 1], compared with PyTorch
    # Of an int8 file: (N, K), the same where integers are rounded in another way
    rounded: NDArray[np.float32] | None = None


def pick_golden(answered: Answered, tolerance: float, num_golden: int) -> list[int]:
    """Choose golden images: half typical, from as many classes as possible, half hard.

    The margin of an image is the difference between its two highest probabilities. Typical images
    are correctly classified with about the median margin of their class; hard images have the
    smallest margins, where a difference shows first. Images whose class could change within the
    tolerance are left out, and those whose answer depends on how integers are rounded, unless all
    do.

    Args:
        answered: Test images.
        tolerance: How far a probability may differ.
        num_golden: How many to choose.

    Returns:
        Their indices; fewer where there are not enough images.
    """
    labels, probabilities = answered.labels, answered.probabilities
    ordered = np.sort(probabilities, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]  # (N,)
    steady = np.full(len(labels), True)
    if answered.rounded is not None:
        steady = np.abs(answered.rounded - probabilities).max(axis=1) <= tolerance / 2
    clear = np.flatnonzero((margins > 2 * tolerance) & steady).tolist()
    if not clear:  # a model without any margin gets golden images, too
        clear = list(range(len(labels)))
    correct = [index for index in clear if probabilities[index].argmax() == labels[index]]
    ranked = []  # (rank within the class, class, index)
    for label in np.unique(labels[correct]).tolist():
        own = [index for index in correct if labels[index] == label]
        distances = np.abs(margins[own] - np.median(margins[own]))
        order = np.argsort(distances, kind="stable").tolist()
        ranked += [(rank, label, own[k]) for rank, k in enumerate(order)]
    typical = [index for _, _, index in sorted(ranked)[: num_golden // 2]]
    hard = sorted(clear, key=lambda index: float(margins[index]))
    rest = [index for index in hard if index not in typical]
    return typical + rest[: num_golden - len(typical)]


def write_golden(
    folder: Path,
    images: NDArray[np.uint8],
    labels: list[str],
    probabilities: NDArray[np.float32],
    tolerance: float,
    rounding: float | None = None,
) -> None:
    """Write golden images as PNG files and their expected probabilities as JSON.

    Args:
        folder: Is created.
        images: `(G, H, W, C)`, 1 or 3 channels.
        labels: Class names, G of them.
        probabilities: `(G, K)` in [0, 1].
        tolerance: How far a probability may differ.
        rounding: How far it may differ where a platform rounds integers otherwise; None: no
            integers are rounded.
    """
    folder.mkdir(parents=True)
    entries = []
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = golden_name(index, len(images))
        Image.fromarray(image.squeeze(axis=2) if image.shape[2] == 1 else image).save(folder / name)
        # Seven digits: far below any tolerance.
        expected = [round(float(value), 7) for value in probabilities[index]]
        entries.append(
            {
                "file": name,
                "label": label,
                "pixels": hashlib.sha256(image.tobytes()).hexdigest(),
                "probabilities": expected,
            }
        )
    document = {"tolerance": tolerance, "rounding": rounding, "images": entries}
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")


__all__ = ["Answered", "KitFacts", "build_kit"]

MODEL = "model.onnx"
SCRIPTS = ("predict.py", "check.py", "classifier.py", "picture.py")
# Lowest versions. Pillow: the first with has_transparency_data; the others as in pyproject.toml.
REQUIREMENTS = {"numpy": "1.26", "onnxruntime": "1.20", "pillow": "11.0"}
MAX_OPSET = 21  # of the lowest onnxruntime
HOW_TO_BUILD = "`uv build --wheel` in a clone of kdtool writes one into dist/"


def build_kit(
    folder: Path, model: Path, facts: KitFacts, answered: Answered, wheel: Path | None = None
) -> str:
    """Write a kit and check it: only a kit that runs, without kdtool, gets its name.

    Args:
        folder: Is created; an unchanged kit in its place is replaced.
        model: ONNX file of a classifier that kdtool exported.
        facts: About that file; its SHA-256 must still be `facts.file.sha256`.
        answered: Test images; some become the golden images.
        wheel: Wheel of this version of kdtool, to be copied into the kit.

    Returns:
        The output of the kit's own check.

    Raises:
        ModelFileError: The file was changed since it was checked, or is not such a classifier.
        StudyError: `folder` cannot be written, or holds something else; or see `check_wheel`.
        GateError: The kit does not give these probabilities; `folder` stays unchanged.
    """
    if wheel is not None:
        check_wheel(wheel)
    with replaced_folder(folder, "kit") as new:
        session = copy_model(model, new / MODEL, facts)
        classes = class_names(session, model)
        tolerance, _ = TOLERANCES[facts.precision]
        golden = pick_golden(answered, tolerance, facts.num_golden)
        write_golden(
            new / "golden",
            answered.images[golden],
            [classes[label] for label in answered.labels[golden]],
            answered.probabilities[golden],
            tolerance,
            ROUNDING if facts.precision == "int8" else None,
        )
        texts = {
            LABELS: one_a_line(classes),
            "requirements.txt": _requirements(facts.file.opset),
            "README.md": readme(facts, session, classes, len(golden), wheel),
        }
        for name in SCRIPTS:
            texts[name] = files("kdtool.edge.portable").joinpath(name).read_text(encoding="utf-8")
        for name, text in texts.items():
            (new / name).write_text(text, encoding="utf-8", newline="\n")
        if wheel is not None:
            shutil.copyfile(wheel, new / wheel.name)
        write_manifest(new, facts.identity)
        return check_kit(new)


def check_wheel(wheel: Path) -> None:
    """Check that a file is a wheel of this version of kdtool.

    Raises:
        StudyError: It is missing, or is something else.
    """
    if not wheel.is_file():
        raise StudyError(f"there is no wheel {wheel}; {HOW_TO_BUILD}")
    name = ""
    if zipfile.is_zipfile(wheel) and wheel.suffix == ".whl":
        with zipfile.ZipFile(wheel) as archive:
            listed = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            if len(listed) == 1:
                metadata = HeaderParser().parsestr(archive.read(listed[0]).decode())
                name = f"{metadata['Name']} {metadata['Version']}"
    if name != f"kdtool {__version__}":
        raise StudyError(
            f"{wheel} is {f'a wheel of {name}' if name else 'not a wheel'}; expected a wheel of "
            f"kdtool {__version__}: {HOW_TO_BUILD}"
        )


def copy_model(model: Path, copy: Path, facts: KitFacts) -> InferenceSession:
    """Copy a model into a kit, and load the copy.

    Raises:
        ModelFileError: The file was changed since it was checked, or is no image classifier.
    """
    check_file(model)
    shutil.copyfile(model, copy)
    if sha256_of(copy) != facts.file.sha256:
        raise ModelFileError(
            f"{model} was changed since it was checked; `kdtool export STUDY` writes it again"
        )
    session = open_session(copy)
    check_classifier(session, model)
    return session


def one_a_line(classes: list[str]) -> str:
    """Return the content of `labels.txt`.

    Raises:
        ModelFileError: A name is empty or has a line break.
    """
    for name in classes:
        if name.splitlines() != [name]:
            raise ModelFileError(
                f"the class name {name!r} is empty or has a line break, but {LABELS} has one "
                "class per line; rename the class in the data and export again"
            )
    return "".join(f"{name}\n" for name in classes)


def _requirements(opset: int) -> str:
    installed = packages_distributions()
    versions = {
        name: version(installed[package][0])
        for name, package in zip(REQUIREMENTS, PACKAGES, strict=True)
    }
    lowest = dict(REQUIREMENTS)
    if opset > MAX_OPSET:
        lowest["onnxruntime"] = versions["onnxruntime"]
    checked = ", ".join(f"{name} {number}" for name, number in versions.items())
    lines = [f"# Checked with {checked}.", *(f"{name}>={low}" for name, low in lowest.items())]
    return "\n".join(lines) + "\n"
