"""Classify image files with the same code that a kit runs on a device (`portable/`)."""

import json
import math
import os
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from kdtool.edge.image_files import images_below
from kdtool.edge.int8.saturation import saturation, target_of
from kdtool.edge.metadata import read_metadata
from kdtool.edge.session import RUNTIME_ERRORS, InferenceSession, open_session
from kdtool.errors import KdtoolError, ModelFileError, reason
from kdtool.install import pip
from kdtool.results.base import SCHEMA, Interval, Record
from kdtool.stats.intervals import wilson_interval

try:
    from kdtool.edge.portable.classifier import decide, decision, image_shape, predict
    from kdtool.edge.portable.picture import read_image
except ModuleNotFoundError as error:
    if error.name != "PIL":
        raise
    raise KdtoolError(f"reading images needs Pillow: {pip()} install pillow") from error

LABELS = "labels.txt"
MAX_SHOWN = 80  # characters of a wrong value, in a message


class ClassProbability(Record):
    """The probability of one class."""

    name: str = Field(alias="class")
    probability: float  # in [0, 1]


class Prediction(Record):
    """The result for one image."""

    path: str
    # The predicted class; None if the image could not be read or its answer was refused
    decided: str | None = None
    # The class that would be predicted, but is less probable than `min_confidence`
    refused: str | None = None
    label: str | None = None  # the class that a folder of the image is named after
    classes: list[ClassProbability]  # most probable first; empty if the image could not be read
    resized_from: tuple[int, int] | None  # width and height, if they differ from the model's
    error: str | None  # why the image could not be read


class Accuracy(Record):
    """How many images in folders with the name of a class were given this class."""

    num_images: int  # at least 1
    num_right: int
    accuracy: float  # in [0, 1]
    ci95: Interval  # Wilson's


