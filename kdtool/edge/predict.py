"""Classify image files with the same code that a kit runs on a device (`portable/`)."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from kdtool.edge.metadata import read_metadata
from kdtool.edge.session import RUNTIME_ERRORS, InferenceSession, open_session
from kdtool.errors import KdtoolError, ModelFileError, reason
from kdtool.install import pip
from kdtool.results.base import SCHEMA, Record

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
    decided: str | None = None  # the predicted class; None if the image could not be read
    classes: list[ClassProbability]  # most probable first; empty if the image could not be read
    resized_from: tuple[int, int] | None  # width and height, if they differ from the model's
    error: str | None  # why the image could not be read


class PredictionReport(Record):
    """The results of `kdtool predict`."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    model: str
    # With two classes: `positive` is predicted from this probability. None: the most probable class
    positive: str | None = None
    threshold: float | None = None
    predictions: list[Prediction]  # in the order given


def predict_files(
    model: Path, images: Sequence[Path], threads: int = 1, top: int = 3
) -> PredictionReport:
    """Classify image files, one at a time.

    Args:
        model: ONNX file of an image classifier that kdtool exported; or any other one with uint8
            images `(N, H, W, C)` as input, an output `probabilities`, and `labels.txt` next to it.
        images: In any format that Pillow reads. Unless the model resizes images itself, they are
            resized to its size at the shorter side, and cropped.
        threads: At least 1.
        top: Number of classes to list.

    Raises:
        KdtoolError: The model cannot be used. For an image that cannot be read, its `Prediction`
            has the reason.
    """
    session = open_session(model, threads)
    check_classifier(session, model)
    classes = class_names(session, model)
    chosen = check_decision(session, model, classes)
    predictions = [_predict_file(session, path, classes, top) for path in images]
    return PredictionReport(
        model=str(model),
        positive=classes[chosen[0]] if chosen else None,
        threshold=chosen[1] if chosen else None,
        predictions=predictions,
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
    channels = image_shape(session)[2]
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


def _predict_file(
    session: InferenceSession, path: Path, classes: list[str], top: int
) -> Prediction:
    try:
        pixels, (width, height) = read_image(path, image_shape(session))
    except ValueError as error:
        return Prediction(path=str(path), classes=[], resized_from=None, error=str(error))
    try:
        rows = predict(session, pixels[None])
    except RUNTIME_ERRORS as error:
        raise ModelFileError(f"the model cannot run on {path}: {reason(error)}") from error
    probabilities = rows[0]
    best = (-probabilities).argsort(kind="stable")[:top]
    return Prediction(
        path=str(path),
        decided=classes[decide(session, rows)[0]],
        classes=[
            ClassProbability(name=classes[k], probability=float(probabilities[k])) for k in best
        ],
        resized_from=(width, height) if pixels.shape[:2] != (height, width) else None,
        error=None,
    )
