"""Coverage against accuracy: how sure a model must be to answer."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kdtool.results.evidence import Answered, Coverage
from kdtool.stats.intervals import wilson_interval
from kdtool.train.evaluation.evaluate import Evaluated, Labels

THRESHOLDS = np.arange(100) / 100
FEWEST_MISTAKES = 10  # on validation; fewer, and half of them is a matter of chance
FEWEST_KEPT = 50  # validation images that a threshold must leave; fewer show nothing
NUM_POINTS = 40  # of the curve
FEWEST_ANSWERED = 20  # images of its last point

Right = NDArray[np.bool_]
Confidence = NDArray[np.floating]


def coverage(
    evaluated: Evaluated, validation_labels: Labels, test_labels: Labels, temperature: float
) -> Coverage:
    """Choose on validation how sure the model must be to answer, and measure it on test.

    Args:
        evaluated: The model's logits.
        validation_labels: `(V,)` true classes.
        test_labels: `(N,)` true classes.
        temperature: Divides the logits in the files that ship.
    """
    of_validation = _judged(evaluated.validation_logits, validation_labels, temperature)
    of_test = _judged(evaluated.test_logits, test_labels, temperature)
    threshold = threshold_that_halves(*of_validation)
    chosen = test = ends = None
    if threshold is not None:
        chosen, test = answered(*of_validation, threshold), answered(*of_test, threshold)
    if test is not None and test.num_answered:
        ends = wilson_interval(round(test.accuracy * test.num_answered), test.num_answered)
    return Coverage(
        num_mistakes=int((~of_validation[1]).sum()),
        curve=curve(*of_test),
        chosen=chosen if ends else None,
        test=test if ends else None,
        test_ci95=ends,
    )


def _judged(
    logits: NDArray[np.floating], labels: Labels, temperature: float
) -> tuple[Confidence, Right]:
    probabilities = softmax(logits.astype(np.float64) / temperature, axis=1)
    return probabilities.max(axis=1), logits.argmax(axis=1) == labels


def threshold_that_halves(confidence: Confidence, right: Right) -> float | None:
    """Return the lowest threshold that halves the share of mistakes; None: none does.

    Args:
        confidence: `(N,)` probability of the predicted class.
        right: `(N,)` whether it is the true class.
    """
    if (~right).sum() < FEWEST_MISTAKES:
        return None
    for threshold in THRESHOLDS:
        kept = right[confidence >= threshold]
        if len(kept) >= FEWEST_KEPT and (~kept).mean() <= (~right).mean() / 2:
            return float(threshold)
    return None


def answered(confidence: Confidence, right: Right, threshold: float) -> Answered:
    """Return what a model answers from a threshold on, and how accurate it is there.

    Args:
        confidence: `(N,)` probability of the predicted class.
        right: `(N,)` whether it is the true class.
        threshold: In [0, 1].
    """
    kept = right[confidence >= threshold]
    return Answered(
        threshold=threshold,
        share=len(kept) / len(right),
        num_answered=len(kept),
        accuracy=float(kept.mean()) if len(kept) else 0.0,
    )


def curve(confidence: Confidence, right: Right) -> list[Answered]:
    """Return points from all images to the few that a model is surest of, as `answered`."""
    order = np.sort(confidence)
    last = max(0, len(order) - FEWEST_ANSWERED)
    places = np.unique(np.linspace(0, last, NUM_POINTS).round().astype(int))
    thresholds = dict.fromkeys(float(order[place]) for place in places)
    return [answered(confidence, right, threshold) for threshold in thresholds]