class PredictionReport(Record):
    """The results of `kdtool predict`."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    model: str
    classes: list[str] = Field(default=[])  # of the model, in the order of its outputs
    # With two classes: `positive` is predicted from this probability. None: the most probable class
    positive: str | None = None
    threshold: float | None = None
    min_confidence: float | None = None  # less probable answers are refused; None: none is
    num_answered: int = 0  # images that were read and not refused
    num_refused: int = 0
    num_unreadable: int = 0
    accuracy: Accuracy | None = None  # refused answers included; None: no folder names a class
    accuracy_answered: Accuracy | None = None  # of the answered alone; None: as above, or none
    other_folders: list[str] = Field(default=[])  # that name no class, where others do
    predictions: list[Prediction]  # in the order given; of a folder, in the order of names


@dataclass(frozen=True, slots=True)
class GivenImage:
    """An image to classify."""

    path: Path
    folders: tuple[str, ...] = ()  # between the given folder and the file, the outermost first
    problem: str | None = None  # why it is not read

    def label(self, classes: Sequence[str]) -> str | None:
        """Return the class that the outermost of its folders is named after, if one is."""
        names = {_normal(name): name for name in classes}
        return next((names[_normal(one)] for one in self.folders if _normal(one) in names), None)


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)  # macOS writes names in another form


def predict_files(
    model: Path,
    images: Sequence[Path],
    threads: int = 1,
    top: int | None = 3,
    min_confidence: float | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> PredictionReport:
    """Classify image files, one at a time.

    Args:
        model: ONNX file of an image classifier that kdtool exported; or any other one with uint8
            images `(N, H, W, C)` as input, an output `probabilities`, and `labels.txt` next to it.
        images: Files in any format that Pillow reads, and folders of them. Unless the model resizes
            images itself, they are resized to its size at the shorter side, and cropped.
        threads: At least 1.
        top: Number of classes to list; None: all.
        min_confidence: In [0, 1]; an answer is refused if the probability of its class is lower.
        warn: Called if this processor computes the model otherwise.

    Raises:
        KdtoolError: The model cannot be used, or a folder has no images. For an image that cannot
            be read, its `Prediction` has the reason.
    """
    given = given_images(images)
    session = open_session(model, threads)
    check_classifier(session, model)
    classes = class_names(session, model)
    chosen = check_decision(session, model, classes)
    if text := saturation(str(model), target_of(read_metadata(session))):
        warn(text)
    predictions = [
        predict_given(session, one, classes, top or len(classes), min_confidence) for one in given
    ]
    labelled = any(one.label for one in predictions)
    pairs = zip(given, predictions, strict=True)
    others = {
        _text(one.folders[0]) for one, answer in pairs if one.folders and answer.label is None
    }
    return PredictionReport(
        model=str(model),
        classes=classes,
        positive=classes[chosen[0]] if chosen else None,
        threshold=chosen[1] if chosen else None,
        min_confidence=min_confidence,
        num_answered=sum(one.decided is not None for one in predictions),
        num_refused=sum(one.refused is not None for one in predictions),
        num_unreadable=sum(one.error is not None for one in predictions),
        accuracy=_accuracy([one for one in predictions if one.error is None]),
        accuracy_answered=_accuracy([one for one in predictions if one.decided is not None]),
        other_folders=sorted(others) if labelled else [],
        predictions=predictions,
    )


def _text(given: object) -> str:
    """Return a path, or a message with one, as text: names of files need not be text."""
    return str(given).encode("utf-8", "backslashreplace").decode()


def given_images(paths: Sequence[Path]) -> list[GivenImage]:
    """Return the images of files and folders.

    Raises:
        KdtoolError: A folder has no images.
    """
    return [one for path in paths for one in _given(path)]


def _given(path: Path) -> Iterator[GivenImage]:
    """Yield a file as it is, and the images of a folder."""
    if not os.path.isdir(path):  # noqa: PTH112  a name that cannot be looked up is no folder
        yield GivenImage(path)
        return
    found = images_below(path)
    for image in found.paths:
        is_pipe = image.exists() and not image.is_file()  # reading it would never end
        problem = f"cannot read {image}: it is not a file" if is_pipe else None
        yield GivenImage(image, image.relative_to(path).parts[:-1], problem)
    for link in found.links:
        why = "it is a link to a folder, which is not followed; give the folder itself"
        yield GivenImage(link, problem=f"cannot read {link}: {why}")


def _accuracy(predictions: Sequence[Prediction]) -> Accuracy | None:
    """Return the accuracy on the images with a label; None if there are none."""
    right = [(one.decided or one.refused) == one.label for one in predictions if one.label]
    if not right:
        return None
    return Accuracy(
        num_images=len(right),
        num_right=sum(right),
        accuracy=sum(right) / len(right),
        ci95=wilson_interval(sum(right), len(right)),
    )


def check_classifier(session: InferenceSession, path: Path) -> None:
    """Check that a model takes images and returns probabilities, as kdtool's own files do.

    Raises:
        ModelFileError: It does not; the message has its inputs or outputs.
    """
    inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
    if (
        len(inputs) != 1
        or inputs[0].type not in ("tensor(uint8)", "tensor(float)")
        or len(inputs[0].shape) != 4
    ):
        given = ", ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in inputs)
        raise ModelFileError(
            f"{path} has the input {given}; kdtool predicts with models that have one input, "
            "uint8 (N, H, W, C) or float32 (N, C, H, W); export the model with kdtool"
        )
    height, width, channels = image_shape(session)
    if isinstance(height, int) != isinstance(width, int):
        raise ModelFileError(
            f"{path} has the input {inputs[0].name}: {inputs[0].shape}; kdtool predicts with "
            "models whose height and width are both given, or both open; export it with kdtool"
        )
    if channels not in (1, 3):
        raise ModelFileError(
            f"{path} takes images with {channels} channels; image files are read with 1 (gray) or "
            "3 (RGB)"
        )
    if "probabilities" not in outputs:
        raise ModelFileError(
            f"{path} has the outputs {', '.join(outputs)}, and none is 'probabilities'; export the "
            "model with kdtool"
        )


def class_names(session: InferenceSession, path: Path) -> list[str]:
    """Return the class names of a model, from its metadata or from `labels.txt` next to it.

    Raises:
        ModelFileError: It has neither, or another number of names than of probabilities.
    """
    metadata = read_metadata(session)
    labels = path.with_name(LABELS)
    if "classes" in metadata:
        names = metadata["classes"]
    elif session.get_inputs()[0].type != "tensor(uint8)":
        raise ModelFileError(
            f"{path} takes float32 images, and its metadata do not say how they are scaled; export "
            "the model with kdtool"
        )
    elif labels.is_file():
        names = _read_lines(labels)
    else:
        raise ModelFileError(
            f"{path} has no class names in its metadata; write them into {labels}, one per line"
        )
    shapes = {output.name: output.shape for output in session.get_outputs()}
    num_classes = shapes["probabilities"][-1]
    if not isinstance(names, list) or (isinstance(num_classes, int) and len(names) != num_classes):
        raise ModelFileError(
            f"{path} returns {num_classes} probabilities, but its class names are "
            f"{_shortened(names)}"
        )
    return [str(name) for name in names]


def check_decision(
    session: InferenceSession, path: Path, classes: list[str]
) -> tuple[int, float] | None:
    """Return the index of the positive class and its threshold, as `decision` does, checked.

    Raises:
        ModelFileError: The file's metadata do not hold a valid rule.
    """
    try:
        chosen = decision(session)
        if chosen is None or (len(classes) == 2 and math.isfinite(chosen[1])):
            return chosen
    except (KeyError, TypeError, ValueError):
        pass
    raise ModelFileError(
        f"{path} has the metadata kdtool.decision = "
        f"{_shortened(read_metadata(session).get('decision'))}; expected a rule, the positive one "
        "of two classes and its threshold; export the model again"
    )


def _shortened(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}..."


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(
            f"cannot read {path}: {reason(error)}; save it as text in UTF-8"
        ) from error


def predict_given(
    session: InferenceSession,
    given: GivenImage,
    classes: list[str],
    top: int,
    min_confidence: float | None = None,
) -> Prediction:
    """Classify one image; the arguments are those of `predict_files`, checked.

    Raises:
        ModelFileError: The model cannot run on it.
    """
    path, label = given.path, given.label(classes)
    try:
        if given.problem:
            raise ValueError(given.problem)
        pixels, (width, height) = read_image(path, image_shape(session))
    except ValueError as error:
        return Prediction(
            path=_text(path), label=label, classes=[], resized_from=None, error=_text(error)
        )
    rows = probabilities_of(session, pixels[None], len(classes), _text(path))
    probabilities = rows[0]
    best = (-probabilities).argsort(kind="stable")[:top]
    called = int(decide(session, rows)[0])
    is_refused = min_confidence is not None and not probabilities[called] >= min_confidence
    return Prediction(
        path=_text(path),
        decided=None if is_refused else classes[called],
        refused=classes[called] if is_refused else None,
        label=label,
        classes=[
            ClassProbability(name=classes[k], probability=float(probabilities[k])) for k in best
        ],
        resized_from=(width, height) if pixels.shape[:2] != (height, width) else None,
        error=None,
    )


def probabilities_of(
    session: InferenceSession, images: NDArray[np.uint8], num_classes: int, name: str
) -> NDArray[np.floating]:
    """Return the probabilities of a classifier, `(N, K)`, checked.

    Args:
        session: Of the classifier.
        images: `(N, H, W, C)`.
        num_classes: K.
        name: Of the image, for messages.

    Raises:
        ModelFileError: The model cannot run on them, or does not answer with numbers.
    """
    try:
        rows = predict(session, images)
    except RUNTIME_ERRORS as error:
        raise ModelFileError(f"the model cannot run on {name}: {reason(error)}") from error
    if rows.shape != (len(images), num_classes) or rows.dtype.kind != "f":
        raise ModelFileError(
            f"the model answers {name} with {rows.dtype} of shape {rows.shape}; expected "
            f"{num_classes} probabilities for each image, one for each class name; export it again"
        )
    if not np.isfinite(rows).all():
        raise ModelFileError(
            f"the model answers {name} with NaN or infinity, and not with probabilities: its "
            "weights are damaged or its numbers overflow; export or train it again"
        )
    return rows
