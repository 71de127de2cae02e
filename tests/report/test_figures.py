import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex

from kdtool.report.parts.canvas import LIGHT
from kdtool.report.parts.confusion import confusion_figures
from kdtool.report.parts.forest import Difference, forest_figure
from kdtool.report.parts.measured import measured
from kdtool.report.sections import sweep
from kdtool.report.sections.classes import exported_scores
from kdtool.report.sections.cost import tradeoff
from kdtool.report.sections.cost.devices import device_bars, side_by_side
from kdtool.report.sections.saliency import BACKDROP, CURVES, curves_figure, load_saliency
from kdtool.report.sections.sweep import sweep_figure
from kdtool.report.sections.training import loss_by_epoch, score_by_epoch
from kdtool.report.sections.verdict import differences


def texts_of(axes):
    return [text.get_text() for text in axes.texts]


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_the_tradeoff_has_a_cross_for_each_file_and_a_pareto_line(build):
    rows = tradeoff.fastest_settings(measured(build(int8=True)))
    axes = tradeoff.tradeoff_figure(rows, 1000, 400).axes[0]
    line, *crosses = axes.lines
    best = tradeoff.pareto(rows)
    assert list(line.get_xdata()) == [row.latency.p50_ms for row in best]
    assert len(crosses) == 3 * len(rows)  # both intervals and the mark
    for number, row in enumerate(rows):
        _, time, mark = crosses[3 * number : 3 * number + 3]
        assert tuple(time.get_xdata()) == row.latency.p50_ci95_ms
        assert list(mark.get_ydata()) == [100 * row.file.accuracy]
    assert sorted(texts_of(axes)) == sorted(tradeoff.file_name(row) for row in rows)


def test_no_file_beats_one_on_the_pareto_line(build):
    rows = tradeoff.fastest_settings(measured(build(int8=True)))
    best = tradeoff.pareto(rows)
    assert best
    for one in best:
        assert not [
            row
            for row in rows
            if row.latency.p50_ms < one.latency.p50_ms and row.file.accuracy >= one.file.accuracy
        ]


def test_percentiles_reach_from_the_median_to_the_last(build):
    rows = tradeoff.fastest_settings(measured(build()))
    axes = tradeoff.percentile_figure(rows, 400).axes[0]
    for row, line in zip(rows, axes.lines[::3], strict=True):
        latency = row.latency
        tail = [one for one in (latency.p90_ms, latency.p95_ms, latency.p99_ms) if one is not None]
        assert list(line.get_xdata()) == [latency.p50_ms, *tail]


def test_without_latency_there_is_no_tradeoff(build):
    assert tradeoff.section(build(latency=False)) is None


def test_a_forest_plot_colours_only_what_is_clear():
    rows = [
        Difference(name="cat", value=0.03, ci95=(0.01, 0.05), is_clear=True),
        Difference(
            name="a dog of a very long name indeed", value=-0.02, ci95=(-0.05, 0.01), is_clear=False
        ),
        Difference(name="owl", value=-0.04, ci95=(-0.06, -0.02), is_clear=True),
    ]
    axes = forest_figure(rows, "points", 340).axes[0]
    marks = axes.lines[2::2]
    assert [to_hex(line.get_color()) for line in marks] == [
        LIGHT["better"],
        LIGHT["muted"],
        LIGHT["worse"],
    ]
    assert [line.get_xdata()[0] for line in marks] == pytest.approx([3, -2, -4])
    assert list(axes.lines[1].get_xdata()) == pytest.approx([1, 5])
    assert axes.get_yticklabels()[1].get_text().endswith("\N{HORIZONTAL ELLIPSIS}")


def test_the_loss_of_students_on_training_images_is_not_drawn(build):
    results = build()
    axes = loss_by_epoch(results, 400).axes[0]
    assert len(axes.lines) == 5  # validation of three roles, training of teacher and control
    control = results.models["control"]
    expected = np.mean(
        [[one.validation_loss for one in run.epochs] for run in control.seeds], axis=0
    )
    drawn = [list(line.get_ydata()) for line in axes.lines]
    assert any(curve == pytest.approx(list(expected)) for curve in drawn)


