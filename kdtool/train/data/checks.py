"""Checks of classes and split sizes, and warnings of duplicates and doubtful labels."""

import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import DataError

NUM_EXAMPLES = 3  # of duplicates, in a warning
Twins = Sequence[tuple[str, int, str, int]]  # split and index, and those of the first equal image
Names = Mapping[str, Sequence[str]]


def duplicate_warnings(count: int, first: Twins, names: Names | None = None) -> list[str]:
    """Return a warning if images are in two splits.

    Args:
        count: Number of these images.
        first: The first of them, at least one.
        names: Of the files, by split; None if the images are no files.
    """
    if not count:
        return []
    verb = "image is an exact copy of one" if count == 1 else "images are exact copies of images"
    return [
        f"{count:,} {verb} in another split, {_examples(first, names)}: scores may be better than "
        "on new images"
    ]


def near_duplicate_warnings(count: int, first: Twins, names: Names | None = None) -> list[str]:
    """Return a warning if images look nearly like one of another split; for arguments see above."""
    if not count:
        return []
    verb = "image looks" if count == 1 else "images look"
    return [
        f"{count:,} {verb} nearly like one in another split, {_examples(first, names)}: check "
        "them; if they show one scene or patient, scores are better than on new images"
    ]


def uncompared_warnings(why: str | None) -> list[str]:
    """Return a warning if near duplicates were not looked for; `why` of `why_uncompared`."""
    if why is None:
        return []
    return [
        "validation and test images were not searched for near copies of training images: "
        f"{why}; exact copies were looked for"
    ]


def contradiction_warnings(twins: Twins, names: Names | None = None) -> list[str]:
    """Return a warning if equal images have different labels; `twins` are all of them."""
    if not twins:
        return []
    verb = "image has" if len(twins) == 1 else "images have"
    return [
        f"{len(twins):,} {verb} another label than an identical image, {_examples(twins, names)}: "
        "one of the two labels is wrong"
    ]


def _examples(twins: Twins, names: Names | None) -> str:
    if names is None:
        split, index, other, twin = twins[0]
        return f"the first is number {index} of {split}, equal to number {twin} of {other}"
    pairs = [
        f"{names[split][index]} ({split}) and {names[other][twin]} ({other})"
        for split, index, other, twin in twins[:NUM_EXAMPLES]
    ]
    return f"such as {'; '.join(pairs)}"


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
    """Check that there are at least two classes, with printable names, and images of each.

    Args:
        description: Of the data, for the message.
        classes: Their names.
        labels: `(N,)` by split.

    Raises:
        DataError: They are not so; lists the classes that each split lacks.
    """
    num_classes = len(classes)
    if num_classes < 2 or len(set(classes)) < num_classes:
        raise DataError(
            f"{description}: got the classes {', '.join(classes)}; expected at least "
            "two, no name twice"
        )
    if bad := [name for name in classes if not name.isprintable() or not name.strip()]:
        raise DataError(
            f"{description}: the name of class {bad[0]!r} cannot be printed; rename the class"
        )
    lacking = []
    for split, of_split in labels.items():
        if len(of_split) < num_classes:
            lacking.append(f"{num_classes:,} classes, but {split} images: {len(of_split):,}")
        elif absent := classes_below(1, of_split, classes):
            lacking.append(f"no image of class {absent} in the {split} split")
    if lacking:
        raise DataError(
            f"{description}: {', and '.join(lacking)}; expected at least one of each class in each "
            "split; add images, or leave out the class"
        )


def split_size(
    key: str, share: float, labels: NDArray[np.int64], classes: Sequence[str], description: str
) -> int:
    """Return how many train images become validation or test images.

    Args:
        key: Of the recipe: validation or test.
        share: Its value: a share below 1, a number from 1 on.
        labels: `(N,)` of the train images, at least one of each class.
        classes: Their names.
        description: Of the data, for the message.

    Raises:
        DataError: Not every class could have an image in both splits.
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
            f"images, {problem} for images of {num_classes} classes in both splits; expected "
            f"{num_classes:,} to {highest:,} images, or such a share"
        )
    return count


def classes_below(count: int, labels: NDArray[np.int64], classes: Sequence[str]) -> str:
    """Return the names of the classes that have fewer than `count` images."""
    counts = np.bincount(labels, minlength=len(classes))
    return ", ".join(name for name, number in zip(classes, counts, strict=True) if number < count)
