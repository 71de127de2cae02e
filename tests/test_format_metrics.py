import pytest

from kdtool.format import (
    METRIC_NAMES,
    metric_title,
    score_change,
    score_change_range,
    score_change_size,
    score_range,
    score_text,
)
from kdtool.report import summary, uncertainty
from kdtool.report.sections import verdict as verdicts
from kdtool.report.sections.cost import files
from kdtool.report.sections.cost.comparison import comparison_rows
from kdtool.results.base import METRICS

ALL = ("teacher", "control", "student")


def two_classes(build, metric, **options):
    return build(classes=("SSA", "HP"), num_test=977, scores={"metric": metric}, **options)


IN_PERCENT = ("82.80 %", "80.30 to 85.00", "+1.20", "-0.40 to +0.16", "1.20 points")
AS_DECIMALS = ("0.828", "0.803 to 0.850", "+0.012", "-0.004 to +0.002", "0.012")


@pytest.mark.parametrize(
    ("metric", "title", "texts"),
    [
        ("accuracy", "Accuracy", IN_PERCENT),
        ("balanced_accuracy", "Balanced accuracy", IN_PERCENT),
        ("weighted_f1", "Weighted F1", AS_DECIMALS),
        ("macro_f1", "Macro F1", AS_DECIMALS),
        ("roc_auc", "ROC AUC", AS_DECIMALS),
        ("pr_auc", "PR AUC", AS_DECIMALS),
    ],
)
def test_every_metric_has_its_name_and_its_unit(typed, metric, title, texts):
    assert metric_title(metric) == title
    found = (
        score_text(metric, 0.828),
        score_range(metric, (0.803, 0.85)),
        score_change(metric, 0.012),
        score_change_range(metric, (-0.004, 0.0016)),
        score_change_size(metric, -0.012),
    )
    assert tuple(map(typed, found)) == texts


@pytest.mark.parametrize(("difference", "expected"), [(0.0004, "0.000"), (-0.0004, "0.000")])
def test_a_difference_that_rounds_to_zero_has_no_sign(difference, expected):
    assert score_change("roc_auc", difference) == expected


@pytest.mark.parametrize("metric", METRICS)
def test_the_first_row_of_the_comparison_is_the_metric_of_the_study(build, metric, typed):
    results = two_classes(build, metric)
    first, spread, *others = comparison_rows(results)
    assert (first.key, first.label) == ("score", metric_title(metric))
    for role, cell in zip(ALL, first.cells, strict=True):
        assert cell.value == score_text(metric, results.models[role].test[metric].mean)
    assert METRIC_NAMES[metric] in spread.note
    shown = [row.key for row in others[:2] if row.key in METRICS]
    assert shown == [one for one in ("accuracy", "weighted_f1") if one != metric]


def judged(build, **changes):
    results = two_classes(build, "weighted_f1")
    verdict = results.verdicts[0].model_copy(update=changes)
    return results.model_copy(update={"verdicts": [verdict]})


@pytest.mark.parametrize(
    ("difference", "ci95", "word", "expected"),
    [
        (0.012, (0.002, 0.022), "HELPED", "Distillation helped: the student is 0.012 higher in"),
        (-0.012, (-0.022, -0.002), "HURT", "Distillation hurt: the student is 0.012 lower in"),
    ],
)
def test_the_verdict_names_the_metric(build, typed, difference, ci95, word, expected):
    results = judged(build, difference=difference, ci95=ci95, verdict=word)
    low, high = ci95
    assert typed(verdicts.headline(results)) == (
        f"{expected} weighted F1 than the same student trained without a teacher (95 % interval "
        f"{low:.3f} to {high:.3f}, 3 seeds)."
    )


def test_no_difference_at_all_is_as_high(build):
    results = judged(build, difference=0.0, ci95=(-0.004, 0.004), verdict="NO EVIDENCE")
    expected = "the student is as high in weighted F1 as the same student trained without"
    assert expected in verdicts.headline(results)


def test_every_sentence_about_the_verdict_has_the_metric_and_its_unit(build, typed):
    results = judged(build, verdict="NO EVIDENCE", difference=0.004, ci95=(-0.008, 0.016))
    (verdict,) = results.verdicts
    teacher, control = (results.models[one].test["weighted_f1"].mean for one in ALL[:2])
    gap = f"control ({control:.3f}) and teacher ({teacher:.3f}) in weighted F1 is"
    assert f"{gap} {teacher - control:.3f}." in typed(verdicts.gap_sentence(results, verdict))
    assert "detects differences in weighted F1 of about 0.003 or more" in verdicts.caveat(
        [verdict], 977
    )
    assert "test (always of the accuracy)" in verdicts.mcnemar_sentence([verdict])
    tile = summary.tiles(results)[1]
    expected = "weighted F1 against the control, -0.008 to +0.016 (mean of 3 seeds)"
    assert (tile.value, typed(tile.caption)) == ("+0.004", expected)
    assert "Test images to detect 0.01 with 3 seeds" in uncertainty.columns(results)[4]
    assert "standard errors of the difference, in weighted F1" in uncertainty.meaning(results)
    (row,) = uncertainty.uncertainty_rows(results)
    assert row.cells[:4] == ["0.001", "0.001", "0.001", "0.003"]


def test_without_a_verdict_the_opening_names_the_metric(build):
    opening = verdicts.headline(two_classes(build, "roc_auc", roles=("teacher",)))
    assert opening.startswith("No verdict yet: the teacher reaches ROC AUC 0.931 on")


def test_the_student_to_ship_is_chosen_by_the_metric_on_validation(build):
    roles = ("teacher", "subclass-teacher", "control", "student", "subclass-student")
    results = two_classes(build, "macro_f1", roles=roles)
    best = {
        role: sum(run.best.validation_score for run in results.models[role].seeds) / 3
        for role in ("subclass-student", "student")
    }
    sentence = files.choice_sentence(results)
    assert "is shipped because of its macro F1 on validation" in sentence
    assert f"{best['subclass-student']:.3f} compared with {best['student']:.3f} of the" in sentence
