"""The scores that `kdtool verify` counts itself are those of scikit-learn."""

import numpy as np
import pytest

from kdtool.results.evidence import OperatingPoint, Rates
from kdtool.study.verify.scores import called, counted_scores

metrics = pytest.importorskip("sklearn.metrics")


def sample(num_classes, num_images=500):
    generator = np.random.default_rng(num_classes)
    labels = generator.integers(0, num_classes, num_images)
    logits = generator.normal(size=(num_images, num_classes)) + 2 * np.eye(num_classes)[labels]
    odds = np.exp(logits)
    return labels, (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_scores_are_those_of_scikit_learn(num_classes):
    labels, probabilities = sample(num_classes)
    found = counted_scores(labels, probabilities, num_classes)
    calls = probabilities.argmax(axis=1)
    exact, recall, f1, support = metrics.precision_recall_fscore_support(labels, calls)
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(labels, calls))
    assert found["balanced_accuracy"] == pytest.approx(
        metrics.balanced_accuracy_score(labels, calls)
    )
    for average in ("weighted", "macro"):
        expected = metrics.f1_score(labels, calls, average=average)
        assert found[f"{average}_f1"] == pytest.approx(expected)
    assert found["nll"] == pytest.approx(metrics.log_loss(labels, probabilities), rel=1e-6)
    assert found["confusion"] == metrics.confusion_matrix(labels, calls).tolist()
    for c, one in enumerate(found["per_class"]):
        assert one == {
            "accuracy": pytest.approx(recall[c]),
            "recall": pytest.approx(recall[c]),
            "precision": pytest.approx(exact[c]),
            "f1": pytest.approx(f1[c]),
            "support": support[c],
        }


def test_a_class_that_is_never_called_has_no_precision_and_no_f1():
    labels = np.array([0, 1, 1])
    probabilities = np.array([[0.9, 0.1]] * 3, np.float32)
    found = counted_scores(labels, probabilities, 2)
    assert found["per_class"][1] == {
        "accuracy": 0.0,
        "recall": 0.0,
        "precision": 0.0,
        "f1": 0.0,
        "support": 2,
    }
    assert found["accuracy"] == pytest.approx(1 / 3)


def test_a_file_calls_by_its_threshold_and_no_class_where_it_is_not_finite():
    probabilities = np.array([[0.8, 0.2], [0.6, 0.4], [np.nan, 0.5]], np.float32)
    rates = Rates(
        sensitivity=1,
        sensitivity_ci95=(0, 1),
        specificity=1,
        specificity_ci95=(0, 1),
        precision=1,
        precision_ci95=(0, 1),
        accuracy=1,
        f1=1,
    )
    point = OperatingPoint(
        rule="youden", positive="ill", threshold=0.3, validation=rates, test=rates
    )
    assert called(probabilities, ["well", "ill"], point).tolist() == [0, 1, -1]
    assert called(probabilities, ["well", "ill"], None).tolist() == [0, 0, -1]
    argmax = point.model_copy(update={"rule": "argmax"})
    assert called(probabilities, ["well", "ill"], argmax).tolist() == [0, 0, -1]
