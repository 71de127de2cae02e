"""Split labels in two so that every class has the same share of both sides."""

import numpy as np
from numpy.typing import NDArray

# One seed for every split that kdtool makes: it belongs to the data, not to a run of training, so
# that runs of different seeds are validated on the same images.
SPLIT_SEED = 0


def stratified_split(
    labels: NDArray[np.int64], num_second: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw `num_second` indices, as many of each class as its share says.

    Rounding is by largest remainder; a class of at least two images stands on both sides, a class
    of one image on the first only. The same labels always give the same split.

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


def _quotas(counts: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Share `total` out over the classes: at least 1 of each, at most all but 1.

    Source: largest remainder (Hamilton's method), with bounds.
    """
    lowest = (counts >= 2).astype(np.int64)
    highest = np.maximum(counts - 1, 0)
    assert lowest.sum() <= total <= highest.sum(), "the caller checks that the split is possible"
    num_images = int(counts.sum())
    quotas = np.clip(total * counts // num_images, lowest, highest)
    # In whole numbers, so that ties fall the same way on every machine: to the first class.
    while (missing := total - int(quotas.sum())) != 0:
        remainder = total * counts - num_images * quotas
        if missing > 0:
            quotas[np.argmax(np.where(quotas < highest, remainder, np.iinfo(np.int64).min))] += 1
        else:
            quotas[np.argmin(np.where(quotas > lowest, remainder, np.iinfo(np.int64).max))] -= 1
    return quotas
