"""From which probability on a model of two classes calls the positive one, chosen on validation."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kdtool.evidence import OperatingPoint, Rates
from kdtool.recipe import parse_operating_point
from kdtool.stats import wilson_interval
from kdtool.train.data.splits import Splits
from kdtool.train.evaluate import Evaluated, split_labels

# Two correct runtimes give probabilities that differ by about 1e-6 of themselves: no threshold lies
# between two that are closer.
LEAST_GAP = 1e-6

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


def operating_point(
    evaluated: Evaluated, splits: Splits, rule: str, temperature: float
) -> OperatingPoint | None:
    """Choose a model's threshold on validation, and say how it fares there and on test.

    Args:
        evaluated: The model's answers.
        splits: Their data.
        rule: Of `export.operating_point`.
        temperature: Divides the logits in the exported file, before they become probabilities.

    Returns:
        None if there are not two classes.
    """
    positive = splits.positive
    if positive is None:
        return None
    is_positive = split_labels(splits.validation) == positive
    given = _probabilities(evaluated.validation_logits, positive, temperature)
    threshold = choose_threshold(is_positive, given, rule)
    test_given = _probabilities(evaluated.test_logits, positive, temperature)
    return OperatingPoint(
        rule=rule,
        positive=splits.classes[positive],
        threshold=threshold,
        validation=rates(is_positive, given >= threshold),
        test=rates(split_labels(splits.test) == positive, test_given >= threshold),
    )


def choose_threshold(is_positive: Mask, probabilities: Values, rule: str) -> float:
    """Return from which probability on the positive class is called, by a rule.

    It lies midway between the probabilities of two images, below all or above all of them. Of
    those that are equally good it is the one nearest to 0.5.

    Args:
        is_positive: `(N,)`, whether an image is of the positive class; some are, some are not.
        probabilities: `(N,)`, of the positive class, in [0, 1].
        rule: Of `export.operating_point`.

    Source: Youden 1950, Cancer 3, 32 (the rule youden, most sensitivity + specificity).
    """
    kind, value = parse_operating_point(rule)
    if kind == "argmax":
        return 0.5
    thresholds = _candidates(probabilities)
    num_positive, num_negative = int(is_positive.sum()), int((~is_positive).sum())
    misses = np.searchsorted(np.sort(probabilities[is_positive]), thresholds)
    refused = np.searchsorted(np.sort(probabilities[~is_positive]), thresholds)
    hits, alarms = num_positive - misses, num_negative - refused
    match kind:
        case "sensitivity":
            return float(thresholds[hits / num_positive >= (value or 0)].max())
        case "specificity":
            return float(thresholds[refused / num_negative >= (value or 0)].min())
        case "youden":  # times the images of both classes, in whole numbers: equals are equal
            worth = np.asarray(hits * num_negative + refused * num_positive, dtype=np.float64)
        case "f1":
            worth = 2 * hits / np.maximum(2 * hits + misses + alarms, 1)
        case _:
            worth = -np.round(alarms + (value or 0) * misses, 9)
    best = thresholds[worth == worth.max()]
    return float(best[np.abs(best - 0.5).argmin()])


def rates(is_positive: Mask, called: Mask) -> Rates:
    """Return how often a model is right where it calls some images positive.

    Args:
        is_positive: `(N,)`, whether an image is of the positive class.
        called: `(N,)`, whether it is called so.
    """
    hits = int((is_positive & called).sum())
    refused = int((~is_positive & ~called).sum())
    num_positive, num_called = int(is_positive.sum()), int(called.sum())
    num_negative = len(called) - num_positive
    return Rates(
        sensitivity=_share(hits, num_positive),
        sensitivity_ci95=wilson_interval(hits, num_positive),
        specificity=_share(refused, num_negative),
        specificity_ci95=wilson_interval(refused, num_negative),
        precision=_share(hits, num_called),
        precision_ci95=wilson_interval(hits, num_called),
        accuracy=_share(hits + refused, len(called)),
        f1=_share(2 * hits, num_positive + num_called),
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _probabilities(logits: NDArray[np.float32], positive: int, temperature: float) -> Values:
    return np.asarray(softmax(logits.astype(np.float64) / temperature, axis=1)[:, positive])


def _candidates(probabilities: Values) -> Values:
    """Return one threshold for each way to part the images, lowest first."""
    # as the file gives them: what float32 cannot tell apart, no threshold can
    given = np.unique(probabilities.astype(np.float32)).astype(np.float64)
    lower, upper = given[:-1], given[1:]
    between = ((lower + upper) / 2)[upper - lower > LEAST_GAP * upper]
    above_all = max((given[-1] + 1) / 2, given[-1] + LEAST_GAP)
    return np.array([given[0] / 2, *between, above_all])