def test_difference_shows_zero_the_interval_and_every_seed(build):
    results = build()
    verdict = results.verdicts[0]
    axes = differences(results, [verdict], 400).axes[0]
    zero, interval, mean, dots = (line.get_xdata() for line in axes.lines)
    assert list(zero) == [0, 0]
    assert list(interval) == pytest.approx([100 * end for end in verdict.ci95])
    assert list(mean) == pytest.approx([100 * verdict.difference])
    assert np.mean(dots) == pytest.approx(100 * verdict.difference)
    assert len(dots) == 3
    low, high = axes.get_xlim()
    assert low < 0 < verdict.ci95[1] * 100 < high


def test_epochs_draw_every_seed_thin_and_their_mean_bold(build):
    results = build(roles=("student",))
    axes = score_by_epoch(results, 960).axes[0]
    curves = [line for line in axes.lines if len(line.get_xdata()) == 12]
    *seeds, mean = curves
    assert len(seeds) == 3
    assert mean.get_linewidth() > 2 * seeds[0].get_linewidth()
    expected = np.mean([line.get_ydata() for line in seeds], axis=0)
    np.testing.assert_allclose(mean.get_ydata(), expected)
    low, high = axes.get_ylim()
    assert all(low < line.get_ydata()[-1] < high for line in curves)
    assert texts(axes.figure) == ["student"]


@pytest.mark.parametrize(("values", "scale"), [((1, 2, 4, 16), "log"), ((2, 4, 8), "linear")])
def test_sweep_is_logarithmic_where_it_spans_more_than_ten_times(build, values, scale):
    results = build(sweep_keys=1)
    points = [
        point.model_copy(update={"settings": {"distill.temperature": value}})
        for value, point in zip(values, results.sweep, strict=False)
    ]
    axes = sweep_figure(results, points, 960).axes[0]
    assert axes.get_xscale() == scale
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [str(v) for v in values]


def test_sweep_marks_the_chosen_value_only(build):
    results = build(sweep_keys=1)
    figure = sweep_figure(results, results.sweep, 960)
    assert sorted(texts(figure)) == ["chosen", "control", "test", "validation"]
    chosen = next(text for text in figure.axes[0].texts if text.get_text() == "chosen")
    assert chosen.xy[0] == 8


def test_sweep_over_words_has_them_on_its_axis(build):
    results = build(sweep_keys=1)
    points = [
        point.model_copy(update={"settings": {"student.optimizer": name}})
        for name, point in zip(("sgd", "adam"), results.sweep, strict=False)
    ]
    axes = sweep_figure(results, points, 960).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["adam", "sgd"]


@pytest.mark.parametrize(("width", "across"), [(960, 6), (340, 2)])
def test_sweep_over_two_keys_is_a_map_with_the_numbers(build, width, across):
    results = build(sweep_keys=2)
    figure = sweep_figure(results, results.sweep, width)
    expected = sorted(f"{100 * p.validation_accuracy.mean:.2f}" for p in results.sweep)
    assert sorted(texts(figure)) == expected
    assert len(figure.axes[0].get_xticks()) == across
    edges = [patch.get_edgecolor()[3] for patch in figure.axes[0].patches]
    assert sum(edge > 0 for edge in edges) == 1


def test_a_sweep_over_three_keys_has_a_table_only(build):
    assert sweep.section(build()) is None
    (table,) = sweep.section(build(sweep_keys=3)).tables
    assert table.figure is None
    assert len(table.rows) == 6


def test_confusion_shades_mean_the_same_share_in_every_model(build):
    scores = exported_scores(build())
    figures = confusion_figures(scores, list("0123456789"))
    shades = {}
    for role, figure in figures.items():
        confusion = scores[role].confusion
        colors = figure.axes[0].collections[0].get_facecolor()[10:]  # after the diagonal
        wrong = [n for i, row in enumerate(confusion) for j, n in enumerate(row) if n and i != j]
        for number, color in zip(wrong, colors, strict=True):
            shades.setdefault(number, set()).add(round(float(color[3]), 6))
        assert sum(int(text) for text in texts(figure)) == 10_000
    assert all(len(found) == 1 for found in shades.values())
    assert [shades[number] for number in sorted(shades)] == sorted(shades.values(), key=min)


def test_confusion_of_many_classes_has_no_numbers(build):
    classes = [f"class {i}" for i in range(40)]
    scores = exported_scores(build(classes=classes, seeds=(0,)))
    for figure in confusion_figures(scores, classes).values():
        assert texts(figure) == []
        assert "number of" in figure.axes[0].get_xlabel()


