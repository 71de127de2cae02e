"""Exact McNemar, intervals over seeds and images, and the verdict; numpy only.

Throughout, S is the number of seeds, N of test images, and every model saw the same images.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdtool.record import Interval

Word = Literal["HELPED", "NO EVIDENCE", "HURT"]

NUM_DRAWS = 10_000  # of the images
SEED_DRAWS = 20  # for each of these: Student's t has long tails, which few draws show badly
Z95 = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson_interval(num_right: int, num_images: int) -> Interval:
    """Return the 95 % Wilson interval of a share.

    Source: Wilson 1927, Journal of the American Statistical Association 22, 209.
    """
    if num_images == 0:
        return 0.0, 1.0
    share, shrink = num_right / num_images, Z95**2 / num_images
    centre = (share + shrink / 2) / (1 + shrink)
    half = (
        Z95 / (1 + shrink) * math.sqrt(share * (1 - share) / num_images + shrink / num_images / 4)
    )
    return max(0.0, centre - half), min(1.0, centre + half)


def mcnemar_p(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> float:
    """Return the exact two-sided p value that two models are equally often right.

    Args:
        first_right: `(N,)`, whether the first model was right.
        second_right: `(N,)`, the same of the second.

    Source: McNemar 1947, in the exact binomial form.
    """
    only_first = int(np.sum(first_right & ~second_right))
    only_second = int(np.sum(second_right & ~first_right))
    num_differing, fewer = only_first + only_second, min(only_first, only_second)
    term = tail = 1  # binomial coefficients as integers: exact, however many images differ
    for k in range(fewer):
        term = term * (num_differing - k) // (k + 1)
        tail += term
    return min(1.0, float(2 * tail / 2**num_differing))


def mean_interval(values: NDArray[np.floating], rng: np.random.Generator) -> Interval:
    """Return the 95 % interval of the mean of `values`, over seeds and images.

    The images are drawn by bootstrap, one draw for all seeds, as they see the same images. The
    seeds are too few to be drawn so: of three seeds without any effect, one in four has all three
    on one side. Their spread enters as Student's t with S - 1 degrees of freedom, the
    distribution of the error of a mean of S normal values.

    Args:
        values: `(S, N)`, one number a seed and image, such as right (1) or wrong (0).
        rng: Source of the draws.

    Returns:
        Ends of the interval. For a single seed it holds for that seed alone.

    Source: Efron and Tibshirani 1993, chapter 13, for the images; Student 1908 for the seeds.
    """
    num_images = values.shape[1]
    # Images on which all seeds have the same values are exchangeable: draw how many of each kind.
    kinds, counts = np.unique(values, axis=1, return_counts=True)
    drawn = rng.multinomial(num_images, counts / num_images, size=NUM_DRAWS)
    draws = drawn @ kinds.mean(axis=0) / num_images
    return _percentiles(draws + _seed_error(values.mean(axis=1), len(draws), rng))


def weighted_f1_interval(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], rng: np.random.Generator
) -> Interval:
    """Return the 95 % interval of the mean weighted F1, over seeds and images.

    Args:
        labels: `(N,)` true classes.
        predictions: `(S, N)` predicted classes.
        rng: Source of the draws.

    Source: as `mean_interval`; F1 as in scikit-learn, average="weighted".
    """
    num_classes = int(max(labels.max(), predictions.max())) + 1
    kinds, counts = np.unique(np.vstack([labels, predictions]), axis=1, return_counts=True)
    drawn = rng.multinomial(len(labels), counts / len(labels), size=NUM_DRAWS // 10)
    one_hot = np.eye(num_classes)
    is_label = one_hot[kinds[0]]  # (kinds, C)
    support = drawn @ is_label  # (draws, C)
    per_seed, at_sample = [], []
    for predicted in kinds[1:]:
        is_predicted = one_hot[predicted]
        hits, chosen = drawn @ (is_label * is_predicted), drawn @ is_predicted
        per_seed.append(_weighted_f1(hits, chosen, support))
        at_sample.append(
            _weighted_f1(
                counts @ (is_label * is_predicted), counts @ is_predicted, counts @ is_label
            )
        )
    draws = np.mean(per_seed, axis=0)
    return _percentiles(draws + _seed_error(np.array(at_sample), len(draws), rng))


def verdict_of(interval: Interval) -> Word:
    """Return what an interval of a difference says: the gain is real, the loss is, or neither."""
    if interval[0] > 0:
        return "HELPED"
    return "HURT" if interval[1] < 0 else "NO EVIDENCE"


def _weighted_f1(
    hits: NDArray[np.floating], chosen: NDArray[np.floating], support: NDArray[np.floating]
) -> NDArray[np.floating]:
    # F1 = 2 hits / (chosen + support), and 0 for a class that is neither present nor predicted
    f1 = 2 * hits / np.maximum(chosen + support, 1)
    return np.asarray((f1 * support).sum(axis=-1) / support.sum(axis=-1))


def _seed_error(
    seed_means: NDArray[np.floating], num_draws: int, rng: np.random.Generator
) -> NDArray[np.floating]:
    """Return `(SEED_DRAWS, num_draws)` errors of the mean of a few seeds."""
    num_seeds = len(seed_means)
    if num_seeds == 1:
        return np.zeros((1, num_draws))
    standard_error = seed_means.std(ddof=1) / math.sqrt(num_seeds)
    return np.asarray(standard_error * rng.standard_t(num_seeds - 1, (SEED_DRAWS, num_draws)))


def _percentiles(draws: NDArray[np.floating]) -> Interval:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)


def paired_difference_interval(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> Interval:
    """Return the 95 % interval of the difference between two shares of the same images.

    Unlike a bootstrap it has a width where the two never differ, as a file and its copy in 8 bits
    on a few hundred images.

    Args:
        one: `(N,)`, whether the first is right on each image.
        other: `(N,)`, the same for the second; the difference is the first's share minus its.

    Source: adjusted Wald interval, Bonett and Price 2012, doi:10.3102/1076998611411915.
    """
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    total = len(one) + 2
    share_gained, share_lost = (gained + 1) / total, (lost + 1) / total
    difference = share_gained - share_lost
    variance = (share_gained + share_lost - difference**2) / total
    margin = Z95 * math.sqrt(variance)
    return max(-1.0, difference - margin), min(1.0, difference + margin)
