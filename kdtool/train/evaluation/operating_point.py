"""The threshold of the positive class when there are two classes; chosen on validation."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kdtool.recipe.schema import check_operating_point, parse_operating_point
from kdtool.results.evidence import OperatingPoint, Rates
from kdtool.stats.intervals import wilson_interval
from kdtool.train.data.splits import Split, Splits
from kdtool.train.evaluation.evaluate import Evaluated

# No threshold between closer probabilities: float32 resolves 6e-8, and runtimes round.
LEAST_GAP = 1e-6

Flags = NDArray[np.bool_]


def operating_point(
    evaluated: Evaluated, splits: Splits, rule: str, temperature: float
) -> OperatingPoint | None:
    """Choose the threshold of the positive class on validation, and rate it on both splits.

    Args:
        evaluated: The model's logits.
        splits: Its validation and test images.
        rule: `export.operating_point`.
        temperature: Divides the logits, as in the file that gets the threshold.

    Returns:
        None if there are more than two classes.

    Raises:
        RecipeError: The rule is for two classes, but there are more.
    """
    check_operating_point(rule, splits.classes)
    positive = splits.positive
    if positive is None:
        return None

    def answers(logits: NDArray[np.float32], split: Split) -> tuple[NDArray[np.float32], Flags]:
        # in float32, as the file computes them
        probabilities = softmax(logits / np.float32(temperature), axis=1)[:, positive]
        return probabilities, split.labels.cpu().numpy() == positive

    validation = answers(evaluated.validation_logits, splits.validation)
    test = answers(evaluated.test_logits, splits.test)
    threshold = choose_threshold(*validation, rule)
    return OperatingPoint(
        rule=rule,
        positive=splits.classes[positive],
        threshold=threshold,
        validation=rates(validation[0] >= threshold, validation[1]),
        test=rates(test[0] >= threshold, test[1]),
    )


def choose_threshold(probabilities: NDArray[np.floating], is_positive: Flags, rule: str) -> float:
    """Return the best threshold by a rule; among equally good ones the nearest to 0.5.

    It is midway between two neighbouring probabilities, so rounding in another runtime does not
    move images across it. Above 1, no image is called positive.

    Args:
        probabilities: `(V,)` of the positive class.
        is_positive: `(V,)`; with both values.
        rule: `export.operating_point`.

    Source: Youden 1950, Cancer 3, 32, for sensitivity + specificity - 1.
    """
    name, value = parse_operating_point(rule)
    if name == "argmax":
        return 0.5
    thresholds = between(probabilities)  # (T,)
    positives, negatives = np.sort(probabilities[is_positive]), np.sort(probabilities[~is_positive])
    missed = np.searchsorted(positives, thresholds)  # (T,) images below
    passed = np.searchsorted(negatives, thresholds)
    found, alarms = len(positives) - missed, len(negatives) - passed
    goal = value or 0.0
    match name:
        case "youden":
            worth = found * len(negatives) + passed * len(positives)
        case "f1":
            worth = 2 * found / (2 * found + alarms + missed)
        case (
            "sensitivity"
        ):  # highest specificity among those that reach it, then highest sensitivity
            worth = passed * (len(positives) + 1) + found
            worth = np.where(found / len(positives) >= goal, worth, -1)
        case "specificity":
            worth = found * (len(negatives) + 1) + passed
            worth = np.where(passed / len(negatives) >= goal, worth, -1)
        case _:  # cost
            worth = -(alarms + goal * missed)
    best = thresholds[np.isclose(worth, worth.max(), rtol=1e-12, atol=0)]
    return float(best[np.abs(best - 0.5).argmin()])


def between(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the `(T,)` points midway between neighbours, one below all and one above all.

    Args:
        probabilities: `(V,)`, in any order.
    """
    values = np.unique(probabilities.astype(np.float64))
    ends = min(0.0, values[0] - 2 * LEAST_GAP), max(1.0, values[-1] + 2 * LEAST_GAP)
    values = np.concatenate([ends[:1], values, ends[1:]])
    middles = (values[:-1] + values[1:]) / 2
    return middles[np.diff(values) > LEAST_GAP].clip(min=0.0)


def rates(called: Flags, is_positive: Flags) -> Rates:
    """Return the rates of calling images positive.

    Args:
        called: `(N,)`, whether each image is called positive.
        is_positive: `(N,)`, whether it is.
    """
    found, right = int((called & is_positive).sum()), int((called == is_positive).sum())
    num_positive, num_called = int(is_positive.sum()), int(called.sum())
    num_negative = len(called) - num_positive
    passed = right - found

    def share(count: int, of: int) -> float:
        return count / of if of else 0.0

    return Rates(
        sensitivity=share(found, num_positive),
        sensitivity_ci95=wilson_interval(found, num_positive),
        specificity=share(passed, num_negative),
        specificity_ci95=wilson_interval(passed, num_negative),
        precision=share(found, num_called),
        precision_ci95=wilson_interval(found, num_called),
        accuracy=share(right, len(called)),
        f1=share(2 * found, num_positive + num_called),
    )
