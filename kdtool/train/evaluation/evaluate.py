"""Test scores, computed from the probabilities that a model returns for each test image."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from torch import Tensor

from kdtool.files import save_arrays
from kdtool.results.base import Metric
from kdtool.results.study import ClassScores, TestScores
from kdtool.stats import metrics
from kdtool.stats.intervals import wilson_interval
from kdtool.study.keys import key_of
from kdtool.train.data.splits import Split
from kdtool.train.handed import hand_over
from kdtool.train.models.predict import class_logits, together
from kdtool.train.run import Run, Trained, load_model

NUM_BINS = 15  # of the calibration error, as in Guo et al. 2017

Probabilities = NDArray[np.float32]
Labels = NDArray[np.int64]


def score(
    labels: Labels,
    probabilities: Probabilities,
    classes: Sequence[str],
    positive: int | None = None,
) -> TestScores:
    """Score the probabilities of one model.

    Args:
        labels: `(N,)` true classes.
        probabilities: `(N, C)`, each row sums to 1.
        classes: Names of the C classes.
        positive: With two classes, the positive class of the AUCs; None: the mean over classes.
    """

    def of(metric: Metric) -> float:
        return metrics.score(metric, labels, probabilities, positive)

    predictions = probabilities.argmax(axis=1)
    confusion = metrics.confusion_matrix(labels, predictions, len(classes))
    hits, support, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    # 0 for a class without images or without predictions, as in scikit-learn
    recall, precision = hits / np.maximum(support, 1), hits / np.maximum(predicted, 1)
    f1 = 2 * hits / np.maximum(support + predicted, 1)
    num_right = int(hits.sum())
    return TestScores(
        num_images=len(labels),
        accuracy=num_right / len(labels),
        accuracy_ci95=wilson_interval(num_right, len(labels)),
        balanced_accuracy=of("balanced_accuracy"),
        weighted_f1=of("weighted_f1"),
        macro_f1=of("macro_f1"),
        roc_auc=of("roc_auc"),
        pr_auc=of("pr_auc"),
        nll=mean_nll(labels, probabilities),
        ece=calibration_error(labels, probabilities),
        per_class=[
            ClassScores(
                name=name,
                accuracy=float(recall[c]),
                accuracy_ci95=wilson_interval(int(confusion[c, c]), int(support[c])),
                precision=float(precision[c]),
                recall=float(recall[c]),
                f1=float(f1[c]),
                support=int(support[c]),
            )
            for c, name in enumerate(classes)
        ],
        confusion=confusion.tolist(),
    )


def mean_nll(labels: Labels, probabilities: Probabilities) -> float:
    """Return the mean negative log-likelihood of the right class, in nats.

    Args:
        labels: `(N,)` true classes.
        probabilities: `(N, C)`.
    """
    exact = np.clip(probabilities.astype(np.float64), 1e-12, None)  # no zero, and rows sum to 1
    right = exact[np.arange(len(labels)), labels] / exact.sum(axis=1)
    return float(-np.log(right).mean())


def calibration_error(labels: Labels, probabilities: Probabilities) -> float:
    """Return the expected calibration error: |confidence - accuracy|, averaged over the images.

    Args:
        labels: `(N,)` true classes.
        probabilities: `(N, C)`.

    Returns:
        In [0, 1]; 0 means that a share p is right of the images predicted with confidence p.

    Source: Guo et al. 2017, arXiv:1706.04599, equation 3, with 15 bins of equal width.
    """
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    # from 1 to 15: open below and closed above, so a probability of 1 is in the last
    bins = np.ceil(confidence * NUM_BINS).clip(1, NUM_BINS).astype(np.int64)
    gaps = np.bincount(bins, weights=confidence - right)
    return float(np.abs(gaps).sum() / len(labels))


@dataclass(frozen=True)
class Evaluated:
    """A trained model and its outputs, in the order of the split."""

    trained: Trained
    test: TestScores
    test_logits: NDArray[np.float32]  # (N, C), subclasses merged
    validation_logits: NDArray[np.float32]  # (V, C), subclasses merged
    test_subclass_logits: NDArray[np.float32] | None  # (N, C * S); None without subclasses


def evaluate(run: Run, trained: Trained) -> Evaluated:
    """Score a model on the test images, and store its output for every image in a file."""
    path = run.study.predictions(trained.role, trained.seed, trained.key)
    num_classes = len(run.splits.classes)

    def make() -> tuple[TestScores, list[Path]]:
        hand_over(run, trained.seed, trained)
        answers: dict[str, NDArray[np.generic]] = {}
        for name, raw in logits_of(run, trained).items():
            logits = class_logits(raw, num_classes)
            if raw is not logits:
                answers[f"{name}_subclass_logits"] = raw.cpu().numpy()
            answers[f"{name}_logits"] = logits.cpu().numpy()
            answers[f"{name}_probabilities"] = softmax(answers[f"{name}_logits"], axis=1)
            answers[f"{name}_labels"] = split_labels(getattr(run.splits, name))
        save_arrays(path, **answers)
        probabilities = np.asarray(answers["test_probabilities"], dtype=np.float32)
        classes, positive = run.splits.classes, run.splits.positive
        return score(split_labels(run.splits.test), probabilities, classes, positive), [path]

    test = run.study.stage(*evaluate_stage(run, trained), TestScores, make)
    with np.load(path, allow_pickle=False) as answers:
        return Evaluated(
            trained,
            test,
            answers["test_logits"],
            answers["validation_logits"],
            answers.get("test_subclass_logits"),
        )


def logits_of(run: Run, trained: Trained) -> dict[str, Tensor]:
    """Return the logits `(N, C * S)` of the test and validation images, as predict() does.

    Called on every rank: each computes a part.
    """
    model = load_model(run, trained)
    return {
        "test": together(model, run.splits.test, run.ranks),
        "validation": together(model, run.splits.validation, run.ranks),
    }


def evaluate_stage(run: Run, trained: Trained) -> tuple[str, str]:
    """Return name and key of the stage of `evaluate`."""
    key = key_of("evaluate", trained.key, run.splits.positive)
    return f"evaluate-{trained.checkpoint.stem}", key


def split_labels(split: Split) -> Labels:
    """Return the labels `(N,)` of a split, in its order."""
    return split.labels.cpu().numpy()
