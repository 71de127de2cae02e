"""Flips between models, and files of test images: gallery, duplicates, predictions/test.csv."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.special import softmax

from kdtool.files import save_arrays, write_atomic
from kdtool.format import csv_text
from kdtool.results.base import Record, Role
from kdtool.results.evidence import Flips, Gallery, GalleryImage, SubclassUse
from kdtool.results.study import DataResult
from kdtool.study.keys import key_of
from kdtool.train.data.splits import Split, Splits
from kdtool.train.evaluation.evaluate import Evaluated, Labels, split_labels
from kdtool.train.run import Run


def shown_images(flips: list[Flips], uses: list[SubclassUse]) -> set[int]:
    """Return all test images that the records refer to."""
    lists = [images for one in flips for images in (one.gained_images, one.lost_images)]
    lists += [images for use in uses for one in use.per_class for images in one.claimed]
    return {index for images in lists for index in images}


def gallery(run: Run, chosen: dict[Role, Evaluated], wanted: Iterable[int]) -> Gallery | None:
    """Write the wanted test images to a file, with the predictions of the exported models.

    Args:
        run: The study.
        chosen: The exported model of each role.
        wanted: Test images in any order.

    Returns:
        Each image once, in ascending order; None if `wanted` is empty.
    """
    shown = sorted(set(wanted))
    if not shown:
        return None
    splits, path = run.splits, run.study.folder / "predictions" / "gallery.npz"

    def make() -> tuple[Gallery, list[Path]]:
        images = pixels_of(splits.test, shown)
        save_arrays(path, images=images)
        relative = path.relative_to(run.study.folder).as_posix()
        return Gallery(path=relative, images=described(chosen, splits, shown)), [path]

    keys = {role: one.trained.key for role, one in chosen.items()}
    key = key_of("gallery", run.fingerprint, splits.result.groups, shown, keys)
    return run.study.stage("gallery", key, Gallery, make)


def pixels_of(split: Split, shown: list[int]) -> NDArray[np.uint8]:
    """Return images `(B, H, W, C)` of a split."""
    images, _ = split.batch(torch.tensor(shown))
    found: NDArray[np.uint8] = images.permute(0, 2, 3, 1).cpu().numpy()
    return found


def described(
    chosen: dict[Role, Evaluated], splits: Splits, shown: list[int]
) -> list[GalleryImage]:
    """Return the label of each test image in `shown`, and the predictions of the models."""
    classes, fine_classes = splits.classes, splits.result.fine_classes
    labels, fine_labels = splits.test.labels, splits.test.fine_labels
    return [
        GalleryImage(
            index=index,
            label=classes[int(labels[index])],
            fine_label=None if fine_labels is None else fine_classes[int(fine_labels[index])],
            predictions=predictions,
            probabilities=probabilities,
        )
        for index, (predictions, probabilities) in zip(
            shown, predicted(chosen, classes, shown), strict=True
        )
    ]


def predicted(
    models: dict[Role, Evaluated], classes: Sequence[str], images: Sequence[int] | Labels
) -> Iterator[tuple[dict[Role, str], dict[Role, float]]]:
    """Yield what each model predicts for each of some test images: the class, its probability."""
    probabilities = {role: softmax(one.test_logits[images], axis=1) for role, one in models.items()}
    for row in range(len(images)):
        yield (
            {role: classes[p[row].argmax()] for role, p in probabilities.items()},
            {role: float(p[row].max()) for role, p in probabilities.items()},
        )


ANSWERS_TABLE = "predictions/test.csv"


def write_answers(run: Run, chosen: dict[Role, Evaluated]) -> None:
    """Write `predictions/test.csv`, of `answers_table`."""
    write_atomic(run.study.folder / ANSWERS_TABLE, answers_table(run, chosen))


def answers_table(run: Run, chosen: dict[Role, Evaluated]) -> str:
    """Return the predictions of the exported models as CSV, a row for each test image in its order.

    Args:
        run: The study.
        chosen: The exported model of each role.
    """
    classes, names = run.splits.classes, run.splits.test_names
    labels = split_labels(run.splits.test)
    head = [(f"{role} calls", f"{role} probability") for role in chosen]
    table: list[list[object]] = [
        ["image", "file", "label", *(name for pair in head for name in pair)]
    ]
    answers = predicted(chosen, classes, range(len(labels)))
    for index, (predictions, probabilities) in enumerate(answers):
        row: list[object] = [index, names[index] if names else "", classes[labels[index]]]
        for role in chosen:
            row += [predictions[role], f"{probabilities[role]:.4f}"]
        table.append(row)
    return csv_text(table)


LONGEST_SIDE = 96  # pixels, of a thumbnail


class DuplicateImages(Record):
    """The file of the duplicate images."""

    path: str  # relative to the study


def with_duplicate_images(run: Run) -> DataResult:
    """Write the images that `duplicates` and `near_duplicates` list.

    Returns:
        The data of the study with the path of the file; unchanged if both lists are empty.
    """
    result, path = run.splits.result, run.study.folder / "predictions" / "duplicates.npz"
    if not result.duplicates and not result.near_duplicates:
        return result

    def make() -> tuple[DuplicateImages, list[Path]]:
        exact = pairs(run.splits, result.duplicates)
        near = pairs(run.splits, result.near_duplicates)
        save_arrays(path, exact=exact, near=near)
        return DuplicateImages(path=path.relative_to(run.study.folder).as_posix()), [path]

    key = key_of("duplicates", run.fingerprint, result.duplicates, result.near_duplicates)
    stage = run.study.stage("duplicates", key, DuplicateImages, make)
    return result.model_copy(update={"duplicate_images": stage.path})


def pairs(splits: Splits, listed: Sequence[tuple[str, int, str, int]]) -> NDArray[np.uint8]:
    """Return each listed image and its duplicate, `(K, 2, H, W, C)`, no side above 96 pixels.

    Args:
        splits: All images.
        listed: K entries: split and index of an image, split and index of its duplicate.
    """
    of_split = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    shown = [
        thumbnail(pixels_of(of_split[split], [index])[0])
        for first, place, other, twin in listed
        for split, index in ((first, place), (other, twin))
    ]
    if not shown:
        return np.empty((0, 2, 1, 1, 1), dtype=np.uint8)
    return np.stack(shown).reshape(len(listed), 2, *shown[0].shape)


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image `(H, W, C)` scaled down to a longest side of 96 pixels, if it is longer."""
    image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return np.asarray(image).reshape(image.height, image.width, pixels.shape[2])


