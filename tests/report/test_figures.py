import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex

from kdtool.report.canvas import LIGHT
from kdtool.report.confusion import confusion_figures
from kdtool.report.measured import measured
from kdtool.report.sections import sweep
from kdtool.report.sections.classes import exported_scores
from kdtool.report.sections.comparison import cost_bars
from kdtool.report.sections.devices import device_bars, side_by_side
from kdtool.report.sections.saliency import BACKDROP, load_saliency
from kdtool.report.sections.sweep import sweep_figure
from kdtool.report.sections.training import score_by_epoch
from kdtool.report.sections.verdict import differences


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def test_bars_start_at_zero_and_are_as_long_as_the_numbers(build):
    results = build()
    figures = cost_bars(results)
    expected = {
        "params": [model.num_params for model in results.models.values()],
        "flops": [model.num_flops for model in results.models.values()],
        "latency": [model.files["fp32"].latency.p50_ms for model in results.models.values()],
    }
    for name, values in expected.items():
        axes = figures[name].axes[0]
        assert [bar.get_width() for bar in axes.patches] == values
        assert axes.get_xlim()[0] == 0


def test_bars_leave_out_latency_that_was_not_measured(build):
    assert list(cost_bars(build(latency=False))) == ["params", "flops"]


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
