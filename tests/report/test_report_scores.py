import json
import re

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from sample_scores import pretrained

from kdtool.errors import StudyError
from kdtool.report.sections.duplicates import load_duplicates
from kdtool.report.sections.sweep import sweep_figure
from kdtool.report.sections.training import phase_starts, score_by_epoch
from kdtool.report.sections.verdict import differences
from kdtool.results.base import to_json
from kdtool.results.study import Results


def two_classes(build, metric="weighted_f1", **options):
    return build(classes=("SSA", "HP"), num_test=977, scores={"metric": metric}, **options)


def section(html, name):
    return html[html.index(f'<section id="{name}">') :].split("</section>")[0]


def test_the_whole_report_uses_the_metric(mhist, typed):
    html, markdown = typed(mhist.html), typed(mhist.markdown)
    for text in (html, markdown):
        assert "Weighted F1 and loss during training" in text
        assert "was chosen by validation weighted F1" in text
        assert "higher in weighted F1 than the same student" in text
    point = mhist.results.sweep[3]
    low, high = point.validation_score.ci95
    score = f"{point.validation_score.mean:.3f} ({low:.3f} to {high:.3f})"
    assert re.search(rf"^\| 8 \| {re.escape(score)} \| .* \| chosen \|$", markdown, re.MULTILINE)
    run = mhist.results.models["teacher"].seeds[0]
    row = f"| {run.best.score:.3f} | {run.test.weighted_f1:.3f} | 2,532 |"
    assert row in markdown
    assert "Validation, weighted F1" in section(html, "provenance")


def test_scores_of_classes_and_of_all_are_in_one_table(mhist, typed):
    table = typed(mhist.markdown).split("## Class by class")[1]
    (line,) = re.findall(r"^\| student \| .* %.*$", table.split("| Class |")[0], re.MULTILINE)
    cells = [cell.split(" (")[0].strip() for cell in line.strip("|").split("|")][1:]
    model = mhist.results.models["student"]
    ssa, hp = model.per_class
    shares = [ssa.accuracy, hp.accuracy, model.test["accuracy"]]
    assert cells[:3] == [f"{100 * one.mean:.2f} %" for one in shares]
    assert cells[3:6] == [f"{one.mean:.3f}" for one in (ssa.f1, hp.f1, model.test["weighted_f1"])]
    table = section(typed(mhist.html), "classes")
    assert all(f"{cell}<span" in table for cell in cells)


def test_every_pair_of_duplicates_is_shown(mhist):
    shown = section(mhist.html, "duplicates")
    assert shown.count("<figure>") == 20 + 3
    assert shown.count('src="data:image/png') == 2 * (20 + 3)
    assert "Identical: 25 images, of which the first 20 are shown" in shown
    assert "Nearly identical: 3 images<" in shown
    assert 'alt="train 103"' in shown
    assert "- train 103 and test 3\n" in mhist.markdown
    assert "- train 7 and validation 1\n" in mhist.markdown


def test_duplicates_of_another_study_or_none_are_an_error(build, tmp_path):
    data = two_classes(build).data
    fix = "repeat the command that made the study"
    with pytest.raises(StudyError, match=f"cannot read the duplicates.*{fix}"):
        load_duplicates(data, tmp_path)
    arrays = {"exact": np.zeros((2, 2, 4, 4, 1), np.uint8), "near": np.zeros((0, 2, 1, 1, 1))}
    np.savez(tmp_path / "duplicates.npz", **arrays)
    with pytest.raises(StudyError, match=r"has 2 exact and 0 near pairs, but .* expects 20 and 3"):
        load_duplicates(data, tmp_path)


def test_the_report_has_the_threshold_and_its_rates(mhist):
    for text in (section(mhist.html, "operating_point"), mhist.markdown):
        assert "The student predicts SSA where its probability is at least 0.37." in text
        assert "sensitivity is at least 90 %" in text
    assert "figures/operating_point.svg" in mhist.markdown


