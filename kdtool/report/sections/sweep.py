"""Figures of a sweep: a curve over one key, a heat map over two."""

from typing import TYPE_CHECKING

from kdtool.format import decimals, in_percent, score_scale, test_summary, validation_summary
from kdtool.report.canvas import (
    FONT_SIZE,
    LIGHT,
    PALEST,
    STRONGEST,
    label,
    label_ends,
    new_figure,
    quiet_axes,
    score_axis,
)
from kdtool.results.base import Summary
from kdtool.results.evidence import SweepPoint
from kdtool.results.study import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Value = float | int | str

ASIDE = 4  # pixels
NARROW_BELOW = 500  # pixels


def sweep_figure(results: Results, width: int) -> "Figure | None":
    """Draw the sweep; None without one, or over more than two keys, which only a table shows."""
    keys = list(results.sweep[0].settings) if results.sweep else []
    if len(keys) == 1:
        return _curve(results, keys[0], width)
    return _heat_map(results, keys, width) if len(keys) == 2 else None


def _in_order(values: set[Value]) -> list[Value]:
    return sorted(values, key=lambda value: (isinstance(value, str), value))


def _positions(values: list[Value]) -> tuple[list[float], bool]:
    """Return where values stand on their axis, and whether it is logarithmic."""
    numbers = [float(value) for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return [float(place) for place in range(len(values))], False
    return numbers, numbers[0] > 0 and numbers[-1] > 10 * numbers[0]


def _curve(results: Results, key: str, width: int) -> "Figure":
    by_value = {point.settings[key]: point for point in results.sweep}
    values = _in_order(set(by_value))
    ordered = [by_value[value] for value in values]
    places, is_log = _positions(values)
    figure = new_figure(width, 330 if width > NARROW_BELOW else 290)
    axes = figure.add_subplot()
    quiet_axes(axes)
    axes.set_xscale("log" if is_log else "linear")
    tests = [test_summary(point) for point in ordered]
    validations = [validation_summary(point) for point in ordered]
    scale = score_scale(results.metric)
    colors = {
        "test": LIGHT[results.sweep[0].role],
        "validation": LIGHT["ink"],
        "control": LIGHT["control"],
    }
    for name, scores, aside in (("test", tests, -ASIDE), ("validation", validations, ASIDE)):
        _line(axes, places, [_scaled(score, scale) for score in scores], colors[name], aside)
    ends = {"test": scale * tests[-1].mean, "validation": scale * validations[-1].mean}
    if "control" in results.models:
        ends["control"] = scale * results.models["control"].test[results.metric].mean
        axes.axhline(ends["control"], color=colors["control"], linewidth=1.5, linestyle=(0, (4, 3)))
    axes.margins(x=0.04, y=0.08)
    score_axis(axes, results.metric)
    axes.set_xticks(places, [f"{value}" for value in values])
    axes.set_xticks([], minor=True)
    axes.set_xlabel(key)
    for place, point in zip(places, ordered, strict=True):
        if point.selected:
            axes.axvline(place, color=LIGHT["faint"], linewidth=26, zorder=0.5)
            label(axes, "chosen", (place, axes.get_ylim()[1]), (0, 4), LIGHT["ink"])
    label_ends(axes, ends, colors)
    return figure


def _scaled(score: Summary, scale: int) -> tuple[float, float, float]:
    low, high = score.ci95
    return scale * score.mean, scale * low, scale * high


def _line(
    axes: "Axes",
    places: list[float],
    scores: list[tuple[float, float, float]],
    color: str,
    aside: int,
) -> None:
    """Draw one curve with its intervals, a few pixels aside so that two curves' do not overlap.

    `scores` are mean, lower and upper end of each place.
    """
    from matplotlib.transforms import Affine2D

    means, low, high = zip(*scores, strict=True)
    moved = axes.transData + Affine2D().translate(aside, 0)
    axes.update_datalim([*zip(places, low, strict=True), *zip(places, high, strict=True)])
    axes.vlines(places, low, high, color=color, linewidth=2, alpha=0.45, transform=moved)
    style = "-" if aside < 0 else (0, (2, 1.5))
    axes.plot(places, means, "o", color=color, linestyle=style, linewidth=2, transform=moved)
    axes.autoscale_view()


def _heat_map(results: Results, keys: list[str], width: int) -> "Figure":
    points, metric = results.sweep, results.metric
    across, down = sorted(keys, key=lambda key: len({point.settings[key] for point in points}))
    if width > NARROW_BELOW:  # a phone gets the key with fewer values across, a desktop the other
        across, down = down, across
    columns = _in_order({point.settings[across] for point in points})
    rows = _in_order({point.settings[down] for point in points})
    scores = [validation_summary(point).mean for point in points]
    lowest, span = min(scores), (max(scores) - min(scores)) or 1.0
    figure = new_figure(min(width, 120 + 84 * len(columns)), 70 + 36 * len(rows))
    axes = figure.add_subplot()
    quiet_axes(axes, grid="")
    for point, score in zip(points, scores, strict=True):
        x, y = columns.index(point.settings[across]), rows.index(point.settings[down])
        text = f"{100 * score:.2f}" if in_percent(metric) else decimals(score)
        _heat_cell(axes, (x, y), text, (score - lowest) / span, point)
    axes.set(xlim=(-0.52, len(columns) - 0.48), ylim=(len(rows) - 0.48, -0.52))
    axes.set_xticks(range(len(columns)), [f"{value}" for value in columns])
    axes.set_yticks(range(len(rows)), [f"{value}" for value in rows])
    axes.set_xlabel(f"columns: {across}")
    axes.set_title(f"rows: {down}", loc="left", size=FONT_SIZE, color=LIGHT["muted"])
    return figure


def _heat_cell(
    axes: "Axes", at: tuple[int, int], text: str, rank: float, point: SweepPoint
) -> None:
    from matplotlib.colors import to_rgba
    from matplotlib.patches import Rectangle

    (x, y), chosen = at, point.selected
    color = to_rgba(LIGHT[point.role], PALEST + (STRONGEST - PALEST) * rank)
    edge = LIGHT["ink"] if chosen else "none"
    corner = (x - 0.48, y - 0.46)
    axes.add_patch(Rectangle(corner, 0.96, 0.92, facecolor=color, edgecolor=edge, linewidth=2.5))
    weight = "bold" if chosen else "normal"
    axes.text(x, y, text, ha="center", va="center", color=LIGHT["ink"], weight=weight)