def test_heat_lies_over_the_dimmed_image(build, tmp_path):
    explain = build(explain=True).explain
    images = np.zeros((8, 2, 2, 1), np.uint8)
    images[:, 0, 0] = 255
    heat = np.zeros((8, 2, 2), np.float32)
    heat[:, 1, 1] = 1
    np.savez(tmp_path / "saliency.npz", images=images, student=heat)
    saliency = load_saliency(explain, tmp_path)
    assert list(saliency.heatmaps) == ["student"]
    picture = saliency.heatmaps["student"][0]
    assert saliency.images[0].shape == picture.shape == (2, 2, 3)
    assert picture[0, 1].max() < 8  # neither ink nor heat: black
    assert abs(int(picture[0, 0].min()) - round(255 * BACKDROP)) < 3  # ink without heat: grey
    assert picture[1, 1].min() > 150  # heat: bright


@pytest.mark.parametrize("width", [340, 960])
def test_deletion_and_insertion_have_a_line_for_each_model_and_dashed_a_random_order(build, width):
    found = build(explain=True).explain.faithfulness
    left, right = curves_figure(found, width).axes
    shares = np.linspace(0, 100, 17)
    kinds = (("random_deletion_curve", "deletion_curve"),
             ("random_insertion_curve", "insertion_curve"))  # fmt: skip
    for axes, names in zip((left, right), kinds, strict=True):
        curves = [(role, getattr(one, name)) for role, one in found.items() for name in names]
        for line, (role, curve) in zip(axes.lines, curves, strict=False):
            np.testing.assert_array_equal(line.get_xdata(), shares)
            assert list(line.get_ydata()) == curve.means
            assert to_hex(line.get_color()) == to_hex(LIGHT[role])
        styles = [line.get_linestyle() for line in axes.lines[: len(curves)]]
        assert styles == ["--", "-"] * len(found)
        for area, one in zip(axes.collections, found.values(), strict=True):
            corners = area.get_paths()[0].vertices
            for share, ends in zip(shares, getattr(one, names[1]).ci95, strict=True):
                assert {(share, end) for end in ends} <= set(map(tuple, corners))
    named = [text.get_text() for text in left.get_legend().get_texts()]
    assert named == ["teacher", "control", "student", "in a random order"]
    assert left.get_position().x0 == pytest.approx(right.get_position().x0) or width == 960


def test_saliency_of_an_older_study_has_no_curves(build, write):
    results = build(explain=True)
    kinds = ("deletion", "insertion", "random_deletion", "random_insertion")
    old = {
        role: one.model_copy(update={f"{kind}_curve": None for kind in kinds})
        for role, one in results.explain.faithfulness.items()
    }
    explain = results.explain.model_copy(update={"faithfulness": old})
    for study, present in (
        (results, True),
        (results.model_copy(update={"explain": explain}), False),
    ):
        html, markdown = write(study)
        assert ("figures/saliency-curves.svg" in markdown) == present
        assert (CURVES in html) == present  # the title of the figure
        assert ("dashed lines are a random order" in html) == present


def test_devices_share_one_scale_and_name_every_machine(build):
    results = build(int8=True, devices=(("Pi", 6.0, 1.1), ("x" * 200, 2.0, None)))
    rows = side_by_side(measured(results))
    axes = device_bars(rows, 340).axes[0]
    expected = [row.latency.p50_ms for found in rows.values() for row in found]
    assert [bar.get_width() for bar in axes.patches] == expected
    assert axes.get_xlim()[0] == 0
    names = [text for text in texts(axes.figure) if " ms" not in text.replace("\xa0", " ")]
    assert names == ["Intel Xeon, 2.9 GHz, 2 cores", "Pi, 4 cores", "..."]
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == ["teacher", "control", *["student", "student int8"] * 3]


def test_sweep_takes_the_colour_of_the_student_that_was_swept(build):
    points = [
        point.model_copy(
            update={
                "role": "subclass-student",
                "settings": {"subclass.per_class": 2 + i % 6, "subclass.temperature": 1 + i // 6},
            }
        )
        for i, point in enumerate(build(sweep_keys=2).sweep)
    ]
    axes = sweep_figure(build(), points, 960).axes[0]
    assert {to_hex(patch.get_facecolor()) for patch in axes.patches} == {LIGHT["subclass-student"]}
    assert "subclass.per_class" in axes.get_xlabel()