def test_a_pretrained_teacher_renders(build, write):
    results = pretrained(two_classes(build, "roc_auc", explain=True))
    html, markdown = write(results)
    for text in (html, markdown):
        assert "The teacher was not trained here: its score is a dashed line." in text
        assert not re.search(r">\s*None\s*<|\| None", text)
    run = results.models["teacher"].seeds[0]
    row = f"| teacher | 0 | pretrained | {run.best.score:.3f} | 0.931 | 0 |"
    assert row in markdown


NEW = {  # keys that an older kdtool did not write, in any record
    *("metric", "operating_point", "validation_score", "test_score", "phase"),
    *("balanced_accuracy", "macro_f1", "roc_auc", "pr_auc", "positive", "duplicate_images"),
}


def older(value):
    if isinstance(value, list):
        return [older(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {key: older(one) for key, one in value.items() if key not in NEW}


def test_results_of_an_older_kdtool_still_render(build, write):
    record = older(json.loads(to_json(build(sweep_keys=1))))
    for model in record["models"].values():
        del model["per_class"]
    html, markdown = write(Results.model_validate(record))
    assert "points more accurate than the same student" in html
    assert "scores of single classes from the exported seeds, all others mean over" in markdown
    assert 'id="operating_point"' not in html


def test_epochs_are_drawn_by_the_metric_and_phases_have_a_line(build):
    results = two_classes(build, roles=("student",))
    axes = score_by_epoch(results, 960).axes[0]
    run = results.models["student"].seeds[0]
    expected = [epoch.validation_score for epoch in run.epochs]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), expected)
    begins = [line.get_xdata()[0] for line in axes.lines if len(set(line.get_xdata())) == 1]
    assert 4.5 in begins
    assert [text.get_text() for text in axes.texts] == ["student", "phase 2"]


def in_one_phase(results, role):
    model = results.models[role]
    runs = [
        run.model_copy(
            update={"epochs": [one.model_copy(update={"phase": 1}) for one in run.epochs]}
        )
        for run in model.seeds
    ]
    models = results.models | {role: model.model_copy(update={"seeds": runs})}
    return results.model_copy(update={"models": models})


def test_phases_name_their_models_where_others_have_none(build):
    results = two_classes(build)
    assert phase_starts(results) == {5: "phase 2"}
    assert phase_starts(build()) == {}
    assert phase_starts(in_one_phase(results, "teacher")) == {5: "students: phase 2"}


def test_a_pretrained_model_is_a_horizontal_line(build):
    results = pretrained(two_classes(build, roles=("teacher", "control")))
    axes = score_by_epoch(results, 960).axes[0]
    run = results.models["teacher"].seeds[0]
    (across,) = [line for line in axes.lines if list(line.get_xdata()) == [0, 1]]
    seeds = [run.best.score for run in results.models["teacher"].seeds]
    assert list(across.get_ydata()) == pytest.approx([np.mean(seeds)] * 2)
    assert run.best.epoch == 0


def test_differences_and_sweeps_are_drawn_in_the_unit_of_the_metric(build):
    results = two_classes(build, sweep_keys=1)
    (verdict,) = results.verdicts
    axes = differences(results, [verdict], 400).axes[0]
    _, interval, _, dots = (line.get_xdata() for line in axes.lines)
    assert list(interval) == pytest.approx(list(verdict.ci95))
    ours, theirs = (
        [run.test.weighted_f1 for run in results.models[role].seeds]
        for role in ("student", "control")
    )
    np.testing.assert_allclose(dots, np.subtract(ours, theirs))
    assert axes.get_xlabel() == "difference in weighted F1, student minus control"
    drawn = sweep_figure(results, results.sweep, 960).axes[0].lines
    expected = [point.test_score.mean for point in results.sweep]
    assert any(
        np.allclose(line.get_ydata(), expected) for line in drawn if len(line.get_ydata()) == 6
    )
    results = two_classes(build, sweep_keys=2)
    texts = [text.get_text() for text in sweep_figure(results, results.sweep, 960).axes[0].texts]
    assert sorted(texts) == sorted(f"{p.validation_score.mean:.3f}" for p in results.sweep)
