from dataclasses import replace

import numpy as np
import pytest
from answers import evaluated, splits_of
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from kdtool.stats import wilson_interval
from kdtool.train.data.splits import Split
from kdtool.train.evidence.operating_point import choose_threshold, operating_point, rates

CLASSES = ("HP", "SSA")


def logits_of(probabilities, *, positive=1):
    """Float32 logits of which the softmax gives these probabilities of the positive class."""
    p = np.asarray(probabilities, np.float64)
    odds = np.log(p / (1 - p))
    zero = np.zeros_like(odds)
    columns = [zero, odds] if positive else [odds, zero]
    return np.stack(columns, axis=1).astype(np.float32)


# a validation split: probability of SSA, and whether it is
GIVEN = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])
IS_SSA = np.array([0, 0, 1, 0, 0, 1, 1, 1], bool)


@pytest.mark.parametrize(
    ("rule", "threshold"),
    [
        ("argmax", 0.5),
        ("youden", 0.65),  # 3 of 4 and 4 of 4
        ("f1", 0.65),  # 6 / 7; at 0.25 it is 8 / 10
        ("sensitivity:0.75", 0.65),
        ("sensitivity:0.76", 0.25),  # needs all four
        ("sensitivity:1", 0.25),
        ("specificity:0.75", 0.5),
        ("specificity:0.5", 0.25),
        ("specificity:1", 0.65),
        ("cost:1", 0.65),  # one miss against two false alarms
        ("cost:3", 0.25),
        ("cost:2", 0.65),  # as good as 0.25, which is farther from 0.5
        ("cost:0.01", 0.65),
    ],
)
def test_thresholds_by_hand(rule, threshold):
    assert choose_threshold(IS_SSA, GIVEN, rule) == pytest.approx(threshold, abs=1e-7)


def test_a_model_that_is_wrong_about_all_calls_all_or_none():
    wrong = np.array([0.8, 0.9, 0.1, 0.2]), np.array([0, 0, 1, 1], bool)
    for rule, threshold in [("sensitivity:1", 0.05), ("specificity:1", 0.95), ("cost:10", 0.05)]:
        assert choose_threshold(wrong[1], wrong[0], rule) == pytest.approx(threshold, abs=1e-7)
    # a certain mistake is above every threshold up to 1
    assert choose_threshold(np.array([True, False]), np.array([0.5, 1.0]), "specificity:1") > 1
    assert choose_threshold(np.array([True, False]), np.array([0.0, 0.5]), "sensitivity:1") == 0


def brute_force(is_positive, probabilities, rule, value):
    """The best worth that any threshold reaches, over all that part the images differently."""
    return max(
        worth(is_positive, probabilities >= threshold, rule, value)
        for threshold in [*probabilities, 2.0]
    )


def worth(is_positive, called, rule, value):
    """What a rule wants most, written from its definition."""
    sensitivity, specificity = called[is_positive].mean(), (~called)[~is_positive].mean()
    match rule:
        case "youden":
            return sensitivity + specificity
        case "f1":
            return f1_score(is_positive, called, zero_division=0.0)
        case "sensitivity":
            return (sensitivity >= value, specificity, -sensitivity)
        case "specificity":
            return (specificity >= value, sensitivity, -specificity)
        case "cost":
            return -(called & ~is_positive).sum() - value * (~called & is_positive).sum()


@settings(deadline=None, max_examples=150)
@given(
    images=st.lists(st.tuples(st.integers(0, 20), st.booleans()), min_size=2, max_size=30).filter(
        lambda images: len({label for _, label in images}) == 2
    ),
    rule=st.sampled_from(["youden", "f1", "sensitivity", "specificity", "cost"]),
    value=st.sampled_from([0.05, 0.3, 0.5, 0.95, 1.0]),
)
def test_no_other_threshold_is_better(images, rule, value):
    probabilities = np.array([place for place, _ in images]) / 20
    is_positive = np.array([label for _, label in images])
    text = rule if rule in ("youden", "f1") else f"{rule}:{value}"
    threshold = choose_threshold(is_positive, probabilities, text)
    best = brute_force(is_positive, probabilities, rule, value)
    # the same rates; of a goal that must be reached, not one more of the other mistake than needed
    reached = worth(is_positive, probabilities >= threshold, rule, value)
    if rule in ("sensitivity", "specificity"):
        assert reached[:2] == best[:2]
    else:
        assert reached == pytest.approx(best)
    assert np.abs(probabilities - threshold).min() >= (0 if threshold == 0 else 5e-7)