NUM_SHOWN = 12  # images of each kind

# Each student against its teacher, and the pairs of the verdicts.
PAIRS: tuple[tuple[Role, Role], ...] = (
    ("student", "teacher"),
    ("student", "control"),
    ("subclass-student", "subclass-teacher"),
    ("subclass-student", "control"),
    ("subclass-student", "student"),
)


def flips(chosen: dict[Role, Evaluated], labels: Labels) -> list[Flips]:
    """Compare the pairs of `PAIRS` that the study has.

    Args:
        chosen: The exported model of each role.
        labels: `(N,)` true classes of the test images.
    """
    return [
        flips_between(of, chosen[of].test_logits, against, chosen[against].test_logits, labels)
        for of, against in PAIRS
        if {of, against} <= chosen.keys()
    ]


def flips_between(
    of: Role,
    of_logits: NDArray[np.floating],
    against: Role,
    against_logits: NDArray[np.floating],
    labels: Labels,
) -> Flips:
    """Count the images that both, one or none of two models get right; logits are `(N, C)`."""
    of_right = of_logits.argmax(axis=1) == labels
    against_right = against_logits.argmax(axis=1) == labels
    # float64 keeps an order among probabilities that float32 rounds to 1
    surest_first = np.argsort(
        -softmax(of_logits.astype(np.float64), axis=1).max(axis=1), kind="stable"
    )
    gained, lost = of_right & ~against_right, against_right & ~of_right
    return Flips(
        of=of,
        against=against,
        both_right=int((of_right & against_right).sum()),
        gained=int(gained.sum()),
        lost=int(lost.sum()),
        both_wrong=int((~of_right & ~against_right).sum()),
        gained_images=surest_first[gained[surest_first]][:NUM_SHOWN].tolist(),
        lost_images=surest_first[lost[surest_first]][:NUM_SHOWN].tolist(),
    )
