"""Whether data can be told apart, split and trusted."""

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import DataError
from kdtool.train.data.source import SourceData


def duplicate_warnings(count: int, first: list[tuple[str, int, str, int]]) -> list[str]:
    """Return what to say of images that stand in two splits; nothing of none."""
    if not count:
        return []
    split, index, other, twin = first[0]
    verb = "image stands" if count == 1 else "images stand"
    return [
        f"{count:,} {verb} bit for bit in two splits, the first as number {index} of {split} and "
        f"{twin} of {other}: scores may be better than on images never seen"
    ]


def check_classes(data: SourceData) -> None:
    """Check that there are classes to tell apart, and images of each in train and test."""
    num_classes = len(data.classes)
    if num_classes < 2 or len(set(data.classes)) < num_classes:
        raise DataError(
            f"{data.description}: got the classes {', '.join(data.classes)}; expected at least "
            "two, no name twice"
        )
    for split, labels in (("train", data.train_labels), ("test", data.test_labels)):
        if len(labels) < num_classes:
            raise DataError(
                f"{data.description}: got {len(labels):,} {split} images for {num_classes} "
                "classes, expected at least one of each; add images or name fewer classes"
            )
        absent = _classes_below(data, labels, 1)
        if absent:
            raise DataError(
                f"{data.description}: no image of class {absent} in the {split} split, expected "
                "at least one; add images of it or leave the class out"
            )


def validation_size(validation: float, data: SourceData) -> int:
    """Return how many train images become validation images.

    Args:
        validation: Share below 1, number from 1 on.
        data: Has every class in its train images.

    Raises:
        DataError: A class could not stand in both splits.
    """
    num_train, num_classes = len(data.train_labels), len(data.classes)
    if rare := _classes_below(data, data.train_labels, 2):
        raise DataError(
            f"{data.description}: only one train image of class {rare}, which leaves none for the "
            "validation split; expected at least two; add images of it or leave the class out"
        )
    count = round(validation * num_train) if validation < 1 else int(validation)
    highest = num_train - num_classes
    if not num_classes <= count <= highest:
        problem = "too few" if count < num_classes else "too many"
        raise DataError(
            f"data.validation = {validation:g} splits off {count:,} of the {num_train:,} train "
            f"images, {problem} for {num_classes} classes to stand in both splits; expected "
            f"{num_classes:,} to {highest:,} images, or that share"
        )
    return count


def _classes_below(data: SourceData, labels: NDArray[np.int64], count: int) -> str:
    """Return the names of the classes that have fewer than `count` images."""
    below = np.flatnonzero(_class_counts(data, labels) < count)
    return ", ".join(data.classes[index] for index in below)


def _class_counts(data: SourceData, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.bincount(labels, minlength=len(data.classes))
