"""Verdicts: which student is better than which model, over all seeds and test images."""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax
from scipy.stats import t as student_t

from kdtool.results.base import METRICS, Interval, Metric, Role, Summary
from kdtool.results.evidence import ClassDifference, Verdict, Word
from kdtool.results.study import ClassSummary
from kdtool.stats import intervals
from kdtool.stats.intervals import (
    LEVEL,
    difference_interval_and_p,
    holm,
    holm_levels,
    mcnemar_p,
    no_difference_interval,
    paired_interval_and_p,
    verdict_of,
)
from kdtool.stats.metrics import f1_per_image, per_image
from kdtool.stats.power import uncertainty
from kdtool.train.evaluation.evaluate import Evaluated, Labels, split_labels
from kdtool.train.run import Run

Logits = NDArray[np.floating]
Name = TypeVar("Name", bound=Hashable)


def is_right(logits: Sequence[Logits], labels: Labels) -> NDArray[np.bool_]:
    """Return whether the model of each seed is right on each image, `(S, N)`.

    Args:
        logits: `(N, C)` for each seed.
        labels: `(N,)`.
    """
    return np.array([one.argmax(axis=1) == labels for one in logits])


def share_right(right: NDArray[np.bool_]) -> Summary:
    """Return the accuracy with its interval: Wilson's for one seed, else over seeds and images.

    It is Wilson's too if all models are right, or wrong, on every image.

    Args:
        right: `(S, N)`, whether the model of each seed is right on each image.
    """
    num_seeds, num_images = right.shape
    if num_seeds == 1 or right.all() or not right.any():  # equal values have no spread to draw from
        interval = intervals.wilson_interval(int(right[0].sum()), num_images)
    else:
        interval = intervals.mean_interval(right.astype(float), np.random.default_rng(0))
    return _summary(right.mean(axis=1), interval)


def summaries(
    logits: Sequence[Logits], labels: Labels, positive: int | None
) -> dict[Metric, Summary]:
    """Return the score of every metric with its interval.

    Args:
        logits: `(N, C)` for each seed.
        labels: `(N,)`, each class at least once.
        positive: With two classes, the positive class of the AUCs.
    """
    return {metric: summary_of(metric, logits, labels, positive) for metric in METRICS}


def summary_of(
    metric: Metric, logits: Sequence[Logits], labels: Labels, positive: int | None = None
) -> Summary:
    """Return the score of one metric; see `summaries`."""
    if metric == "accuracy":
        return share_right(is_right(logits, labels))
    return _score(values_of(metric, logits, labels, positive), int(np.bincount(labels).min()))


def values_of(
    metric: Metric, logits: Sequence[Logits], labels: Labels, positive: int | None
) -> NDArray[np.float64]:
    """Return the values of `kdtool.stats.metrics.per_image` for each seed, `(S, N)`."""
    return np.array([per_image(metric, labels, softmax(one, axis=1), positive) for one in logits])


def class_summaries(
    logits: Sequence[Logits], labels: Labels, classes: Sequence[str]
) -> list[ClassSummary]:
    """Return the scores of each class; see `summaries`."""
    right = is_right(logits, labels)
    predictions = [one.argmax(axis=1) for one in logits]
    support = np.bincount(labels, minlength=len(classes)).tolist()
    return [
        ClassSummary(
            name=name,
            accuracy=share_right(right[:, labels == c]),
            f1=_score(
                np.array([f1_per_image(labels, one, weights) for one in predictions]), support[c]
            ),
            support=support[c],
        )
        for c, (name, weights) in enumerate(zip(classes, np.eye(len(classes)), strict=True))
    ]


def _score(values: NDArray[np.float64], num_rarest: int) -> Summary:
    """Return the mean of `(S, N)` values and its interval.

    The error from the images is computed on the scale of the score's logit, where it is nearly
    symmetric even if the score is near 1: on 100 images, 20 of them positive, the interval covers
    the true score in 93 to 95 of 100 trials, without this scale in 88 to 94. The error from the
    seeds has tails that are too long for that scale; it is added on each side as an independent
    error. If all values are equal, as for a model without mistakes, the interval is Wilson's, with
    as many images as the rarest class that the score depends on.

    Args:
        values: `(S, N)`, values of `kdtool.stats.metrics.per_image`.
        num_rarest: Test images of the rarest class that the score depends on.

    Source: Pepe 2003, The Statistical Evaluation of Medical Tests for Classification and
    Prediction, for the ROC AUC.
    """
    num_seeds, mean = len(values), float(values.mean())
    if np.ptp(values) < 1e-9:  # the mean of equal values has a rounding error
        interval = intervals.wilson_interval(round(mean * num_rarest), num_rarest)
        return _summary(values.mean(axis=1), interval)
    of_images = values.mean(axis=0, keepdims=True)
    ends = np.array(intervals.mean_interval(of_images, np.random.default_rng(0)))
    low, high = expit(logit(mean) + (ends - mean) / (mean * (1 - mean)))
    seeds = 0.0
    if num_seeds > 1:
        error = float(values.mean(axis=1).std(ddof=1)) / math.sqrt(num_seeds)
        seeds = float(student_t.isf(intervals.LEVEL / 2, num_seeds - 1)) * error
    interval = mean - math.hypot(mean - low, seeds), mean + math.hypot(high - mean, seeds)
    return _summary(values.mean(axis=1), interval)


