from dataclasses import replace

import numpy as np
import pytest
from answers import evaluated, splits_of
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.metrics import f1_score, precision_score, recall_score

from kdtool.errors import RecipeError
from kdtool.recipe.schema import check_operating_point
from kdtool.stats.intervals import wilson_interval
from kdtool.train.evaluation.operating_point import (
    LEAST_GAP,
    choose_threshold,
    operating_point,
    rates,
)

#           negative: 0.1  0.2  0.6       0.3  0.8  0.9 : positive
BY_HAND = np.array([0.1, 0.2, 0.6, 0.3, 0.8, 0.9], np.float32)
IS_POSITIVE = np.array([0, 0, 0, 1, 1, 1], bool)


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("argmax", 0.5),
        ("youden", 0.7),  # 2/3 + 1; as good as 0.25 with 1 + 2/3, and nearer to 0.5
        ("f1", 0.25),  # 6/7, and 4/5 at 0.7
        ("sensitivity:0.67", 0.25),
        ("sensitivity:0.66", 0.7),
        ("sensitivity:0.1", 0.7),  # at 0.85 it would find fewer, and be no more specific
        ("specificity:0.66", 0.25),
        ("specificity:0.67", 0.7),
        ("specificity:0.1", 0.25),
        ("cost:1", 0.7),  # one mistake; at 0.25 too
        ("cost:5", 0.25),
        ("cost:0.1", 0.7),
    ],
)
def test_each_rule_by_hand(rule, threshold):
    assert choose_threshold(BY_HAND, IS_POSITIVE, rule) == pytest.approx(threshold)


@pytest.mark.parametrize(
    ("probabilities", "rule", "threshold"),
    [
        ([0.8, 0.4], "youden", 0.2),  # upside down: all are called, or none (0.9)
        ([0.8, 0.4], "specificity:1", 0.9),
        ([0.0, 1.0], "youden", 0.5),
        ([1.0, 1.0], "sensitivity:1", 0.5),
        ([0.0, 0.0], "sensitivity:1", 0.0),
        ([1.0, 0.5], "specificity:1", 1 + LEAST_GAP),  # nothing is called
        # so close that another runtime may swap them: no threshold parts them
        ([0.8, 0.8 + LEAST_GAP / 2], "specificity:1", 0.9),
    ],
)
def test_thresholds_below_and_above_all_images(probabilities, rule, threshold):
    is_positive = np.array([False, True])
    assert choose_threshold(np.array(probabilities), is_positive, rule) == pytest.approx(threshold)


RULES = [
    "youden",
    "f1",
    "sensitivity:0.9",
    "sensitivity:1",
    "specificity:0.55",
    "cost:5",
    "cost:0.3",
]


def worth(called, is_positive, rule):
    """How good it is to call these images, by the definition of each rule."""
    found, alarms = (called & is_positive).sum(), (called & ~is_positive).sum()
    missed, passed = (~called & is_positive).sum(), (~called & ~is_positive).sum()
    sensitivity, specificity = found / (found + missed), passed / (passed + alarms)
    name, _, value = rule.partition(":")
    return {
        "youden": lambda: round(sensitivity + specificity, 9),
        "f1": lambda: round(2 * found / (2 * found + alarms + missed), 9),
        "sensitivity": lambda: (sensitivity >= float(value), specificity, sensitivity),
        "specificity": lambda: (specificity >= float(value), sensitivity, specificity),
        "cost": lambda: round(-alarms - float(value) * missed, 9),
    }[name]()


@given(
    images=st.lists(st.tuples(st.integers(0, 16), st.booleans()), max_size=12),
    ends=st.tuples(st.integers(0, 16), st.integers(0, 16)),
    rule=st.sampled_from(RULES),
)
def test_no_other_threshold_is_better(images, ends, rule):
    images = [(ends[0], False), (ends[1], True), *images]
    sixteenths, is_positive = (np.array(each) for each in zip(*images, strict=True))
    threshold = choose_threshold(sixteenths.astype(np.float32) / 16, is_positive, rule)
    assert threshold == 0 or np.abs(sixteenths / 16 - threshold).min() >= LEAST_GAP / 2
    best = worth(sixteenths / 16 >= threshold, is_positive, rule)
    others = [worth(sixteenths > k - 0.5, is_positive, rule) for k in range(18)]
    assert best == max(others)


