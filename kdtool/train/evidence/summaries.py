"""Scores over seeds, with intervals over seeds and images."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit, softmax
from scipy.stats import t as student_t

from kdtool import stats
from kdtool.learning import ClassSummary
from kdtool.record import METRICS, Interval, Metric, Summary
from kdtool.scores import f1_per_image, per_image
from kdtool.train.evaluate import Labels

Logits = NDArray[np.floating]


def is_right(logits: Sequence[Logits], labels: Labels) -> NDArray[np.bool_]:
    """Return whether each seed's model is right on each image, `(S, N)`.

    Args:
        logits: One `(N, C)` a seed.
        labels: `(N,)`.
    """
    return np.array([one.argmax(axis=1) == labels for one in logits])


def share_right(right: NDArray[np.bool_]) -> Summary:
    """Return the accuracy: Wilson's interval for one seed, over seeds and images for several.

    Where all models are right, or wrong, on every image, it is Wilson's as well.

    Args:
        right: `(S, N)`, whether each seed's model is right on each image.
    """
    num_seeds, num_images = right.shape
    if num_seeds == 1 or right.all() or not right.any():  # images all alike show no spread to draw
        interval = stats.wilson_interval(int(right[0].sum()), num_images)
    else:
        interval = stats.mean_interval(right.astype(float), np.random.default_rng(0))
    return _summary(right.mean(axis=1), interval)


def summaries(
    logits: Sequence[Logits], labels: Labels, positive: int | None
) -> dict[Metric, Summary]:
    """Return the score of every metric.

    Args:
        logits: One `(N, C)` a seed.
        labels: `(N,)`, each class at least once.
        positive: Of two classes the one that the AUCs are of.
    """
    return {metric: summary_of(metric, logits, labels, positive) for metric in METRICS}


def summary_of(
    metric: Metric, logits: Sequence[Logits], labels: Labels, positive: int | None = None
) -> Summary:
    """Return the score of one metric, as `summaries` does."""
    if metric == "accuracy":
        return share_right(is_right(logits, labels))
    return _score(values_of(metric, logits, labels, positive), int(np.bincount(labels).min()))


def values_of(
    metric: Metric, logits: Sequence[Logits], labels: Labels, positive: int | None
) -> NDArray[np.float64]:
    """Return what `scores.per_image` gives for each seed, `(S, N)`; see `summaries`."""
    return np.array([per_image(metric, labels, softmax(one, axis=1), positive) for one in logits])


def class_summaries(
    logits: Sequence[Logits], labels: Labels, classes: Sequence[str]
) -> list[ClassSummary]:
    """Say how each class fared; see `summaries`."""
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

    What the images make of it is put on the scale of its logit, where it is nearly symmetric though
    the score is near 1: on 100 images, 20 of them positive, the interval holds the true score in 93
    to 95 of 100 trials and not in 88 to 94. What the seeds make of it, Student's t of few, is too
    long for that scale, and is added to each side as an independent error is. Where all values are
    alike, as those of a model without mistakes, the interval is Wilson's, of as many images as
    the rarest class has that the score depends on.

    Source: Pepe 2003, The Statistical Evaluation of Medical Tests for Classification and
    Prediction, for the ROC AUC.
    """
    num_seeds, mean = len(values), float(values.mean())
    if np.ptp(values) < 1e-9:  # the mean of equal values has a rounding error
        interval = stats.wilson_interval(round(mean * num_rarest), num_rarest)
        return _summary(values.mean(axis=1), interval)
    of_images = values.mean(axis=0, keepdims=True)
    ends = np.array(stats.mean_interval(of_images, np.random.default_rng(0)))
    low, high = expit(logit(mean) + (ends - mean) / (mean * (1 - mean)))
    seeds = 0.0
    if num_seeds > 1:
        error = float(values.mean(axis=1).std(ddof=1)) / math.sqrt(num_seeds)
        seeds = float(student_t.isf(stats.LEVEL / 2, num_seeds - 1)) * error
    interval = mean - math.hypot(mean - low, seeds), mean + math.hypot(high - mean, seeds)
    return _summary(values.mean(axis=1), interval)


def _summary(values: NDArray[np.floating], interval: Interval) -> Summary:
    low, high = max(0.0, interval[0]), min(1.0, interval[1])  # Student's t knows no bounds
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return Summary(mean=float(values.mean()), std=std, ci95=(low, high))