def _summary(values: NDArray[np.floating], interval: Interval) -> Summary:
    low, high = max(0.0, interval[0]), min(1.0, interval[1])  # Student's t is unbounded
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return Summary(mean=float(values.mean()), std=std, ci95=(low, high))


COMPARISONS: tuple[tuple[Role, Role], ...] = (
    ("student", "control"),
    ("subclass-student", "control"),
    ("subclass-student", "student"),
)

Right = Mapping[Role, NDArray[np.bool_]]
Values = Mapping[Role, NDArray[np.floating]]


def verdicts(run: Run, evaluated: dict[Role, list[Evaluated]]) -> list[Verdict]:
    """Compare the students with the control and with each other, where the study has them."""
    compared = {role for pair in COMPARISONS for role in pair} & evaluated.keys()
    logits = {role: [one.test_logits for one in evaluated[role]] for role in compared}
    labels, metric = split_labels(run.splits.test), run.recipe.metric
    right = {role: is_right(seeds, labels) for role, seeds in logits.items()}
    values = {
        role: values_of(metric, seeds, labels, run.splits.positive)
        for role, seeds in logits.items()
    }
    rarest = None if metric == "accuracy" else int(np.bincount(labels).min())
    found = judge(right, run.recipe.seeds, metric, values, rarest)
    return [
        one.model_copy(
            update={
                "per_class": class_differences(
                    right[one.of], right[one.against], labels, run.splits.classes
                )
            }
        )
        for one in found
    ]


def class_differences(
    right: NDArray[np.bool_],
    other_right: NDArray[np.bool_],
    labels: Labels,
    classes: Sequence[str],
) -> list[ClassDifference]:
    """Compare the accuracy of two models class by class, corrected for the number of classes.

    Args:
        right: `(S, N)`, whether the first model of each seed is right on each test image.
        other_right: `(S, N)`, the same for the second.
        labels: `(N,)`, each class at least once.
        classes: Names of the C classes.
    """
    gains, found = [], []
    for c in range(len(classes)):
        ours, theirs = right[:, labels == c], other_right[:, labels == c]
        gain = ours.astype(float) - theirs
        gains.append(float(gain.mean()))
        found.append(_accuracy_interval_and_p(ours, theirs, gain))
    corrected = holm([p_value for _, p_value in found])
    return [
        ClassDifference(name=name, difference=gain, ci95=interval, p_holm=p_holm)
        for name, gain, (interval, _), p_holm in zip(classes, gains, found, corrected, strict=True)
    ]


def _accuracy_interval_and_p(
    right: NDArray[np.bool_],
    other_right: NDArray[np.bool_],
    gain: NDArray[np.floating],
    level: float = LEVEL,
) -> tuple[Interval, float]:
    """Return the interval of the mean of `gain`, `(S, N)`, and its p value."""
    if not gain.any():
        return no_difference_interval(gain.shape[1], level), 1.0
    if len(gain) > 1:
        return difference_interval_and_p(gain, np.random.default_rng(0), level)
    return paired_interval_and_p(right[0], other_right[0], level)