def test_rates_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    called, is_positive = rng.random((2, 50)) < 0.4
    found = rates(called, is_positive)
    assert found.sensitivity == recall_score(is_positive, called)
    assert found.specificity == recall_score(~is_positive, ~called)
    assert found.precision == precision_score(is_positive, called)
    assert found.f1 == pytest.approx(f1_score(is_positive, called))
    assert found.accuracy == (called == is_positive).mean()
    both = int((called & is_positive).sum())
    assert found.sensitivity_ci95 == wilson_interval(both, int(is_positive.sum()))
    assert found.precision_ci95 == wilson_interval(both, int(called.sum()))
    neither = int((~called & ~is_positive).sum())
    assert found.specificity_ci95 == wilson_interval(neither, int((~is_positive).sum()))


def test_a_model_that_calls_nothing_positive_has_no_precision():
    none = rates(np.zeros(4, bool), np.array([True, False, True, False]))
    assert (none.sensitivity, none.specificity, none.precision, none.f1) == (0, 1, 0, 0)
    assert none.precision_ci95 == (0, 1)


def two_classes(positive):
    labels = 1 - IS_POSITIVE.astype(int) if positive == "a" else IS_POSITIVE.astype(int)
    splits = splits_of(labels, ["a", "b"])
    splits = replace(splits, result=splits.result.model_copy(update={"positive": positive}))
    ahead = logit(BY_HAND)[:, None].astype(np.float32)
    other = np.zeros_like(ahead)
    logits = np.hstack([ahead, other] if positive == "a" else [other, ahead])
    return evaluated("student", labels, ["a", "b"], logits), splits


@pytest.mark.parametrize("positive", ["a", "b"])
def test_the_threshold_is_for_probabilities_at_the_temperature_of_the_file(positive):
    model, splits = two_classes(positive)
    point = operating_point(model, splits, "cost:5", 1.0)
    assert (point.rule, point.positive) == ("cost:5", positive)
    assert point.threshold == pytest.approx(0.25)
    warm = operating_point(model, splits, "cost:5", 3.0)
    low, high = expit(logit([0.2, 0.3]) / 3)
    assert warm.threshold == pytest.approx((low + high) / 2)
    assert point.test == warm.test == point.validation
    assert (point.test.sensitivity, point.test.specificity) == (1, pytest.approx(2 / 3))


def test_it_is_chosen_on_validation_and_tested_on_test():
    model, splits = two_classes("b")
    model = replace(model, test_logits=model.validation_logits[:, ::-1])
    point = operating_point(model, splits, "cost:5", 1.0)
    assert point.threshold == pytest.approx(0.25)
    # upside down: the positives have 0.7, 0.2 and 0.1, the others 0.9, 0.8 and 0.4
    assert (point.test.sensitivity, point.test.specificity) == (pytest.approx(1 / 3), 0)
    assert (point.test.precision, point.test.accuracy) == (0.25, pytest.approx(1 / 6))


def test_three_classes_have_no_operating_point_and_no_rule_for_one():
    labels = np.arange(6) % 3
    model = evaluated("student", labels, "abc", np.eye(3, dtype=np.float32)[labels])
    assert operating_point(model, splits_of(labels, "abc"), "argmax", 1.0) is None
    check_operating_point("argmax", "abc")
    check_operating_point("youden", "ab")
    with pytest.raises(
        RecipeError,
        match=r'got "youden", which is for two classes, but the data have 3',
    ):
        operating_point(model, splits_of(labels, "abc"), "youden", 1.0)
