"""How large a difference a study can detect, and what it takes to detect one point; needs SciPy.

As in `kdtool.stats.intervals`, S is the number of seeds and N of test images.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import chi2, norm
from scipy.stats import t as student_t

from kdtool.results.evidence import Uncertainty
from kdtool.stats.intervals import LEVEL

POWER = 0.8  # chance of detecting a difference that is called detectable
POINT = 0.01  # the difference that seeds and images are planned for
MOST = 10_000_000  # seeds or images; more are reported as "no number is enough"

_nodes, _weights = np.polynomial.legendre.leggauss(40)
NODES, WEIGHTS = (_nodes + 1) / 2, _weights / 2  # of an integral from 0 to 1


@dataclass(frozen=True)
class Spread:
    """Components of the variance of one value, of one seed on one image."""

    seed: float  # variance of what a seed adds on all images
    image: float  # variance of what an image adds in all seeds
    rest: float  # variance of what is specific to this seed and this image
    size: float = 1.0  # mean square of the values / their mean absolute value; 1 for shares


# Of a student and its control before anything is trained: MNIST's, as `recipes/mnist.toml` leaves
# it without a network (5 seeds, 1,000 test images, 2 % of them right in one model only).
TYPICAL = Spread(seed=0.0, image=0.009, rest=0.012)


def spread_of(values: NDArray[np.floating]) -> Spread:
    """Split the variance of `values` into its components.

    Args:
        values: `(S, N)`. For a single seed only the variance over images is known.

    Source: two-way layout with random seeds and images, Gallas, Pennello and Myers 2007, Journal
    of the Optical Society of America A 24, B70; our seeds are their readers.
    """
    num_seeds, num_images = values.shape
    seed_means, image_means = values.mean(axis=1, keepdims=True), values.mean(axis=0)
    size = float((values**2).sum() / np.abs(values).sum()) if values.any() else 1.0
    if num_seeds == 1:
        return Spread(seed=0.0, image=float(image_means.var()), rest=0.0, size=size)
    residuals = values - seed_means - image_means + values.mean()
    rest = float((residuals**2).sum()) / ((num_seeds - 1) * num_images)
    return Spread(
        seed=max(0.0, float(seed_means.var(ddof=1)) - rest / num_images),
        image=max(0.0, float(image_means.var()) - rest / num_seeds),
        rest=rest,
        size=size,
    )


def power(
    difference: float, spread: Spread, num_seeds: int, num_images: int, level: float = LEVEL
) -> float:
    """Return the chance that a study detects a difference: its p value is below `level`.

    The interval is that of `kdtool.stats.intervals.interval_and_p`: the mean, plus a normal error
    from the images, plus a Student's t error from the seeds, with a scale that each study estimates
    from its own seeds. Both errors decrease with S and with N, because `Spread.rest` is in both;
    what seeds add on all images decreases with S only, what images add in all seeds with N only.
    Means are approximated as normal; the exact test of a single seed detects slightly less.

    Args:
        difference: True difference of two scores, in (0, 1]. It consists of single images that
            differ by `Spread.size`, which bounds the spread from below: models with different
            accuracies differ on at least so many images.
        spread: Of the differences.
        num_seeds: S; for 1 the chance is about this seed only.
        num_images: N.
        level: Of the test; lower for one of several comparisons.

    Source: Fisher 1935, Annals of Eugenics 6, 391, for the sum of a normal and a t error.
    """
    image = max(spread.image, spread.size * difference - spread.rest)
    rest = spread.rest / (num_seeds * num_images)
    image_error = math.sqrt(image / num_images + rest)
    seed_error = math.sqrt(spread.seed / num_seeds + rest)
    error = math.sqrt(spread.seed / num_seeds + image / num_images + rest)
    freedom = max(1, num_seeds - 1)
    scales = np.sqrt(chi2.ppf(NODES, freedom) / freedom)  # estimated / true seed error
    margins = _margins(image_error, seed_error * scales, scales, freedom, level)
    found = ndtr((difference - margins) / error) + ndtr((-difference - margins) / error)
    return float(found @ WEIGHTS)


def _margins(
    image_error: float,
    seed_errors: NDArray[np.floating],
    scales: NDArray[np.floating],
    df: int,
    level: float,
) -> NDArray[np.floating]:
    """Return half the width of the interval for each estimated seed error, `(K,)`."""
    # Student's t is a normal distribution with a random variance: the sum is a mixture of normals.
    widths = np.hypot(image_error, seed_errors[:, None] / scales)  # (K, K)
    low = np.zeros_like(seed_errors)
    quarter = level / 4  # in each of four tails: if the sum is beyond, so is one of its parts
    high = norm.isf(quarter) * image_error + student_t.isf(quarter, df) * seed_errors
    for _ in range(40):
        middle = (low + high) / 2
        inside = 2 * ndtr(-middle[:, None] / widths) @ WEIGHTS > level
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return np.asarray(high)


def visible_difference(
    spread: Spread, num_seeds: int, num_images: int, level: float = LEVEL
) -> float:
    """Return the smallest true difference detected with chance `POWER`; 1 if none is."""

    def lack(difference: float) -> float:
        return POWER - power(difference, spread, num_seeds, num_images, level)

    return 1.0 if lack(1.0) >= 0 else float(brentq(lack, 1e-9, 1.0, xtol=1e-7))


def expected_visible(num_seeds: int, num_images: int, share: float | None = None) -> float:
    """Return about the smallest difference that a study will detect, if it is like `TYPICAL`.

    Args:
        num_seeds: S; for 1 the result is about this seed only.
        num_images: N, test images.
        share: Of the images that only one of student and control gets right, in (0, 1]; None: that
            of `TYPICAL`. Its parts, of images and of single pairs, stay in proportion, and seeds
            add nothing on all images.

    Source: for the latter Jordan 2023, arXiv:2304.01910, who finds that networks of many seeds
    differ on a test set, but next to nothing in their accuracy on all images.
    """
    usual = TYPICAL.image + TYPICAL.rest  # such differences are 1, -1 or 0
    factor = 1.0 if share is None else share / usual
    spread = Spread(seed=TYPICAL.seed, image=factor * TYPICAL.image, rest=factor * TYPICAL.rest)
    if num_seeds == 1:
        spread = Spread(seed=0.0, image=spread.image + spread.rest, rest=0.0)
    return visible_difference(spread, num_seeds, num_images)


def uncertainty(values: NDArray[np.floating], level: float = LEVEL) -> Uncertainty:
    """Return where the uncertainty of the mean of `values` comes from, and what would reduce it.

    The plan takes the spread measured here for the true one; the spread of two or three seeds is
    itself uncertain, often by a factor of two.

    Args:
        values: `(S, N)`, right (1) or wrong (0), or the values of `kdtool.stats.metrics.per_image`,
            of one model minus those of another. For S = 1 the result is about this seed only.
        level: Of the test; lower for one of several comparisons.
    """
    num_seeds, num_images = values.shape
    spread = spread_of(values)
    seed_std = float(values.mean(axis=1).std(ddof=1)) if num_seeds > 1 else None
    return Uncertainty(
        seed_std=seed_std,
        seed_error=None if seed_std is None else seed_std / math.sqrt(num_seeds),
        image_error=float(values.mean(axis=0).std()) / math.sqrt(num_images),
        visible=visible_difference(spread, num_seeds, num_images, level),
        images_needed=_least(1, lambda number: power(POINT, spread, num_seeds, number, level)),
        seeds_needed=None
        if seed_std is None
        else _least(2, lambda number: power(POINT, spread, number, num_images, level)),
    )


def _least(first: int, chance: Callable[[int], float]) -> int | None:
    """Return the smallest number from `first` on with a chance of `POWER`; chances grow."""
    numbers = range(first, MOST)
    place = bisect_left(numbers, POWER, key=chance)
    return numbers[place] if place < len(numbers) else None
