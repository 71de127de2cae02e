import numpy as np
import pytest

pytest.importorskip("matplotlib")

from kdtool.format import probability
from kdtool.report.sections.operating_point import (
    operating_figure,
    operating_sentence,
    rates_rows,
    rule_sentence,
    section,
)


def study(build, rule="youden", **options):
    scores = {"metric": "weighted_f1", "rule": rule}
    return build(classes=("SSA", "HP"), num_test=977, scores=scores, **options)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("argmax", "The more probable class is predicted: SSA from a probability of 0.50."),
        ("youden", "sensitivity plus specificity is largest (Youden's J) (youden)."),
        ("f1", "at which, on validation, the F1 of SSA is largest (f1)."),
        ("sensitivity:0.95", "specificity is largest while sensitivity is at least 95 % (sens"),
        ("specificity:0.995", "sensitivity is largest while specificity is at least 99.5 % (sp"),
        ("cost:5", "mistakes cost least, if a missed SSA costs 5 false alarms (cost:5)."),
    ],
)
def test_every_rule_has_a_sentence(build, rule, expected):
    assert expected in rule_sentence(study(build, rule))


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, "0.50"), (0.374, "0.37"), (0.0004, "0.0004"), (0.99997, "0.99997"), (1.0, "1.00")],
)
def test_a_threshold_is_never_rounded_to_certainty(value, expected):
    assert probability(value) == expected


def with_test_rates(results, role, **changes):
    model = results.models[role]
    test = model.operating_point.test.model_copy(update=changes)
    point = model.operating_point.model_copy(update={"test": test})
    models = results.models | {role: model.model_copy(update={"operating_point": point})}
    return results.model_copy(update={"models": models})


def with_test_counts(results, *counts):
    class_counts = results.data.class_counts | {"test": list(counts)}
    data = results.data.model_copy(update={"class_counts": class_counts})
    return results.model_copy(update={"data": data})


def test_the_sentence_counts_the_test_images(build):
    results = with_test_rates(study(build), "student", sensitivity=307 / 360, specificity=615 / 617)
    assert operating_sentence(with_test_counts(results, 360, 617)) == (
        "The student predicts SSA where its probability is at least 0.37. Of the 360 test images "
        "of SSA, 307 are found and 53 missed; of the 617 of HP, 2 are taken for SSA. Of 309 "
        "predictions of SSA, 307 are correct."
    )


def test_a_model_that_never_predicts_the_positive_class_has_a_sentence(build):
    results = with_test_rates(study(build), "student", sensitivity=0.0, specificity=1.0)
    sentence = operating_sentence(with_test_counts(results, 16, 84))
    assert sentence.endswith("of the 84 of HP, 0 are taken for SSA. No image is taken for SSA.")


@pytest.mark.parametrize(
    ("rule", "is_short"),
    [("sensitivity:0.95", True), ("sensitivity:0.9", False), ("specificity:0.95", False)],
)
def test_a_rate_that_test_images_do_not_reach_is_reported(build, typed, rule, is_short):
    results = with_test_rates(study(build, rule), "student", sensitivity=0.9375, specificity=0.99)
    sentence = typed(operating_sentence(with_test_counts(results, 16, 84)))
    shortfall = "That is a sensitivity of 93.75 %: the required 95 % was reached on the validation"
    assert (shortfall in sentence) is is_short


def test_without_an_operating_point_there_is_no_section(build):
    results = build(classes=("a", "b"), num_test=90)
    assert (operating_sentence(results), rule_sentence(results)) == (None, None)
    assert section(results) is None
    assert rates_rows(results) == []


def test_without_a_student_the_sentence_is_about_the_teacher(build):
    assert "The teacher predicts SSA" in operating_sentence(study(build, roles=("teacher",)))


def test_rows_have_the_rates_of_both_splits(build, typed):
    results = study(build)
    rows = rates_rows(results)
    assert [(row.role, row.split) for row in rows[:2]] == [
        ("teacher", "validation"),
        ("teacher", "test"),
    ]
    rates = results.models["control"].operating_point.test
    sensitivity, _, _, accuracy, f1 = rows[3].cells
    low, high = rates.sensitivity_ci95
    assert typed(sensitivity.value) == f"{100 * rates.sensitivity:.2f} %"
    assert sensitivity.interval == f"{100 * low:.2f} to {100 * high:.2f}"
    assert (typed(accuracy.value), f1.value) == (f"{100 * rates.accuracy:.2f} %", f"{rates.f1:.3f}")


def test_the_figure_has_a_dot_a_model_and_split_and_the_intervals_of_test(build):
    results = study(build, roles=("student",))
    point = results.models["student"].operating_point
    axes = operating_figure(results, 400).axes[0]
    across, up, _, validation, test = (line.get_xydata() for line in axes.lines)
    for drawn, rates in ((validation, point.validation), (test, point.test)):
        expected = [100 * (1 - rates.specificity), 100 * rates.sensitivity]
        np.testing.assert_allclose(drawn, [expected])
    np.testing.assert_allclose(up[:, 1], [100 * end for end in point.test.sensitivity_ci95])
    low, high = point.test.specificity_ci95
    np.testing.assert_allclose(across[:, 0], [100 * (1 - high), 100 * (1 - low)])
    assert axes.get_xlabel() == "HP taken for SSA, %"
