"""Whether a model has learned anything: its confusion matrix against chance, and one class.

Confusion matrices are `(C, C)` counts of images: rows are true classes, columns predicted ones.
"""

from collections.abc import Sequence

import numpy as np

from kdtool.stats.intervals import mcnemar_p, wilson_interval

LEVEL = 0.05  # two-sided, as a 95 % interval is

Confusion = Sequence[Sequence[int]]


def balanced_accuracy(confusion: Confusion) -> tuple[float, float]:
    """Return the mean recall of the classes that have images, and the lower end of its interval.

    Source: Zou and Donner 2008, Statistics in Medicine 27, 1693, from Wilson's 95 % intervals of
        the classes.
    """
    counts = [(row[c], sum(row)) for c, row in enumerate(confusion) if sum(row)]
    shares = np.array([right / total for right, total in counts])
    lower = np.array([wilson_interval(right, total)[0] for right, total in counts])
    balanced = float(shares.mean())
    return balanced, balanced - float(np.sqrt(((shares - lower) ** 2).sum())) / len(counts)


def is_above_chance(confusion: Confusion) -> bool:
    """Return whether a model is shown to beat one that ignores the image.

    Whatever classes such a model names, and however often, its balanced accuracy is 1 / C.
    """
    return balanced_accuracy(confusion)[1] > 1 / len(confusion)


def largest_class(confusion: Confusion) -> int:
    """Return the class with the most images; of equals, the first."""
    sizes = [sum(row) for row in confusion]
    return sizes.index(max(sizes))


def is_above_largest_class(confusion: Confusion) -> bool:
    """Return whether a model is shown to be right more often than always naming the largest class.

    Tested image by image (exact McNemar): only the model is right where it recognizes an image of
    another class, only the constant where the model misses one of the largest.
    """
    largest = largest_class(confusion)
    gained = sum(row[c] for c, row in enumerate(confusion) if c != largest)
    lost = sum(confusion[largest]) - confusion[largest][largest]
    is_gain = np.repeat([True, False], [gained, lost])
    return gained > lost and mcnemar_p(is_gain, ~is_gain) < LEVEL


def never_called(confusion: Confusion) -> list[int]:
    """Return the classes with images that the model gives to no image."""
    num_called = [sum(column) for column in zip(*confusion, strict=True)]
    return [c for c, row in enumerate(confusion) if sum(row) and not num_called[c]]
