import math
from types import SimpleNamespace

import numpy as np
import pytest
from answers import evaluated, splits_of
from scipy.stats import norm

from kdtool.stats.intervals import holm, interval_and_p, mcnemar_p
from kdtool.train.evaluation.verdicts import (
    COMPARISONS,
    class_differences,
    judge,
    one_seed_interval_and_p,
    values_of,
    verdicts,
)

SEEDS = [0, 1, 7]


def right_of(accuracy, *, seed, num_images=3000):
    return np.random.default_rng(seed).random((len(SEEDS), num_images)) < accuracy


def test_three_models_are_compared_in_pairs_and_corrected_together():
    right = {
        "control": right_of(0.95, seed=0),
        "student": right_of(0.951, seed=1),
        "subclass-student": right_of(0.985, seed=2),
    }
    found = {(one.of, one.against): one for one in judge(right, SEEDS)}
    assert {pair: one.verdict for pair, one in found.items()} == {
        ("student", "control"): "NO EVIDENCE",
        ("subclass-student", "control"): "HELPED",
        ("subclass-student", "student"): "HELPED",
    }
    assert [one.p_holm for one in found.values()] == holm([one.p_value for one in found.values()])
    of_two = found["subclass-student", "student"]
    gain = right["subclass-student"].mean() - right["student"].mean()
    assert of_two.difference == pytest.approx(gain)
    assert of_two.ci95[0] < gain < of_two.ci95[1]
    assert of_two.seeds == SEEDS
    assert of_two.mcnemar_p == [
        mcnemar_p(*both) for both in zip(right["subclass-student"], right["student"], strict=True)
    ]
    assert of_two.uncertainty.seed_error == pytest.approx(of_two.uncertainty.seed_std / 3**0.5)


def test_a_worse_student_is_called_hurt():
    (one,) = judge({"student": right_of(0.94, seed=0), "control": right_of(0.98, seed=1)}, SEEDS)
    assert one.verdict == "HURT"
    assert one.ci95[1] < 0


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
@pytest.mark.parametrize("num_seeds", [1, 3])
@pytest.mark.parametrize("accuracy", [0.950, 0.958, 0.961, 0.964, 0.970])
def test_the_interval_that_is_drawn_excludes_zero_exactly_where_the_verdict_is_clear(
    accuracy, num_seeds, metric
):
    right = {
        "control": right_of(0.95, seed=0)[:num_seeds],
        "student": right_of(accuracy, seed=1)[:num_seeds],
        "subclass-student": right_of(0.962, seed=2)[:num_seeds],
    }
    values = {role: one.astype(float) for role, one in right.items()}
    found = judge(right, SEEDS[:num_seeds], metric, values)
    for one in found:
        assert (one.verdict != "NO EVIDENCE") == (not one.interval[0] <= 0 <= one.interval[1])
        assert one.interval[0] <= one.ci95[0]
        assert one.ci95[1] <= one.interval[1]


def test_classes_are_compared_in_pairs_and_corrected_for_their_number():
    """Of four classes the first is recognized better, by far, and the last not at all."""
    labels = np.repeat(range(4), 300)
    generator = np.random.default_rng(0)
    theirs = generator.random((3, 1200)) < 0.7
    ours = np.where(labels == 0, generator.random((3, 1200)) < 0.99, theirs)
    theirs[:, labels == 3] = ours[:, labels == 3] = False
    found = class_differences(ours, theirs, labels, ["a", "b", "c", "d"])
    assert [one.name for one in found] == ["a", "b", "c", "d"]
    expected = (ours.astype(float) - theirs)[:, labels == 0]
    assert found[0].difference == pytest.approx(expected.mean())
    interval, p_value = interval_and_p(expected, np.random.default_rng(0))
    assert (found[0].ci95, found[0].p_holm) == (interval, pytest.approx(4 * p_value))
    assert found[0].p_holm < 0.05
    for one in found[1:]:
        assert (one.difference, one.p_holm) == (0, 1)
        assert one.ci95[0] < 0 < one.ci95[1]


