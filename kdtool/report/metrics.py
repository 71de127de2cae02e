"""The metrics as a person reads them: accuracy in percent and points, F1 and AUC as decimals."""

from kdtool.evidence import SweepPoint
from kdtool.learning import TestScores
from kdtool.record import Interval, Metric, Summary
from kdtool.report.quantities import (
    decimals,
    decimals_range,
    percent,
    percent_range,
    points,
    points_range,
    signed,
    signed_range,
)

NAMES: dict[Metric, str] = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "weighted_f1": "weighted F1",
    "macro_f1": "macro F1",
    "roc_auc": "ROC AUC",
    "pr_auc": "PR AUC",
}
NOTES: dict[Metric, str] = {
    "accuracy": "share of the test images recognized",
    "balanced_accuracy": "mean of the classes' accuracies",
    "weighted_f1": "balances misses and false alarms of every class",
    "macro_f1": "as weighted F1, but every class counts alike",
    "roc_auc": "chance that an image of a class outranks one of another",
    "pr_auc": "average precision over all thresholds",
}
DIGITS = 3  # of F1 and AUC


def in_percent(metric: Metric) -> bool:
    """Return whether a metric is told in percent and its differences in points."""
    return metric in ("accuracy", "balanced_accuracy")


def scale(metric: Metric) -> int:
    """Return by what a score in [0, 1] is multiplied in figures."""
    return 100 if in_percent(metric) else 1


def title(metric: Metric) -> str:
    """Return the name as a line begins with it, such as "Weighted F1"."""
    name = NAMES[metric]
    return name[0].upper() + name[1:]


def value(metric: Metric, score: float) -> str:
    """Return a score in [0, 1], such as "98.68 %" or "0.828"."""
    return percent(score) if in_percent(metric) else decimals(score)


def told(metric: Metric, score: float) -> str:
    """Return a score with its name, which accuracy does without: "0.828 weighted F1"."""
    return (
        value(metric, score) if metric == "accuracy" else f"{value(metric, score)} {NAMES[metric]}"
    )


def interval(metric: Metric, ends: Interval) -> str:
    """Return an interval of scores, such as "98.52 to 98.83" or "0.803 to 0.850"."""
    return percent_range(ends) if in_percent(metric) else decimals_range(ends)


def change(metric: Metric, difference: float) -> str:
    """Return a signed difference of scores, in points such as "+0.73", or as "+0.012"."""
    return points(difference) if in_percent(metric) else signed(difference, DIGITS)


def change_range(metric: Metric, ends: Interval) -> str:
    """Return an interval of differences; signed only where its ends differ in sign."""
    return points_range(ends) if in_percent(metric) else signed_range(ends, DIGITS)


def size(metric: Metric, difference: float) -> str:
    """Return how large a difference is, such as "0.73 points" or "0.012"."""
    text = change(metric, abs(difference)).lstrip("+")
    return f"{text} points" if in_percent(metric) else text


def score_of(test: TestScores, metric: Metric) -> float | None:
    """Return a score of one run of training; None where an older kdtool did not take it."""
    found: float | None = getattr(test, metric)
    return found


def validation_of(point: SweepPoint) -> Summary:
    """Return the study's metric on validation, by which a setting is chosen."""
    return point.validation_score or point.validation_accuracy


def test_of(point: SweepPoint) -> Summary:
    """Return the study's metric on test."""
    return point.test_score or point.test_accuracy
