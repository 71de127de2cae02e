"""Exact McNemar, intervals over seeds and images, Holm, and the verdict; numpy only.

Throughout, S is the number of seeds and N of test images; all models saw the same images.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from kdtool.results.base import Interval
from kdtool.results.evidence import Word

NUM_DRAWS = 10_000  # of the images
SEED_DRAWS = 20  # for each of these: the long tails of Student's t need more draws
# Drawing how often each distinct value occurs takes about as long as drawing 25 single images.
FEW_VALUES, IMAGES_PER_VALUE = 100, 25
DRAWN_AT_ONCE = 50_000  # numbers; they stay in the cache, and memory is bounded
LEVEL = 0.05  # of every interval and verdict
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
    # rounding can put an end on the wrong side of a share of 0 or 1
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def mcnemar_p(first_right: NDArray[np.bool_], second_right: NDArray[np.bool_]) -> float:
    """Return the exact two-sided p value of two models being right equally often.

    Args:
        first_right: `(N,)`, whether the first model was right.
        second_right: `(N,)`, the same for the second.

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


def interval_and_p(
    values: NDArray[np.floating], rng: np.random.Generator, level: float = LEVEL
) -> tuple[Interval, float]:
    """Return the interval of the mean of `values`, over seeds and images, and its p value.

    Images are drawn by bootstrap, one draw for all seeds, because all seeds see the same images;
    the bootstrap is never replaced by a normal distribution. Seeds are too few for a bootstrap: if
    there is no effect, all of three seeds fall on one side of 0 in one of four studies. Their
    spread enters as Student's t with S - 1 degrees of freedom, the distribution of the error of a
    mean of S normal values.

    Args:
        values: `(S, N)`, one number for each seed and image: right (1) or wrong (0), the values of
            `kdtool.stats.metrics.per_image`, or a difference of two of these.
        rng: Source of the draws.
        level: 0.05 for a 95 % interval.

    Returns:
        Ends of the interval, and the two-sided p value of a mean of 0 from the same draws: it is
        below `level` exactly where the interval excludes 0. The smallest p possible is 0.00001, for
        a single seed 0.0002. For a single seed both are about that seed only, and too confident
        where few images differ from 0: see `paired_interval_and_p`.

    Source: Efron and Tibshirani 1993, chapters 13 and 15, for the images; Student 1908 for the
    seeds; Davison and Hinkley 1997, section 4.2, for a p value that is never 0.
    """
    num_seeds, num_images = values.shape
    # Sums, and not means, of right and wrong are whole numbers: a draw of no difference is 0 then.
    drawn = _drawn_sums(values.sum(axis=0), rng)
    errors = _seed_error(values.sum(axis=1), NUM_DRAWS, rng)
    draws = (drawn / num_seeds + errors).ravel() / num_images
    tail = 1 + min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    return _interval(draws, level), min(1.0, 2 * tail / (draws.size + 1))


def difference_interval_and_p(
    values: NDArray[np.floating], rng: np.random.Generator, level: float = LEVEL
) -> tuple[Interval, float]:
    """Return `interval_and_p` of differences, no surer than the number of images allows.

    Where few images differ their sum has few possible values, which a bootstrap does not know: it
    calls 5 of 1,000 images that all seeds gained a difference, p = 0.011, and the same 5 gained by
    one seed have an exact p of 0.0625. So p is at least that of `flipped_p`, and an end of the
    interval that excludes 0 although p is not below the level is moved to 0.

    Args:
        values: `(S, N)`, values of one model minus those of another.
        rng: Source of the draws.
        level: 0.05 for a 95 % interval.
    """
    (low, high), p_value = interval_and_p(values, rng, level)
    p_value = max(p_value, flipped_p(values.sum(axis=0), rng))
    if p_value >= level:
        low, high = min(low, 0.0), max(high, 0.0)
    return (low, high), p_value


def flipped_p(values: NDArray[np.floating], rng: np.random.Generator) -> float:
    """Return how often a sum is as far from 0 if each difference has either sign by chance.

    For one seed this is McNemar's test. With more distinct sizes than `FEW_VALUES` the sum has so
    many possible values that a bootstrap knows it as well, and 0 is returned.

    Args:
        values: `(N,)`.
        rng: Source of the draws.

    Source: Fisher 1935, The Design of Experiments, section 21.
    """
    sizes, counts = np.unique(np.abs(values[values != 0]), return_counts=True)
    if len(sizes) > FEW_VALUES:
        return 0.0
    draws = NUM_DRAWS * SEED_DRAWS // max(1, len(sizes))
    num_positive = rng.binomial(counts, 0.5, (draws, len(sizes)))
    sums = np.abs((2 * num_positive - counts) @ sizes)
    return float(np.mean(sums >= abs(values.sum()) * (1 - 1e-9)))