@pytest.mark.parametrize("accuracy", [0.95, 0.956, 0.96, 0.97])
def test_the_verdict_of_one_comparison_is_that_of_its_interval(accuracy):
    right = {"student": right_of(accuracy, seed=3), "control": right_of(0.95, seed=4)}
    (one,) = judge(right, SEEDS)
    assert one.p_holm == one.p_value
    assert (one.verdict == "HELPED") == (one.ci95[0] > 0)


def answers(num_seeds, *parts):
    """The same answers in every seed; parts are numbers of images, right and wrong in turn."""
    return np.tile(np.repeat(np.arange(len(parts)) % 2 == 0, parts), (num_seeds, 1))


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_two_comparisons_more_can_turn_a_finding_into_none(num_seeds):
    # 20 images gained and 8 lost: the exact test of a single seed finds it too
    right = {
        "control": answers(num_seeds, 500, 500),
        "student": answers(num_seeds, 492, 8, 20, 480),
    }
    seeds = SEEDS[:num_seeds]
    (alone,) = judge(right, seeds)
    assert alone.verdict == "HELPED"
    assert alone.mcnemar_p[0] == pytest.approx(0.0357, abs=1e-4)
    right["subclass-student"] = answers(num_seeds, 498, 2, 8, 492)
    together = judge(right, seeds)
    assert together[0].p_value == alone.p_value
    assert [one.verdict for one in together] == ["NO EVIDENCE"] * 3
    assert together[0].uncertainty.visible > alone.uncertainty.visible  # that of level 0.05 / 3


@pytest.mark.parametrize(
    ("gained", "lost", "verdict"),
    [(4, 0, "NO EVIDENCE"), (5, 0, "NO EVIDENCE"), (7, 1, "NO EVIDENCE"), (0, 6, "HURT")],
)
def test_one_seed_is_never_more_confident_than_the_exact_test(gained, lost, verdict):
    student = answers(1, 500 - lost, lost, gained, 500 - gained)
    (one,) = judge({"control": answers(1, 500, 500), "student": student}, [0])
    assert [one.p_value] == one.mcnemar_p
    assert one.verdict == verdict
    assert (one.ci95[1] < 0) == (verdict == "HURT")
    assert one.ci95[0] <= 0


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_models_that_differ_on_no_image_still_have_an_interval(num_seeds):
    right = {"control": answers(num_seeds, 90, 10), "student": answers(num_seeds, 90, 10)}
    (one,) = judge(right, SEEDS[:num_seeds])
    low, high = one.ci95
    assert (one.difference, one.p_value, one.verdict) == (0.0, 1.0, "NO EVIDENCE")
    assert high == -low == pytest.approx(1.96 * math.sqrt(2) / 102, rel=1e-3)  # Bonett and Price
    values = {role: of_role.astype(float) for role, of_role in right.items()}
    (of_rarest,) = judge(right, SEEDS[:num_seeds], "macro_f1", values, rarest=8)
    assert of_rarest.ci95[1] == pytest.approx(1.96 * math.sqrt(2) / 10, rel=1e-3)


def test_every_comparison_has_its_question_in_the_report():
    questions = pytest.importorskip("kdtool.report.sections.verdict").QUESTIONS
    assert set(questions) == set(COMPARISONS)


def test_a_study_without_a_control_has_no_verdict():
    assert judge({"student": right_of(0.9, seed=0)}, SEEDS) == []


def test_verdicts_compare_the_outputs_on_the_test_images():
    labels, classes = np.array([0, 1, 0, 1, 1]), ("a", "b")
    recipe = SimpleNamespace(seeds=[5], metric="accuracy")
    run = SimpleNamespace(splits=splits_of(labels, classes), recipe=recipe)

    def model(role, called):
        logits = np.eye(2, dtype=np.float32)[called]
        return [evaluated(role, labels, classes, logits, seed=5)]

    models = {
        "teacher": model("teacher", [0, 1, 0, 1, 1]),
        "control": model("control", [1, 1, 0, 0, 1]),
        "student": model("student", [0, 1, 0, 1, 0]),
    }
    (one,) = verdicts(run, models)
    assert (one.of, one.against, one.seeds) == ("student", "control", [5])
    assert one.difference == pytest.approx(1 / 5)
    assert one.mcnemar_p == [1.0]  # 2 gained, 1 lost
    assert one.uncertainty.seed_std is None


