import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics

from kdtool.train.evaluation.evaluate import calibration_error, score

CLASSES = ("a", "b", "c")


def answers(seed=0, num_images=200, num_classes=3):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_images)
    logits = rng.normal(size=(num_images, num_classes)) + 2 * np.eye(num_classes)[labels]
    odds = np.exp(logits)
    return labels, (odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)


def test_scores_by_hand():
    # true a a b b, called a b b b
    probabilities = np.array([[0.8, 0.2], [0.4, 0.6], [0.1, 0.9], [0.3, 0.7]], np.float32)
    scores = score(np.array([0, 0, 1, 1]), probabilities, ("a", "b"))
    assert scores.accuracy == 0.75
    assert scores.confusion == [[1, 1], [0, 2]]
    first, second = scores.per_class
    assert (first.name, first.precision, first.recall, first.support) == ("a", 1.0, 0.5, 2)
    assert (second.precision, second.recall) == (pytest.approx(2 / 3), 1.0)
    assert scores.weighted_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert scores.nll == pytest.approx(-np.log([0.8, 0.4, 0.9, 0.7]).mean(), rel=1e-6)


@given(seed=st.integers(0, 1000), num_images=st.integers(6, 60))
def test_class_scores_are_those_of_scikit_learn(seed, num_images):
    labels, probabilities = answers(seed, num_images, num_classes=5)
    labels[:5] = range(5)
    predictions = probabilities.argmax(axis=1)
    scores = score(labels, probabilities, ("a", "b", "c", "d", "e"))
    expected = metrics.precision_recall_fscore_support(
        labels, predictions, labels=range(5), zero_division=0.0
    )
    found = [(one.precision, one.recall, one.f1, one.support) for one in scores.per_class]
    np.testing.assert_allclose(np.transpose(found), expected, rtol=1e-12)
    assert scores.confusion == metrics.confusion_matrix(labels, predictions).tolist()
    exact = probabilities.astype(np.float64)
    exact /= exact.sum(axis=1, keepdims=True)
    assert scores.nll == pytest.approx(metrics.log_loss(labels, exact, labels=range(5)), rel=1e-9)


@given(seed=st.integers(0, 1000))
def test_scores_are_those_of_scikit_learn(seed):
    labels, probabilities = answers(seed)
    scores = score(labels, probabilities, CLASSES)
    predictions = probabilities.argmax(axis=1)
    assert scores.accuracy == pytest.approx(metrics.accuracy_score(labels, predictions))
    assert scores.weighted_f1 == pytest.approx(
        metrics.f1_score(labels, predictions, average="weighted")
    )
    assert scores.balanced_accuracy == pytest.approx(
        metrics.balanced_accuracy_score(labels, predictions)
    )
    assert scores.macro_f1 == pytest.approx(metrics.f1_score(labels, predictions, average="macro"))
    assert scores.roc_auc == pytest.approx(
        metrics.roc_auc_score(labels, probabilities, multi_class="ovr")
    )
    assert scores.pr_auc == pytest.approx(
        metrics.average_precision_score(np.eye(3)[labels], probabilities)
    )
    assert scores.accuracy_ci95[0] < scores.accuracy < scores.accuracy_ci95[1]
    assert sum(one.support for one in scores.per_class) == scores.num_images == 200


def test_of_two_classes_the_average_precision_is_of_the_positive_one():
    labels, probabilities = answers(num_classes=2)
    for positive in (0, 1):
        found = score(labels, probabilities, ("a", "b"), positive)
        expected = metrics.average_precision_score(labels == positive, probabilities[:, positive])
        assert found.pr_auc == pytest.approx(expected)


def test_a_class_that_is_never_predicted_scores_zero():
    probabilities = np.tile(np.array([[0.5, 0.3, 0.2]], np.float32), (6, 1))
    scores = score(np.array([0, 0, 1, 1, 2, 2]), probabilities, CLASSES)
    assert [one.f1 for one in scores.per_class] == [pytest.approx(0.5), 0.0, 0.0]


def test_a_confident_mistake_has_a_large_but_finite_loss():
    scores = score(np.array([1, 0]), np.array([[1, 0], [1, 0]], np.float32), ("a", "b"))
    assert 10 < scores.nll < 20


def test_calibration_error_by_hand():
    # two images at 0.9, one of them right: gap 0.4; two at 0.6, both right: gap 0.4
    confidence = np.array([0.9, 0.9, 0.6, 0.6], np.float32)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    assert calibration_error(np.array([0, 1, 0, 0]), probabilities) == pytest.approx(0.4)


def test_a_model_that_is_right_as_often_as_its_confidence_has_no_calibration_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200_000)
    labels = (rng.random(200_000) >= confidence).astype(np.int64)
    probabilities = np.stack([confidence, 1 - confidence], axis=1).astype(np.float32)
    assert calibration_error(labels, probabilities) < 0.005
