"""Scores over seeds, with their intervals."""

import numpy as np
import pytest
from scipy.special import softmax

from kdtool.results.base import METRICS
from kdtool.stats.intervals import wilson_interval
from kdtool.stats.metrics import per_image, score
from kdtool.train.evaluation.verdicts import class_summaries, share_right, summaries, summary_of


def test_the_accuracy_of_one_seed_has_wilsons_interval():
    right = np.arange(50)[None] < 40
    summary = share_right(right)
    assert (summary.mean, summary.std, summary.ci95) == (0.8, None, wilson_interval(40, 50))


def test_the_interval_over_seeds_stays_within_bounds():
    right = np.stack([np.arange(50) < n for n in (50, 46, 50)])
    summary = share_right(right)
    assert summary.mean == pytest.approx(146 / 150)
    assert summary.ci95[0] < summary.mean < summary.ci95[1] == 1


@pytest.mark.parametrize("num_right", [0, 50])
def test_seeds_that_are_all_right_or_all_wrong_still_have_an_interval(num_right):
    right = np.tile(np.arange(50) < num_right, (3, 1))
    assert share_right(right).ci95 == wilson_interval(num_right, 50)


def answers(rng, num_images, num_seeds=1):
    """Two classes, a fifth of the images positive; 70 % of these found, 90 % of the others."""
    labels = (rng.random(num_images) < 0.2).astype(np.int64)
    log_odds = rng.normal(1.806 * labels - 1.282, 1, (num_seeds, num_images))
    return labels, list(np.stack([0 * log_odds, log_odds], axis=2).astype(np.float32))


def test_every_metric_has_its_mean_over_seeds_and_an_interval_within_bounds():
    labels, logits = answers(np.random.default_rng(0), 200, num_seeds=3)
    found = summaries(logits, labels, 1)
    assert tuple(found) == METRICS
    for metric, summary in found.items():
        seeds = [score(metric, labels, softmax(one, axis=1), 1) for one in logits]
        assert summary.mean == pytest.approx(np.mean(seeds))
        assert summary.std == pytest.approx(np.std(seeds, ddof=1))
        assert 0 < summary.ci95[0] < summary.mean < summary.ci95[1] < 1


@pytest.mark.parametrize("metric", ["balanced_accuracy", "weighted_f1", "roc_auc", "pr_auc"])
def test_the_interval_of_one_seed_is_that_of_the_normal_where_images_are_many(metric):
    labels, logits = answers(np.random.default_rng(0), 20_000)
    summary = summaries(logits, labels, 1)[metric]
    values = per_image(metric, labels, softmax(logits[0], axis=1), 1)
    half = 1.96 * values.std() / np.sqrt(20_000)
    # the scale of the logit moves the ends by 2 % of the half width, the draws by 1 or 2 %
    assert summary.ci95 == pytest.approx((summary.mean - half, summary.mean + half), abs=half / 12)


@pytest.mark.parametrize("metric", ["macro_f1", "roc_auc", "pr_auc"])
def test_the_interval_holds_the_true_score_of_a_small_set_in_nineteen_of_twenty(metric):
    rng = np.random.default_rng(0)
    labels, logits = answers(rng, 500_000)
    truth = score(metric, labels, softmax(logits[0], axis=1), 1)
    inside = []
    for _ in range(200):
        labels, logits = answers(rng, 110)
        low, high = summary_of(metric, logits, labels, 1).ci95
        inside.append(low < truth < high)
    assert np.mean(inside) > 0.90  # 95 % less three standard errors; the plain one has 88


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
def test_the_interval_of_few_seeds_of_a_good_model_is_about_that_of_its_accuracy(num_seeds):
    labels = np.repeat([0, 1], 1000)
    called = np.tile(labels, (num_seeds, 1))
    called[0, :5], called[0, -5:] = 1, 0  # ten mistakes of one seed, none of the others
    found = summaries(list(10.0 * np.eye(2)[called]), labels, 1)
    low, high = found["accuracy"].ci95
    for metric in ("balanced_accuracy", "weighted_f1", "macro_f1"):
        assert found[metric].mean == pytest.approx(found["accuracy"].mean, abs=1e-6)
        assert found[metric].ci95 == pytest.approx((low, high), abs=0.15 * (high - low))


def test_classes_have_their_share_recognized_and_their_f1():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    called = np.stack([labels, labels])
    called[0, :10], called[1, 80:85] = 1, 0  # ten of class 0 for 1; five of class 2 for 0
    first, second, third = class_summaries(list(10.0 * np.eye(3)[called]), labels, "abc")
    assert [one.name for one in (first, second, third)] == ["a", "b", "c"]
    assert [one.support for one in (first, second, third)] == [50, 30, 20]
    assert first.accuracy.mean == pytest.approx((40 + 50) / 100)
    assert third.accuracy.mean == pytest.approx((20 + 15) / 40)
    assert first.f1.mean == pytest.approx((80 / 90 + 100 / 105) / 2)
    assert second.f1.mean == pytest.approx((60 / 70 + 1) / 2)
    assert third.f1.mean == pytest.approx((1 + 30 / 35) / 2)


def test_a_model_without_mistakes_still_has_an_interval():
    labels = np.repeat([0, 1], [90, 10])
    found = summaries([10.0 * np.eye(2)[labels]] * 2, labels, 1)
    assert found["accuracy"].ci95 == wilson_interval(100, 100)
    assert found["roc_auc"].ci95 == found["macro_f1"].ci95 == wilson_interval(10, 10)
    _, rare = class_summaries([10.0 * np.eye(2)[labels]], labels, "ab")
    assert rare.f1.ci95 == rare.accuracy.ci95 == wilson_interval(10, 10)
