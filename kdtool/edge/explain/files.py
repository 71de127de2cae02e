"""What `kdtool explain MODEL.onnx IMAGE...` does: a saliency map of each picture, and a page."""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdtool.edge.explain import curves
from kdtool.edge.explain.maps import (
    NUM_MASKS,
    Pixels,
    Progress,
    Score,
    num_scored,
    occlusion,
    rise,
)
from kdtool.edge.explain.page import page, picture_of, save_picture
from kdtool.edge.metadata import read_metadata
from kdtool.edge.portable.classifier import image_shape
from kdtool.edge.portable.picture import read_image
from kdtool.edge.predict import (
    Prediction,
    check_classifier,
    class_names,
    given_images,
    predict_given,
    probabilities_of,
)
from kdtool.edge.session import InferenceSession, open_session
from kdtool.errors import KdtoolError, ModelFileError, StudyError, did_you_mean
from kdtool.files import new_folder
from kdtool.results.explained import ExplainedFile, ExplainFilesReport, MapMethod

PIXELS_AT_ONCE = 32 * 224**2  # of the images that are scored together: 5 MB, and the activations
MOST_AT_ONCE = 128
MOST_SIDE = 8192  # pixels of a picture that a file says it was made for
Bar = Callable[[str, int], AbstractContextManager[Callable[[int, str], None]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainOptions:
    """Settings of saliency maps."""

    method: MapMethod = "occlusion"
    num_masks: int = NUM_MASKS
    class_name: str | None = None  # to explain; None: the predicted one of each picture
    threads: int = 1


def explain_files(
    model: Path, images: Sequence[Path], folder: Path, options: ExplainOptions, bar: Bar
) -> ExplainFilesReport:
    """Write a saliency map of each picture as PNG, and a page with all of them.

    Args:
        model: ONNX file as for `predict_files`, of any precision.
        images: Files, and folders of them.
        folder: Is created, whole or not at all.
        options: Settings.
        bar: Shows progress: title and units of work -> a context whose value takes the units done.

    Raises:
        KdtoolError: The model or the class cannot be used, no picture can be read, or the folder
            exists or cannot be written.
    """
    if folder.exists():
        raise StudyError(f"{folder} exists; choose another folder with --out, or delete it")
    session = open_session(model, options.threads)
    check_classifier(session, model)
    classes = class_names(session, model)
    target = _chosen(options.class_name, classes)
    read = _read(session, images, classes)
    per_image = 4 * (curves.STEPS + 1)
    per_image += num_scored(
        next(pixels.shape for _, pixels in read if pixels is not None),
        options.method,
        options.num_masks,
    )
    num_read = sum(pixels is not None for _, pixels in read)
    explained: list[ExplainedFile] = []
    shown: list[tuple[ExplainedFile, Pixels, Pixels]] = []
    try:
        with new_folder(folder) as new, bar(str(model), per_image * num_read) as update:
            for index, (prediction, pixels) in enumerate(read):
                if pixels is None:
                    explained.append(ExplainedFile(path=prediction.path, error=prediction.error))
                    continue
                progress = _counted(update, per_image * len(shown))
                place = classes.index(prediction.decided or "") if target is None else target
                score = _score(session, place, len(classes), prediction.path)
                at_once = images_at_once(session, pixels)
                heatmap = heatmap_of(pixels, score, at_once, progress, options)
                overlay = picture_of(heatmap, pixels)
                name = f"{index:03}-{_file_name(prediction.path)}.png"
                save_picture(new / name, overlay)
                areas = [
                    curves.area(curve(pixels, order, score, at_once, progress))
                    for order in (
                        curves.order_of(heatmap),
                        np.random.default_rng(0).permutation(heatmap.size),
                    )
                    for curve in (curves.deletion, curves.insertion)
                ]
                explained.append(_record(prediction, classes[place], name, heatmap, areas))
                shown.append((explained[-1], pixels, overlay))
            report = ExplainFilesReport(
                model=str(model),
                method=options.method,
                num_masks=options.num_masks if options.method == "rise" else None,
                folder=str(folder),
                images=explained,
            )
            (new / "index.html").write_text(page(report, shown), encoding="utf-8")
    except OSError as error:
        raise StudyError(f"cannot write {folder}: {error.strerror or error}") from error
    return report


def _read(
    session: InferenceSession, images: Sequence[Path], classes: list[str]
) -> list[tuple[Prediction, Pixels | None]]:
    """Return what the model answers for each picture, and its pixels; None: it cannot be read.

    Raises:
        KdtoolError: No picture can be read.
    """
    shape = _size_of(session)
    read: list[tuple[Prediction, Pixels | None]] = []
    for given in given_images(images):
        answer = predict_given(session, given, classes, len(classes))
        read.append((answer, None if answer.error else read_image(given.path, shape)[0]))
    if all(pixels is None for _, pixels in read):
        raise KdtoolError("; ".join(dict.fromkeys(answer.error or "" for answer, _ in read)))
    return read


def _counted(update: Callable[[int, str], None], start: int) -> Progress:
    """Return a progress that adds up what is done, from `start` on."""
    done = [start]

    def progress(number: int) -> None:
        done[0] += number
        update(done[0], "")

    return progress


def _score(session: InferenceSession, place: int, num_classes: int, name: str) -> Score:
    """Return the probability of a class as a function of images, made from the one with a name."""

    def score(images: Pixels) -> NDArray[np.floating]:
        return probabilities_of(session, images, num_classes, name)[:, place]

    return score


def heatmap_of(
    image: Pixels, score: Score, at_once: int, progress: Progress, options: ExplainOptions
) -> NDArray[np.float32]:
    """Return the map `(H, W)` of an image by the method of the options."""
    if options.method == "rise":
        return rise(image, score, at_once, progress, options.num_masks)
    return occlusion(image, score, at_once, progress)


def _record(
    prediction: Prediction,
    explained: str,
    name: str,
    heatmap: NDArray[np.float32],
    areas: list[float],
) -> ExplainedFile:
    probabilities = {one.name: one.probability for one in prediction.classes}
    called = prediction.decided or ""
    return ExplainedFile(
        path=prediction.path,
        predicted=called,
        probability=probabilities[called],
        explained=explained,
        explained_probability=probabilities[explained],
        heatmap=name,
        is_constant=bool(np.ptp(heatmap) < 1e-9),
        deletion=areas[0],
        insertion=areas[1],
        random_deletion=areas[2],
        random_insertion=areas[3],
    )


def images_at_once(session: InferenceSession, image: Pixels) -> int:
    """Return how many images are scored together: as the file allows, and memory."""
    batch: object = session.get_inputs()[0].shape[0]
    if isinstance(batch, int):
        return batch
    height, width, _ = image.shape
    return max(1, min(MOST_AT_ONCE, PIXELS_AT_ONCE // int(height * width)))


def _chosen(name: str | None, classes: list[str]) -> int | None:
    if name is None:
        return None
    if name not in classes:
        raise KdtoolError(
            f"the model has no class {name!r}{did_you_mean(name, classes)}; it has "
            f"{len(classes)} classes"
        )
    return classes.index(name)


def _size_of(session: InferenceSession) -> list[object]:
    """Return height, width and channels to read pictures in; with `resize` those it was made for.

    Raises:
        ModelFileError: The file takes any size, and its metadata lack the one it was made for.
    """
    height, width, channels = image_shape(session)
    if isinstance(height, int):
        return [height, width, channels]
    preprocess = read_metadata(session).get("preprocess")
    if not isinstance(preprocess, dict) or not all(
        type(side) is int and 0 < side <= MOST_SIDE
        for side in (preprocess.get("height"), preprocess.get("width"))
    ):
        raise ModelFileError(
            "the model takes images of any size, and its metadata do not say which one it was made "
            "for; export the model again"
        )
    return [preprocess["height"], preprocess["width"], channels]


def _file_name(path: str) -> str:
    return re.sub(r"[^\w.-]", "_", Path(path).stem, flags=re.ASCII)[:60]