def judge(
    right: Right,
    seeds: list[int],
    metric: Metric = "accuracy",
    values: Values | None = None,
    rarest: int | None = None,
) -> list[Verdict]:
    """Return all verdicts of a study, corrected for their number.

    The detectable difference is that of Holm's first and strictest step: level 0.05 / number of
    verdicts.

    Args:
        right: For each role, whether the model of each seed is right on each test image, `(S, N)`.
        seeds: The S seeds, in the order of the rows.
        metric: The metric to compare.
        values: For each role, its values of `kdtool.stats.metrics.per_image`, `(S, N)`; None:
            `right`, for accuracy.
        rarest: Test images of the rarest class, which limit the information in a metric of the
            classes; None: N, for accuracy.
    """
    values = values or {role: of_role.astype(float) for role, of_role in right.items()}
    pairs = [pair for pair in COMPARISONS if right.keys() >= set(pair)]
    return [
        Verdict(
            of=of,
            against=against,
            metric=metric,
            difference=one.difference,
            ci95=one.ci95,
            p_value=one.p_value,
            p_holm=one.p_holm,
            ci_holm=one.ci_holm,
            mcnemar_p=[mcnemar_p(*both) for both in zip(right[of], right[against], strict=True)],
            seeds=seeds,
            uncertainty=uncertainty(values[of] - values[against], LEVEL / len(pairs)),
            verdict=one.verdict,
        )
        for (of, against), one in compare_pairs(pairs, right, values, metric, rarest).items()
    ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """One model against another, corrected for the comparisons made beside it."""

    difference: float
    ci95: Interval
    p_value: float
    p_holm: float
    ci_holm: Interval  # at the level of its step of Holm, so that it agrees with the verdict
    verdict: Word  # not NO EVIDENCE: `p_holm` is below 0.05


def compare_pairs(
    pairs: Sequence[tuple[Name, Name]],
    right: Mapping[Name, NDArray[np.bool_]],
    values: Mapping[Name, NDArray[np.floating]],
    metric: Metric,
    rarest: int | None,
) -> dict[tuple[Name, Name], Comparison]:
    """Compare the models of each pair, all of them corrected together (Holm).

    Args:
        pairs: Names of models, each with the name that it is compared with.
        right: As of `judge`, by name.
        values: As of `judge`, by name.
        metric: That `values` are in.
        rarest: As of `judge`.
    """
    gains = [values[of] - values[against] for of, against in pairs]

    def tested(place: int, level: float) -> tuple[Interval, float]:
        of, against = pairs[place]
        return _gain_interval_and_p(
            metric, right[of], right[against], gains[place], rarest, level=level
        )

    found = [tested(place, LEVEL) for place in range(len(pairs))]
    p_values = [p_value for _, p_value in found]
    return {
        pair: Comparison(
            difference=float(gains[place].mean()),
            ci95=found[place][0],
            p_value=p_values[place],
            p_holm=p_holm,
            ci_holm=found[place][0] if level == LEVEL else tested(place, level)[0],
            verdict=verdict_of(float(gains[place].mean()), p_holm),
        )
        for place, (pair, p_holm, level) in enumerate(
            zip(pairs, holm(p_values), holm_levels(p_values), strict=True)
        )
    }


def _gain_interval_and_p(
    metric: Metric,
    right: NDArray[np.bool_],
    other_right: NDArray[np.bool_],
    gain: NDArray[np.floating],
    rarest: int | None,
    *,
    level: float,
) -> tuple[Interval, float]:
    """Return the interval of the mean of one model's gain over another, and its p value.

    Args:
        metric: That `gain` is in.
        right: `(S, N)`, whether the first model of each seed is right on each test image.
        other_right: `(S, N)`, the same for the second.
        gain: `(S, N)`, values of the first minus those of the second.
        rarest: As of `judge`.
        level: 0.05 for a 95 % interval.
    """
    if metric == "accuracy":
        return _accuracy_interval_and_p(right, other_right, gain, level)
    if not gain.any():
        return no_difference_interval(rarest or gain.shape[1], level), 1.0
    if len(gain) > 1:
        return difference_interval_and_p(gain, np.random.default_rng(0), level)
    return one_seed_interval_and_p(gain[0], level)


def one_seed_interval_and_p(
    gain: NDArray[np.floating], level: float = LEVEL
) -> tuple[Interval, float]:
    """Return the interval of the mean of one seed's differences, and its p value.

    If only few images differ, a normal distribution or a bootstrap is too confident: for a metric
    of the classes it calls 8 to 9 % of pairs of equal models different, on 600 images. Student's t
    with one degree of freedom less than the number of images that differ calls 0 to 5 %. The exact
    test of a single seed exists for accuracy only.

    Args:
        gain: `(N,)` differences of values of `kdtool.stats.metrics.per_image`.
        level: 0.05 for a 95 % interval.

    Source: `kdtool.stats.metrics` for the error; Kish's effective sample size, with the squared
    differences as weights, for the number of images.
    """
    mean, error = float(gain.mean()), float(gain.std()) / math.sqrt(len(gain))
    if error == 0.0:  # no difference, or the same on each image: sign test
        return (mean, mean), 1.0 if mean == 0.0 else 2.0 ** (1 - len(gain))
    squares = gain**2
    freedom = max(1.0, float(squares.sum() ** 2 / (squares**2).sum()) - 1)
    half = float(student_t.isf(level / 2, freedom)) * error
    return (mean - half, mean + half), float(2 * student_t.sf(abs(mean) / error, freedom))
