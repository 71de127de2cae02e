"""The metrics: scores of a model's probabilities on labelled images."""

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    roc_auc_score,
)

from kdtool.record import Metric


def score(
    metric: Metric,
    labels: NDArray[np.int64],
    probabilities: NDArray[np.floating],
    positive: int | None,
) -> float:
    """Return a score in [0, 1].

    Args:
        metric: Which.
        labels: `(N,)`, each of the C classes at least once.
        probabilities: `(N, C)`.
        positive: Of two classes the one that the AUCs are of; None: the mean over all classes, each
            against the rest.

    Source: scikit-learn; PR AUC is its average precision, without interpolation.
    """
    predictions = probabilities.argmax(axis=1)
    match metric:
        case "accuracy":
            return float(accuracy_score(labels, predictions))
        case "balanced_accuracy":
            return float(balanced_accuracy_score(labels, predictions))
        case "weighted_f1":
            return float(f1_score(labels, predictions, average="weighted", zero_division=0.0))
        case "macro_f1":
            return float(f1_score(labels, predictions, average="macro", zero_division=0.0))
        case "roc_auc" | "pr_auc":
            of_class = roc_auc_score if metric == "roc_auc" else average_precision_score
            classes = range(probabilities.shape[1]) if positive is None else [positive]
            return float(np.mean([of_class(labels == c, probabilities[:, c]) for c in classes]))
