"""Temperature scaling: how far a model's probabilities can be believed, before and after."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax, softmax

from kdtool.results.evidence import Calibration, ReliabilityBin
from kdtool.train.evaluation.evaluate import (
    Evaluated,
    Labels,
    Probabilities,
    calibration_error,
    in_bins,
    mean_nll,
)

LOWEST, HIGHEST = 0.1, 100.0  # of a temperature: those of trained models are about 0.5 to 5


def calibration(
    evaluated: Evaluated, validation_labels: Labels, test_labels: Labels
) -> Calibration:
    """Fit the temperature of a model on validation, and say what it does to the test images.

    Args:
        evaluated: The model's answers.
        validation_labels: `(V,)` true classes.
        test_labels: `(N,)` true classes.
    """
    temperature = fit_temperature(evaluated.validation_logits, validation_labels)
    after = softmax(evaluated.test_logits / np.float32(temperature), axis=1)
    return Calibration(
        temperature=temperature,
        nll=mean_nll(test_labels, after),
        ece=calibration_error(test_labels, after),
        validation_nll_before=_loss(evaluated.validation_logits, validation_labels, 1.0),
        validation_nll_after=_loss(evaluated.validation_logits, validation_labels, temperature),
        before=reliability(test_labels, softmax(evaluated.test_logits, axis=1)),
        after=reliability(test_labels, after),
    )


def fit_temperature(logits: NDArray[np.floating], labels: Labels) -> float:
    """Return the temperature of the least negative log-likelihood, to divide logits by.

    Args:
        logits: `(V, C)` of images that the model has not learnt from.
        labels: `(V,)` true classes.

    Returns:
        In [0.1, 100]; an optimum outside gives the nearer end. Where no image is wrong, the
        likelihood grows without end as the temperature falls to 0: such images cannot tell how
        sure to be, and 1, which changes nothing, is returned.

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2.
    """
    exact = logits.astype(np.float64)
    of_label = np.take_along_axis(exact, labels[:, None], axis=1)[:, 0]
    if np.all(of_label >= exact.max(axis=1)):
        return 1.0

    def slope(inverse: float) -> float:
        # of the mean loss, which is convex in 1 / temperature: mean logit less that of the label
        expected = (softmax(exact * inverse, axis=1) * exact).sum(axis=1)
        return float((expected - of_label).mean())

    if slope(1 / HIGHEST) >= 0:
        return HIGHEST
    return LOWEST if slope(1 / LOWEST) <= 0 else 1 / float(brentq(slope, 1 / HIGHEST, 1 / LOWEST))


def reliability(labels: Labels, probabilities: Probabilities) -> list[ReliabilityBin]:
    """Return the bins of the calibration error that hold an image.

    Args:
        labels: `(N,)` true classes.
        probabilities: `(N, C)`.
    """
    confidence, right, bins = in_bins(labels, probabilities)
    return [
        ReliabilityBin(
            confidence=float(confidence[bins == number].mean()),
            accuracy=float(right[bins == number].mean()),
            num_images=int((bins == number).sum()),
        )
        for number in np.unique(bins)
    ]


def _loss(logits: NDArray[np.floating], labels: Labels, temperature: float) -> float:
    log_probabilities = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    return float(-np.take_along_axis(log_probabilities, labels[:, None], axis=1).mean())