def test_no_threshold_lies_between_what_another_runtime_may_swap():
    close = np.array([0.3, 0.7, 0.7 + 5e-7, 0.9])
    is_positive = np.array([0, 0, 1, 1], bool)
    threshold = choose_threshold(is_positive, close, "youden")
    assert min(abs(close - threshold)) > 0.05
    # near 0, where float32 is finer, 1e-8 and 3e-8 are far apart
    assert choose_threshold(
        np.array([0, 1, 1], bool), np.array([1e-8, 3e-8, 0.9]), "youden"
    ) == pytest.approx(2e-8, rel=1e-6)


def two_splits(positive):
    """Validation as above, and test images that are all of SSA but the first two."""
    splits = splits_of(IS_SSA.astype(np.int64), CLASSES)
    labels = (np.arange(8) > 1).astype(np.int64)
    test = Split(splits.test.images, splits.test.labels.new_tensor(labels))
    result = splits.result.model_copy(update={"positive": positive})
    return replace(splits, test=test, result=result)


def test_it_is_chosen_on_validation_and_scored_on_both_splits():
    splits = two_splits("SSA")
    one = evaluated("student", IS_SSA.astype(np.int64), CLASSES, logits_of(GIVEN))
    one = replace(one, test_logits=logits_of([0.1, 0.9, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1]))
    point = operating_point(one, splits, "youden", 1.0)
    assert (point.rule, point.positive) == ("youden", "SSA")
    assert point.threshold == pytest.approx(0.65, abs=1e-6)
    assert (point.validation.sensitivity, point.validation.specificity) == (0.75, 1.0)
    assert point.validation.precision == 1.0
    assert point.validation.f1 == pytest.approx(6 / 7)
    assert point.validation.accuracy == 7 / 8
    assert (point.test.sensitivity, point.test.specificity, point.test.precision) == (
        0.5,
        0.5,
        0.75,
    )
    assert point.test.sensitivity_ci95 == wilson_interval(3, 6)
    assert point.test.specificity_ci95 == wilson_interval(1, 2)
    assert point.test.precision_ci95 == wilson_interval(3, 4)


def test_the_other_class_can_be_the_positive_one():
    one = evaluated("student", IS_SSA.astype(np.int64), CLASSES, logits_of(GIVEN))
    point = operating_point(one, two_splits("HP"), "youden", 1.0)
    assert point.positive == "HP"
    assert point.threshold == pytest.approx(0.35, abs=1e-6)
    assert (point.validation.sensitivity, point.validation.specificity) == (1.0, 0.75)


def test_the_threshold_is_of_the_probability_after_the_temperature():
    one = evaluated("student", IS_SSA.astype(np.int64), CLASSES, logits_of(GIVEN))
    point = operating_point(one, two_splits("SSA"), "youden", 2.0)
    soft = [1 / (1 + ((1 - p) / p) ** 0.5) for p in (0.6, 0.7)]
    assert point.threshold == pytest.approx(np.mean(soft), abs=1e-6)
    assert point.validation == operating_point(one, two_splits("SSA"), "youden", 1.0).validation


def test_more_than_two_classes_have_none():
    labels = np.array([0, 1, 2])
    logits = np.eye(3, dtype=np.float32)
    one = evaluated("student", labels, ("a", "b", "c"), logits)
    assert operating_point(one, splits_of(labels, ("a", "b", "c")), "argmax", 1.0) is None


def test_rates_where_nothing_is_called():
    none = rates(np.array([True, False, False]), np.zeros(3, bool))
    assert (none.sensitivity, none.specificity, none.precision, none.f1) == (0, 1, 0, 0)
    assert none.precision_ci95 == (0.0, 1.0)
    assert none.accuracy == pytest.approx(2 / 3)
