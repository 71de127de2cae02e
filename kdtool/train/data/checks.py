"""Whether data can be told apart, split and trusted."""

import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import DataError

NUM_TOLD = 3  # of the images in two splits, in the warning
Twins = Sequence[tuple[str, int, str, int]]  # split, index, and split and index of the twin
Names = Mapping[str, Sequence[str]]


def duplicate_warnings(count: int, first: Twins, names: Names | None = None) -> list[str]:
    """Return what to say of images that stand in two splits; nothing of none."""
    if not count:
        return []
    verb = "image stands" if count == 1 else "images stand"
    return [
        f"{count:,} {verb} bit for bit in two splits, {_told(first, names)}: scores may be better "
        "than on images never seen"
    ]


def near_duplicate_warnings(count: int, first: Twins, names: Names | None = None) -> list[str]:
    """Return what to say of images that look like one of another split; nothing of none."""
    if not count:
        return []
    verb = "image looks" if count == 1 else "images look"
    return [
        f"{count:,} {verb} nearly like one of another split, {_told(first, names)}: look at them; "
        "if they are of one scene or patient, scores are better than on images never seen"
    ]


def contradiction_warnings(torn: Twins, names: Names | None = None) -> list[str]:
    """Return what to say of equal images with different labels; nothing of none."""
    if not torn:
        return []
    verb = "image has" if len(torn) == 1 else "images have"
    return [
        f"{len(torn):,} {verb} another label than an equal one, {_told(torn, names)}: one of the "
        "two labels is wrong"
    ]


def _told(twins: Twins, names: Names | None) -> str:
    if names is None:
        split, index, other, twin = twins[0]
        return f"the first as number {index} of {split} and {twin} of {other}"
    told = [
        f"{names[split][index]} ({split}) and {names[other][twin]} ({other})"
        for split, index, other, twin in twins[:NUM_TOLD]
    ]
    return f"such as {'; '.join(told)}"


def similar_class_warnings(classes: Sequence[str]) -> list[str]:
    """Return a warning for each pair of classes that may be one: "Cat" and "cat"."""
    alike: dict[str, list[str]] = {}
    for name in classes:
        plain = " ".join(unicodedata.normalize("NFKC", name).casefold().split())
        alike.setdefault(plain, []).append(name)
    return [
        f"the classes {' and '.join(names)} differ only in case, spaces or Unicode form; if "
        "they are one class, give them one name"
        for names in alike.values()
        if len(names) > 1
    ]


def check_classes(
    description: str, classes: Sequence[str], labels: Mapping[str, NDArray[np.int64]]
) -> None:
    """Check that there are classes to tell apart, and images of each in every split.

    Args:
        description: Of the data, for the message.
        classes: Their names.
        labels: `(N,)` by the split's name.
    """
    num_classes = len(classes)
    if num_classes < 2 or len(set(classes)) < num_classes:
        raise DataError(
            f"{description}: got the classes {', '.join(classes)}; expected at least "
            "two, no name twice"
        )
    if bad := [name for name in classes if not name.isprintable() or not name.strip()]:
        raise DataError(
            f"{description}: the name of class {bad[0]!r} cannot be printed; give it another"
        )
    for split, of_split in labels.items():
        if len(of_split) < num_classes:
            raise DataError(
                f"{description}: got {len(of_split):,} {split} images for {num_classes} "
                "classes, expected at least one of each; add images or name fewer classes"
            )
        if absent := classes_below(1, of_split, classes):
            raise DataError(
                f"{description}: no image of class {absent} in the {split} split, expected "
                "at least one; add images of it or leave the class out"
            )


def split_size(
    key: str, share: float, labels: NDArray[np.int64], classes: Sequence[str], description: str
) -> int:
    """Return how many train images become validation or test images.

    Args:
        key: Of the recipe: validation or test.
        share: Its value: a share below 1, a number from 1 on.
        labels: `(N,)` of the train images; each class is there.
        classes: Their names.
        description: Of the data, for the message.

    Raises:
        DataError: A class could not stand in both splits.
    """
    num_train, num_classes = len(labels), len(classes)
    if rare := classes_below(2, labels, classes):
        raise DataError(
            f"{description}: only one train image of class {rare}, which leaves none for the "
            f"{key} split; expected at least two; add images of it or leave the class out"
        )
    count = round(share * num_train) if share < 1 else int(share)
    highest = num_train - num_classes
    if not num_classes <= count <= highest:
        problem = "too few" if count < num_classes else "too many"
        raise DataError(
            f"data.{key} = {share:g} splits off {count:,} of the {num_train:,} train "
            f"images, {problem} for {num_classes} classes to stand in both splits; expected "
            f"{num_classes:,} to {highest:,} images, or that share"
        )
    return count


def classes_below(count: int, labels: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Return the names of the classes that have fewer than `count` images."""
    counts = np.bincount(labels, minlength=len(classes))
    return ", ".join(name for name, number in zip(classes, counts, strict=True) if number < count)
