import re

import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from page_reader import Page
from sample_models import summary

from kdtool.report.sections import sweep
from kdtool.results.base import ROLES
from kdtool.results.evidence import SweepPoint


def swept(role, key, values, selected, accuracy):
    """The points of a sweep over one key; accuracies rise by 0.001."""
    return [
        SweepPoint(
            role=role,
            settings={key: value},
            seeds=[0, 1],
            validation_accuracy=summary([accuracy + 0.001 * i] * 2),
            test_accuracy=summary([accuracy - 0.002 + 0.001 * i] * 2),
            selected=value == selected,
        )
        for i, value in enumerate(values)
    ]


@pytest.fixture
def two_sweeps(build):
    """First `distill`, then `subclass-distill`, each with a sweep over a key of its own."""
    points = [
        *swept("student", "distill.temperature", (1, 4), 4, 0.95),
        *swept("subclass-student", "subclass.temperature", (1, 2, 8), 2, 0.96),
    ]
    results = build(roles=ROLES, classes=("a", "b"), num_test=400)
    return results.model_copy(update={"sweep": points})


def test_two_sweeps_have_a_table_and_a_curve_each(two_sweeps):
    plain, subclass = sweep.section(two_sweeps).tables
    assert (plain.role, plain.keys) == ("student", ["distill.temperature"])
    assert (subclass.role, subclass.keys) == ("subclass-student", ["subclass.temperature"])
    assert [row.values for row in plain.rows] == [["1"], ["4"]]
    assert [row.values for row in subclass.rows] == [["1"], ["2"], ["8"]]
    assert [row.selected for row in subclass.rows] == [False, True, False]
    for table, ticks in ((plain, ["1", "4"]), (subclass, ["1", "2", "8"])):
        axes = table.figure.wide.axes[0]
        assert axes.get_xlabel() == table.keys[0]
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ticks


def test_each_curve_has_the_scores_of_its_own_student(two_sweeps):
    for table, first in zip(sweep.section(two_sweeps).tables, (94.8, 95.8), strict=True):
        test, _, *_ = table.figure.wide.axes[0].lines
        expected = [first + 0.1 * i for i in range(len(table.rows))]
        assert list(test.get_ydata()) == pytest.approx(expected)


def test_the_report_shows_both_sweeps(two_sweeps, write, typed, tmp_path):
    html, markdown = map(typed, write(two_sweeps))
    assert "Sweep over distill.temperature , then subclass.temperature" in Page(html).words
    assert "## Sweep over distill.temperature, then subclass.temperature" in markdown
    for role, row in (
        ("student", r"\| 4 \| 95.10 % .* \| 94.90 % .* \| 2 \| chosen \|"),
        ("subclass-student", r"\| 2 \| 96.10 % .* \| 95.90 % .* \| 2 \| chosen \|"),
    ):
        assert f"figures/sweep-{role}.svg" in markdown
        assert (tmp_path / "figures" / f"sweep-{role}.svg").exists()
        assert re.search(f"^{row}$", markdown, re.MULTILINE)
    assert "subclass.temperature</th><th>Validation accuracy" in html


def test_a_single_sweep_needs_no_heading_for_its_role(build, write):
    html, markdown = write(build(sweep_keys=1))
    assert "### " not in markdown.split("## Sweep over")[1].split("\n## ")[0]
    assert '<h3 class="student">student: ' not in html
