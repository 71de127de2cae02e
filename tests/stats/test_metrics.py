import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdtool.results.base import METRICS
from kdtool.stats.metrics import f1_per_image, per_image, score

metrics = pytest.importorskip("sklearn.metrics")


def by_scikit_learn(metric, labels, probabilities, positive, weights=None):
    predictions = probabilities.argmax(axis=1)
    options = {"sample_weight": weights}
    match metric:
        case "accuracy":
            return metrics.accuracy_score(labels, predictions, **options)
        case "balanced_accuracy":
            return metrics.balanced_accuracy_score(labels, predictions, **options)
        case "weighted_f1" | "macro_f1":
            average = metric.removesuffix("_f1")
            return metrics.f1_score(
                labels, predictions, average=average, zero_division=0.0, **options
            )
    of_class = metrics.roc_auc_score if metric == "roc_auc" else metrics.average_precision_score
    classes = range(probabilities.shape[1]) if positive is None else [positive]
    return np.mean([of_class(labels == c, probabilities[:, c], **options) for c in classes])


def answers(rng, num_images, num_classes, num_levels):
    """A first class that has half of the images, and probabilities with ties."""
    rest = np.maximum(rng.integers(-num_classes, num_classes, num_images - num_classes), 0)
    labels = np.concatenate([np.arange(num_classes), rest])
    odds = rng.integers(0, num_levels, (num_images, num_classes)) + 0.1
    return labels, odds / odds.sum(axis=1, keepdims=True)


@given(
    metric=st.sampled_from(METRICS),
    num_classes=st.integers(2, 4),
    num_images=st.integers(4, 60),
    num_levels=st.integers(1, 20),
    positive=st.sampled_from([None, 0, 1]),
    seed=st.integers(0, 2**32 - 1),
)
def test_scores_are_those_of_scikit_learn(
    metric, num_classes, num_images, num_levels, positive, seed
):
    labels, probabilities = answers(
        np.random.default_rng(seed), num_images, num_classes, num_levels
    )
    expected = by_scikit_learn(metric, labels, probabilities, positive)
    assert score(metric, labels, probabilities, positive) == pytest.approx(expected, abs=1e-12)
    assert per_image(metric, labels, probabilities, positive).shape == (num_images,)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("num_classes", [2, 3])
def test_the_value_of_an_image_is_how_much_the_score_moves_when_it_weighs_more(metric, num_classes):
    labels, probabilities = answers(np.random.default_rng(0), 40, num_classes, 8)
    values, step = per_image(metric, labels, probabilities, None), 1e-7
    before = by_scikit_learn(metric, labels, probabilities, None)
    for image in range(0, 40, 3):
        weights = np.ones(40)
        weights[image] += 40 * step
        after = by_scikit_learn(metric, labels, probabilities, None, weights)
        slope = (after - before) / step
        assert values[image] - values.mean() == pytest.approx(slope, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("metric", METRICS)
def test_the_spread_of_the_values_is_that_of_a_bootstrap(metric):
    rng = np.random.default_rng(0)
    labels = (np.arange(300) < 60).astype(np.int64)
    odds = np.exp(rng.normal(2 * labels - 1.3, 1))
    probabilities = np.stack([1 / (1 + odds), odds / (1 + odds)], axis=1)
    drawn = [rng.integers(0, 300, 300) for _ in range(800)]
    scores = [score(metric, labels[index], probabilities[index], 1) for index in drawn]
    error = per_image(metric, labels, probabilities, 1).std() / np.sqrt(300)
    assert error == pytest.approx(np.std(scores), rel=0.08)  # of 800 draws it is known to 2.5 %


def test_f1_of_one_class_is_that_of_scikit_learn():
    labels, probabilities = answers(np.random.default_rng(1), 50, 4, 5)
    predictions = probabilities.argmax(axis=1)
    found = [f1_per_image(labels, predictions, weights).mean() for weights in np.eye(4)]
    assert found == pytest.approx(metrics.f1_score(labels, predictions, average=None))


def test_f1_of_a_class_without_images_and_predictions_is_zero():
    labels = np.array([0, 0, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert f1_per_image(labels, labels, np.array([0.0, 0.0, 1.0])).tolist() == [0.0] * 3


@pytest.mark.parametrize("metric", METRICS)
def test_a_model_without_mistakes_scores_one_on_every_image(metric):
    labels = np.array([0, 1, 2, 2, 2])
    assert per_image(metric, labels, np.eye(3)[labels], None).tolist() == [1.0] * 5


def test_placement_values_by_hand():
    # positives at 0.9 and 0.5, negatives at 0.5, 0.2 and 0.1: 5.5 of 6 pairs are in order
    labels = np.array([1, 1, 0, 0, 0])
    high = np.array([0.9, 0.5, 0.5, 0.2, 0.1])
    values = per_image("roc_auc", labels, np.stack([1 - high, high], axis=1), 1)
    area = 5.5 / 6
    placements = np.array([1, 2.5 / 3, 1.5 / 2, 1, 1])
    assert values == pytest.approx(area + (placements - area) * 5 / np.array([2, 2, 3, 3, 3]))
