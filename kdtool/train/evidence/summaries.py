"""Scores over seeds, with intervals over seeds and images."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from kdtool import stats
from kdtool.record import Interval, Summary
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


def weighted_f1(logits: Sequence[Logits], labels: Labels, scores: Sequence[float]) -> Summary:
    """Return the weighted F1.

    Args:
        logits: One `(N, C)` a seed.
        labels: `(N,)`.
        scores: The weighted F1 of each seed.
    """
    predictions = np.array([one.argmax(axis=1) for one in logits])
    interval = stats.weighted_f1_interval(labels, predictions, np.random.default_rng(0))
    return _summary(np.array(scores), interval)


def _summary(values: NDArray[np.floating], interval: Interval) -> Summary:
    low, high = max(0.0, interval[0]), min(1.0, interval[1])  # Student's t knows no bounds
    std = float(values.std(ddof=1)) if len(values) > 1 else None
    return Summary(mean=float(values.mean()), std=std, ci95=(low, high))