def test_a_verdict_on_another_metric_compares_that_metric():
    # the student finds ten of the rare class more, and calls ten of the frequent one rare
    labels, classes = np.repeat([0, 1], [900, 100]), ("often", "rare")
    control, student = labels.copy(), labels.copy()
    control[900:960], student[900:920], student[:40] = 0, 0, 1
    recipe = SimpleNamespace(seeds=SEEDS, metric="balanced_accuracy")
    run = SimpleNamespace(splits=splits_of(labels, classes), recipe=recipe)
    models = {
        role: [
            evaluated(role, labels, classes, np.eye(2, dtype=np.float32)[called], seed=seed)
            for seed in SEEDS
        ]
        for role, called in (("control", control), ("student", student))
    }
    (one,) = verdicts(run, models)
    assert (one.metric, one.verdict) == ("balanced_accuracy", "HELPED")
    assert one.difference == pytest.approx((860 / 900 + 0.8 - 1 - 0.4) / 2)
    assert one.mcnemar_p == [1.0] * 3  # 40 gained, 40 lost
    recipe.metric = "accuracy"
    assert verdicts(run, models)[0].verdict == "NO EVIDENCE"


def differences(rng, metric, num_seeds, shared):
    """Two equal methods on 600 images, a fifth positive; `shared` says how alike models are."""
    labels = (rng.random(600) < 0.2).astype(np.int64)
    image = 1.8 * labels - 1.28 + shared * rng.normal(size=600)

    def values():
        own = rng.normal(size=(num_seeds, 600)) * np.sqrt(1 - shared**2)
        bias = rng.normal(0, 0.05, (num_seeds, 1)) if num_seeds > 1 else 0.0
        log_odds = image + own + bias
        return values_of(metric, np.stack([0 * log_odds, log_odds], axis=2), labels, 1)

    return values() - values()


@pytest.mark.parametrize("metric", ["weighted_f1", "roc_auc"])
@pytest.mark.parametrize("shared", [0.9, 0.995])
def test_one_seed_of_an_imbalanced_set_is_called_different_in_at_most_five_of_a_hundred(
    metric, shared
):
    rng = np.random.default_rng(0)
    found = [
        one_seed_interval_and_p(differences(rng, metric, 1, shared)[0])[1] < 0.05
        for _ in range(400)
    ]
    assert np.mean(found) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize("metric", ["weighted_f1", "roc_auc"])
def test_equal_methods_on_an_imbalanced_set_are_called_different_in_at_most_five_of_a_hundred(
    metric,
):
    rng = np.random.default_rng(0)
    found = [interval_and_p(differences(rng, metric, 3, 0.995), rng)[1] < 0.05 for _ in range(60)]
    assert np.mean(found) <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 60)


@pytest.mark.parametrize(("gained", "lost"), [(4, 0), (5, 0), (6, 0), (8, 0), (7, 1), (9, 1)])
def test_a_few_images_of_one_seed_are_judged_nearly_as_by_the_exact_test(gained, lost):
    gain = np.repeat([1.0, -1.0, 0.0], [gained, lost, 590])
    (low, _high), p_value = one_seed_interval_and_p(gain)
    exact = mcnemar_p(gain > 0, gain < 0)
    assert (p_value < 0.05) == (low > 0) == (gained >= 8)
    assert p_value >= 0.05 or exact < 0.05


def test_many_images_of_one_seed_are_judged_by_the_normal():
    gain = np.repeat([1.0, -1.0, 0.0], [240, 200, 9000])
    expected = 2 * norm.sf(abs(gain.mean()) / (gain.std() / np.sqrt(len(gain))))
    assert one_seed_interval_and_p(gain)[1] == pytest.approx(expected, rel=0.05)


def test_one_seed_with_equal_outputs_shows_no_difference():
    assert one_seed_interval_and_p(np.zeros(9)) == ((0.0, 0.0), 1.0)
    assert one_seed_interval_and_p(np.full(9, 0.5)) == ((0.5, 0.5), 2.0**-8)
