"""Temperature scaling: how reliable a model's probabilities are, before and after."""

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
    mean_nll,
)

MOST_GROUPS, FEWEST_IN_GROUP = 10, 10
LOWEST, HIGHEST = 0.1, 100.0  # temperatures; those of trained models are about 0.5 to 5


def calibration(
    evaluated: Evaluated, validation_labels: Labels, test_labels: Labels
) -> Calibration:
    """Fit the temperature of a model on validation, and measure its effect on the test images.

    Args:
        evaluated: The model's logits.
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
    """Return the temperature, a divisor of logits, with the lowest negative log-likelihood.

    Args:
        logits: `(V, C)` of images that the model did not learn from.
        labels: `(V,)` true classes.

    Returns:
        In [0.1, 100]; an optimum outside gives the nearer end. If no image is wrong, the likelihood
        grows without bound as the temperature goes to 0, so no temperature can be fitted; the
        result is then 1, which changes nothing.

    Source: Guo et al. 2017, arXiv:1706.04599, section 4.2.
    """
    exact = logits.astype(np.float64)
    of_label = np.take_along_axis(exact, labels[:, None], axis=1)[:, 0]
    if np.all(of_label >= exact.max(axis=1)):
        return 1.0

    def slope(inverse: float) -> float:
        # of the mean loss, which is convex in 1 / temperature: mean logit minus that of the label
        expected = (softmax(exact * inverse, axis=1) * exact).sum(axis=1)
        return float((expected - of_label).mean())

    if slope(1 / HIGHEST) >= 0:
        return HIGHEST
    return LOWEST if slope(1 / LOWEST) <= 0 else 1 / float(brentq(slope, 1 / HIGHEST, 1 / LOWEST))


def reliability(labels: Labels, probabilities: Probabilities) -> list[ReliabilityBin]:
    """Return groups of about as many images each, in order of confidence.

    Bins of equal width would leave most of them to a handful of images.

    Args:
        labels: `(N,)` true classes.
        probabilities: `(N, C)`.

    Source: Nixon et al. 2019, arXiv:1904.01685, section 4.
    """
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    num_groups = max(1, min(MOST_GROUPS, len(labels) // FEWEST_IN_GROUP))
    return [
        ReliabilityBin(
            confidence=float(confidence[group].mean()),
            accuracy=float(right[group].mean()),
            num_images=len(group),
        )
        for group in np.array_split(np.argsort(confidence, kind="stable"), num_groups)
    ]


def _loss(logits: NDArray[np.floating], labels: Labels, temperature: float) -> float:
    log_probabilities = log_softmax(logits.astype(np.float64) / temperature, axis=1)
    return float(-np.take_along_axis(log_probabilities, labels[:, None], axis=1).mean())
