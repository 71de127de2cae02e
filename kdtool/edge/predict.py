"""What an image classifier says of image files, by the very lines that its kit runs on a device."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from kdtool.edge.metadata import read_metadata
from kdtool.edge.session import RUNTIME_ERRORS, InferenceSession, open_session
from kdtool.errors import KdtoolError, ModelFileError
from kdtool.results.base import SCHEMA, Record

try:
    from kdtool.edge.portable.classifier import decide, decision, image_shape, predict
    from kdtool.edge.portable.picture import read_image
except ModuleNotFoundError as error:
    if error.name != "PIL":
        raise
    raise KdtoolError("reading images needs Pillow: pip install pillow") from error

LABELS = "labels.txt"


class ClassProbability(Record):
    """How likely a class is, says the model."""

    name: str = Field(alias="class")
    probability: float  # in [0, 1]


class Prediction(Record):
    """What a model says of one image."""

    path: str
    decided: str | None = None  # the class that it is called; None if the image could not be read
    classes: list[ClassProbability]  # most probable first; empty if the image could not be read
    resized_from: tuple[int, int] | None  # width and height, where they are not the model's
    error: str | None  # why the image could not be read


class PredictionReport(Record):
    """The answer of `kdtool predict`."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    model: str
    # Of two classes: `positive` is called from this probability on. None: the most probable class
    positive: str | None = None
    threshold: float | None = None
    predictions: list[Prediction]  # in the order given


def predict_files(
    model: Path, images: Sequence[Path], threads: int = 1, top: int = 3
) -> PredictionReport:
    """Classify image files, one at a time.

    Args:
        model: ONNX file of an image classifier that kdtool exported; another one if it takes uint8
            images `(N, H, W, C)`, has an output `probabilities`, and `labels.txt` lies beside it.
        images: In any format that Pillow reads. Those of another size than the model's are scaled
            at the shorter side and cropped to it, unless the model does so itself.
        threads: At least 1.
        top: How many classes to name.

    Raises:
        KdtoolError: The model cannot be used. An image that cannot be read is no exception: its
            `Prediction` tells why.
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
    """Check that a model takes images and gives probabilities, as kdtool's own files do.

    Raises:
        ModelFileError: It does not; the message says what it takes or gives instead.
    """
    inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
    if (
        len(inputs) != 1
        or inputs[0].type not in ("tensor(uint8)", "tensor(float)")
        or len(inputs[0].shape) != 4
    ):
        given = ", ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in inputs)
        raise ModelFileError(
            f"{path} takes {given}; kdtool predicts with models of one input, uint8 (N, H, W, C) "
            "or float32 (N, C, H, W); export it with kdtool"
        )
    channels = image_shape(session)[2]
    if channels not in (1, 3):
        raise ModelFileError(
            f"{path} takes images of {channels} channels; image files are read as 1 (gray) or "
            "3 (red, green, blue)"
        )
    if "probabilities" not in outputs:
        raise ModelFileError(
            f"{path} has no output 'probabilities' but {', '.join(outputs)}; export it with kdtool"
        )


def class_names(session: InferenceSession, path: Path) -> list[str]:
    """Return the classes of a model, from its metadata or else from `labels.txt` beside it.

    Raises:
        ModelFileError: It has neither, or not one for each probability.
    """
    metadata = read_metadata(session)
    labels = path.with_name(LABELS)
    if "classes" in metadata:
        names = metadata["classes"]
    elif session.get_inputs()[0].type != "tensor(uint8)":
        raise ModelFileError(
            f"{path} takes float32 images and does not say how they are scaled, as files that "
            "kdtool exported do; export it with kdtool"
        )
    elif labels.is_file():
        names = _read_lines(labels)
    else:
        raise ModelFileError(
            f"{path} does not name its classes, as files that kdtool exported do; "
            f"write them into {labels}, one a line"
        )
    shapes = {output.name: output.shape for output in session.get_outputs()}
    num_classes = shapes["probabilities"][-1]
    if not isinstance(names, list) or (isinstance(num_classes, int) and len(names) != num_classes):
        raise ModelFileError(
            f"{path} gives {num_classes} probabilities, but its classes are {str(names)[:80]}"
        )
    return [str(name) for name in names]


def check_decision(
    session: InferenceSession, path: Path, classes: list[str]
) -> tuple[int, float] | None:
    """Return which class is called from what probability on; None: the most probable is called.

    Raises:
        ModelFileError: The file's metadata do not say so.
    """
    try:
        chosen = decision(session)
        if chosen is None or (len(classes) == 2 and math.isfinite(chosen[1])):
            return chosen
    except (KeyError, TypeError, ValueError):
        pass
    given = str(read_metadata(session).get("decision"))
    raise ModelFileError(
        f"{path} should name a rule, which of its two classes is positive, and a threshold in its "
        f"metadata 'kdtool.decision', but has {given[:80]}; export it again"
    )


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelFileError(f"cannot read {path}: {error}; save it as text in UTF-8") from error


def _predict_file(
    session: InferenceSession, path: Path, classes: list[str], top: int
) -> Prediction:
    try:
        pixels, (width, height) = read_image(path, image_shape(session))
    except ValueError as error:
        hint = "; name the images in it" if path.is_dir() else ""
        return Prediction(path=str(path), classes=[], resized_from=None, error=f"{error}{hint}")
    try:
        rows = predict(session, pixels[None])
    except RUNTIME_ERRORS as error:
        raise ModelFileError(f"the model cannot run on {path}: {error}") from error
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
