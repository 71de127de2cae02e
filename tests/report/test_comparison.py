import pytest

from kdtool.report.provenance import section as provenance_section
from kdtool.report.sections.classes import class_rows, exported_scores, mistakes, most_changed
from kdtool.report.sections.cost.comparison import (
    comparison_rows,
    cost_comparisons,
    p50_cell,
)
from kdtool.results.profile import TrainingCluster


def row(results, key):
    return next(row for row in comparison_rows(results) if row.key == key)


def test_every_number_of_the_comparison_stands_in_the_results(build):
    results = build()
    for column, role in enumerate(("teacher", "control", "student")):
        model = results.models[role]
        latency = model.files["fp32"].latency
        cells = {row.key: row.cells[column] for row in comparison_rows(results)}
        low, high = model.test["accuracy"].ci95
        assert cells["score"].value.split() == [f"{100 * model.test['accuracy'].mean:.2f}", "%"]
        assert cells["score"].interval == f"{100 * low:.2f} to {100 * high:.2f}"
        assert cells["std"].value == f"{100 * model.test['accuracy'].std:.2f}"
        assert cells["num_params"].value == f"{model.num_params:,}"
        assert cells["num_macs"].value == f"{model.num_macs:,}"
        assert cells["num_flops"].value == f"{2 * model.num_macs:,}"
        assert cells["thop_macs"].value == f"{model.thop_macs:,}"
        assert float(cells["p50"].value.split()[0]) == pytest.approx(latency.p50_ms, rel=0.005)
        assert float(cells["p90"].value.split()[0]) == pytest.approx(latency.p90_ms, rel=0.005)


def test_costs_are_told_against_the_teacher_and_the_worse_is_marked(build, typed):
    results = build()
    teacher, control, student = row(results, "num_params").cells
    assert (teacher.relative, typed(student.relative)) == ("", "1.22x more")
    assert student.worse
    assert control == student
    assert not row(results, "num_flops").cells[2].worse


@pytest.mark.parametrize("lower", ["params_at_least", "macs_at_least"])
def test_a_lower_bound_is_marked_in_its_own_row_and_not_compared(build, typed, lower):
    results = build()
    teacher = results.models["teacher"].model_copy(update={lower: True})
    marked = results.model_copy(update={"models": results.models | {"teacher": teacher}})
    own = {"params_at_least": ["num_params"], "macs_at_least": ["num_macs", "num_flops"]}[lower]
    for key in ("num_params", "num_macs", "num_flops"):
        before, after = row(results, key).cells, row(marked, key).cells
        if key in own:
            assert typed(after[0].value) == f">= {before[0].value}"
            assert typed(after[0].short) == f">= {typed(before[0].short)}"
            assert [cell.relative for cell in after] == ["", "", ""]
        else:
            assert after == before
    phrases = {phrase for _, phrase in cost_comparisons(marked.models["student"], teacher)}
    before = cost_comparisons(results.models["student"], results.models["teacher"])
    lost = "parameters" if lower == "params_at_least" else "FLOPs"
    assert phrases == {phrase for _, phrase in before if not phrase.endswith(lost)}
    texts = [fact.value for fact in provenance_section(marked).counts]
    assert any(">=" in typed(text) for text in texts) == (lower == "macs_at_least")


def test_rows_that_nobody_measured_are_left_out(build):
    keys = [row.key for row in comparison_rows(build(seeds=(0,), latency=False))]
    assert "p50" not in keys
    assert "std" not in keys
    assert "size" in keys


def test_models_of_a_cluster_are_listed_with_its_size_and_no_names(build):
    results = build(roles=("student",), seeds=(0, 1))
    cluster = TrainingCluster(num_nodes=3, num_workers=12, num_threads=2)
    student = results.models["student"]
    first = student.seeds[0].model_copy(update={"trained_on": cluster})
    there = student.model_copy(update={"seeds": [first, student.seeds[1]]})
    rows = provenance_section(results.model_copy(update={"models": {"student": there}})).runs
    assert [row.device for row in rows] == ["cpu, bf16, on a Ray cluster of 3 nodes", "cpu, bf16"]


def test_without_teacher_nothing_is_relative(build):
    rows = comparison_rows(build(roles=("student",)))
    assert {cell.relative for row in rows for cell in row.cells} == {""}


def test_class_delta_is_recall_of_student_minus_control(build):
    results = build()
    scores = exported_scores(results)
    for index, found in enumerate(class_rows(results)):
        recalls = {
            role: test.confusion[index][index] / sum(test.confusion[index])
            for role, test in scores.items()
        }
        assert found.delta == pytest.approx(recalls["student"] - recalls["control"])


def test_most_changed_classes_have_the_largest_deltas(build):
    rows = class_rows(build(classes=[f"c{i}" for i in range(40)]))
    changed = most_changed(rows)
    smallest = min(abs(row.delta) for row in changed)
    assert all(abs(row.delta) <= smallest for row in rows if row not in changed)
    assert [row.delta for row in changed] == sorted((r.delta for r in changed), reverse=True)


def test_mistakes_are_the_largest_cells_off_the_diagonal(build):
    results = build()
    matrix = exported_scores(results)["student"].confusion
    wrong = sorted(
        (n for i, r in enumerate(matrix) for j, n in enumerate(r) if i != j), reverse=True
    )
    found = mistakes(results)
    assert [mistake.counts["student"] for mistake in found] == wrong[:5]
    assert found[0].counts["student"] == matrix[int(found[0].true)][int(found[0].predicted)]


@pytest.mark.parametrize(
    ("interval", "relative"),
    [
        ((0.97, 0.985), "1.02x faster"),
        ((0.97, 0.995), "no measurable difference"),
        ((1.011, 1.03), "1.02x slower"),
    ],
)
def test_two_models_of_the_comparison_table_use_the_same_rule(build, typed, interval, relative):
    latency = build().models["teacher"].files["fp32"].latency
    other = latency.model_copy(update={"p50_ms": 1.0, "p50_ci95_ms": (1.0, 1.0)})
    one = latency.model_copy(update={"p50_ms": sum(interval) / 2, "p50_ci95_ms": interval})
    cell = p50_cell(one, other)
    assert typed(cell.relative) == relative
    assert cell.worse == relative.endswith("slower")