def mean_interval(values: NDArray[np.floating], rng: np.random.Generator) -> Interval:
    """Return the interval of `interval_and_p` without its p value."""
    return interval_and_p(values, rng)[0]


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for their number: the chance of any false finding stays the same.

    Source: Holm 1979, Scandinavian Journal of Statistics 6, 65.
    """
    corrected = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, (len(p_values) - rank) * p_values[index])
        corrected[index] = min(1.0, largest)
    return corrected


def holm_levels(p_values: Sequence[float]) -> list[float]:
    """Return the level at which Holm's method tests each p value, 0.05 / number to 0.05.

    From the first that fails on, all have its level: so a comparison is called different exactly
    where its interval at this level excludes 0.

    Source: the same as for `holm`.
    """
    levels = [LEVEL] * len(p_values)
    level, failed = 0.0, False
    for rank, index in enumerate(np.argsort(p_values, kind="stable")):
        level = level if failed else LEVEL / (len(p_values) - rank)
        failed = failed or p_values[index] >= level
        levels[index] = level
    return levels


def verdict_of(difference: float, p_value: float) -> Word:
    """Return the verdict on a difference, given its p value (corrected by Holm)."""
    if p_value >= LEVEL:
        return "NO EVIDENCE"
    return "HELPED" if difference > 0 else "HURT"


def _drawn_sums(values: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.floating]:
    """Return `(NUM_DRAWS,)` sums of N values drawn from the N `values` with replacement.

    Both ways below draw from the same distribution; they differ in time. Either takes at most
    about 40 microseconds an image: 0.4 s for 10,000 images.
    """
    num_images = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    by_count = len(distinct) <= max(FEW_VALUES, num_images // IMAGES_PER_VALUE)
    sums = np.empty(NUM_DRAWS)
    rows = max(1, DRAWN_AT_ONCE // (len(distinct) if by_count else num_images))
    for start in range(0, NUM_DRAWS, rows):
        part = sums[start : start + rows]
        if by_count:
            part[:] = rng.multinomial(num_images, counts / num_images, size=len(part)) @ distinct
        else:
            part[:] = values[rng.integers(num_images, size=(len(part), num_images))].sum(axis=1)
    return sums


def _seed_error(
    seed_means: NDArray[np.floating], num_draws: int, rng: np.random.Generator
) -> NDArray[np.floating]:
    """Return `(SEED_DRAWS, num_draws)` errors of the mean over seeds; zeros for one seed."""
    num_seeds = len(seed_means)
    if num_seeds == 1:
        return np.zeros((1, num_draws))
    standard_error = seed_means.std(ddof=1) / math.sqrt(num_seeds)
    return np.asarray(standard_error * rng.standard_t(num_seeds - 1, (SEED_DRAWS, num_draws)))


def _interval(draws: NDArray[np.floating], level: float) -> Interval:
    # Each end leaves out so many draws that p is just below the level where the end is 0.
    cut = math.ceil(level / 2 * (draws.size + 1)) - 2
    ordered = np.partition(draws, [cut, draws.size - 1 - cut])
    return float(ordered[cut]), float(ordered[draws.size - 1 - cut])


def paired_difference_interval(
    one: NDArray[np.bool_], other: NDArray[np.bool_], level: float = LEVEL
) -> Interval:
    """Return the interval of the difference between two shares of the same images.

    Unlike a bootstrap it has a width where the two never differ, such as an fp32 file and its int8
    version on a few hundred images.

    Args:
        one: `(N,)`, whether the first is right on each image.
        other: `(N,)`, the same for the second, which is subtracted from the first.
        level: 0.05 for a 95 % interval.

    Source: adjusted Wald interval, Bonett and Price 2012, doi:10.3102/1076998611411915.
    """
    gained, lost = int((one & ~other).sum()), int((other & ~one).sum())
    total = len(one) + 2
    share_gained, share_lost = (gained + 1) / total, (lost + 1) / total
    difference = share_gained - share_lost
    variance = (share_gained + share_lost - difference**2) / total
    margin = NormalDist().inv_cdf(1 - level / 2) * math.sqrt(variance)
    return max(-1.0, difference - margin), min(1.0, difference + margin)


def no_difference_interval(num_images: int, level: float = LEVEL) -> Interval:
    """Return the interval of a difference that is 0 on every image.

    A bootstrap of equal values has no width; it would call two models equal that differ on images
    which are not in the test split.

    Args:
        num_images: Images on which the two could have differed.
        level: 0.05 for a 95 % interval.

    Source: the same as for `paired_difference_interval`.
    """
    same = np.ones(num_images, dtype=bool)
    return paired_difference_interval(same, same, level)


def paired_interval_and_p(
    one: NDArray[np.bool_], other: NDArray[np.bool_], level: float = LEVEL
) -> tuple[Interval, float]:
    """Return the interval and the p value of the difference of two models of one seed.

    Args:
        one: `(N,)`, whether the first is right on each image.
        other: `(N,)`, the same for the second.
        level: 0.05 for a 95 % interval.

    Returns:
        `paired_difference_interval` and `mcnemar_p`. Sometimes that interval excludes 0 although
        the exact p is not below 0.05 (11 images gained and 3 lost: p = 0.057). Such an end is moved
        to 0, so p is below the level exactly where the interval excludes 0.
    """
    (low, high), p_value = paired_difference_interval(one, other, level), mcnemar_p(one, other)
    if p_value >= level:
        low, high = min(low, 0.0), max(high, 0.0)
    return (low, high), p_value
