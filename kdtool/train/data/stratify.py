"""Splits labels in two so that each class has the same share of both sides."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kdtool.train.data.large.stored import Images, StoredImages

# One seed for each split that kdtool draws, independent of the seeds of training: all runs are
# validated on the same images.
SPLIT_SEED = 0


def stratified_split(
    labels: NDArray[np.int64], num_second: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw `num_second` indices, from each class in proportion to its size.

    Rounding is by largest remainder; a class of at least two images is on both sides, a class of
    one image on the first only. The same labels always give the same split.

    Args:
        labels: `(N,)`.
        num_second: Size of the second side; from the number of classes with at least two images,
            to N minus the number of classes.

    Returns:
        Indices of the first and of the second side, both ascending.
    """
    counts = np.bincount(labels)
    # The stream of RandomState is frozen, that of default_rng may change with numpy (NEP 19).
    shuffled = np.random.RandomState(SPLIT_SEED).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    rank_in_class = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    is_second = rank_in_class < np.repeat(_quotas(counts, num_second), counts)
    return np.sort(by_class[~is_second]), np.sort(by_class[is_second])


def stratified_sample(labels: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """Return the indices of a sample with the same share of each class, ascending.

    The first images of a set that is sorted by class would be of few classes. The same labels
    always give the same sample.

    Args:
        labels: `(N,)`.
        most: Size of the sample, but at least one image a class; all images if there are fewer, or
            hardly more.
    """
    num_classes = len(np.unique(labels))
    size = max(most, num_classes)
    if len(labels) <= size + num_classes:
        return np.arange(len(labels))
    return stratified_split(labels, size)[1]


def grouped_split(
    labels: NDArray[np.int64], groups: NDArray[np.int64], num_second: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw about `num_second` indices, each class in about its share, and no group divided.

    Groups are placed one by one, large ones first, so that small ones balance them: each goes to
    the side where the shares of all classes are then nearer to the wanted ones. The same labels and
    groups always give the same split.

    Args:
        labels: `(N,)`.
        groups: `(N,)`, from 0; equal numbers stay together.
        num_second: Desired size of the second side, from 1 to N - 1.

    Returns:
        Indices of the first and of the second side, both ascending; a class may be on one only.

    Source: order and aim of scikit-learn's StratifiedGroupKFold, which has only shares of 1 / k.
    """
    share = num_second / len(labels)
    counts = np.zeros((int(groups.max()) + 1, int(labels.max()) + 1))  # (groups, C)
    np.add.at(counts, (groups, labels), 1)
    # Shares of the class, so that a rare class weighs as much as a common one.
    parts = counts / np.maximum(counts.sum(axis=0), 1)
    shuffled = np.random.RandomState(SPLIT_SEED).permutation(len(parts))
    is_second = np.zeros(len(parts), dtype=bool)
    excess = np.zeros(parts.shape[1])  # (C,), of the second side over the first
    # Rounded, so that ties are decided alike on every machine.
    for group in shuffled[np.argsort(-parts[shuffled].sum(axis=1).round(9), kind="stable")]:
        if_first, if_second = excess - parts[group] / (1 - share), excess + parts[group] / share
        is_second[group] = (if_second**2).sum().round(9) < (if_first**2).sum().round(9)
        excess = if_second if is_second[group] else if_first
    return np.flatnonzero(~is_second[groups]), np.flatnonzero(is_second[groups])


def _quotas(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Distribute `total` over the classes: at least 1 of each, at most all but 1.

    Source: largest remainder (Hamilton's method), with bounds.
    """
    lowest = (counts >= 2).astype(np.int64)
    highest = np.maximum(counts - 1, 0)
    assert lowest.sum() <= total <= highest.sum(), "the caller checks that the split is possible"
    num_images = int(counts.sum())
    quotas = np.clip(total * counts // num_images, lowest, highest)
    # In integers, so that ties are decided alike on every machine: for the first class.
    while (missing := total - int(quotas.sum())) != 0:
        remainder = total * counts - num_images * quotas
        if missing > 0:
            quotas[np.argmax(np.where(quotas < highest, remainder, np.iinfo(np.int64).min))] += 1
        else:
            quotas[np.argmin(np.where(quotas > lowest, remainder, np.iinfo(np.int64).max))] -= 1
    return quotas


def divided(images: Images, parts: Sequence[NDArray[np.int64]]) -> list[Images]:
    """Return the images of each part.

    Args:
        images: `(N, ...)`; in memory they are reordered in place.
        parts: Numbers of images, each once in all.
    """
    if isinstance(images, StoredImages):
        return [images.only(part) for part in parts]
    reorder(images, np.concatenate(parts))
    return list(np.split(images, np.cumsum([len(part) for part in parts])[:-1]))


def reorder(array: NDArray[np.uint8], order: NDArray[np.int64]) -> None:
    """Reorder rows in place: a second copy of the images might not fit into memory.

    Args:
        array: `(N, ...)`; modified: its new row i is its old row `order[i]`.
        order: `(N,)`, each row once.
    """
    source = order.tolist()
    for start in range(len(source)):
        if source[start] == start:
            continue
        held, place = array[start].copy(), start
        while source[place] != start:  # along the cycle that leads back to `start`
            array[place] = array[source[place]]
            source[place], place = place, source[place]
        array[place] = held
        source[place] = place
