"""What a sweep found: for each student that was swept its table, and a curve or a heat map."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kdtool.format import (
    METRIC_NAMES,
    decimals,
    in_percent,
    listed,
    metric_title,
    percent_number,
    printable,
    role_name,
    score_range,
    score_scale,
    score_text,
    test_summary,
    validation_summary,
)
from kdtool.report.parts.canvas import (
    FONT_SIZE,
    LIGHT,
    PALEST,
    STRONGEST,
    Drawing,
    drawing,
    label,
    label_ends,
    new_figure,
    quiet_axes,
    score_axis,
)
from kdtool.results.base import ROLES, Role, Summary
from kdtool.results.evidence import SweepPoint
from kdtool.results.study import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Value = float | int | str

ASIDE = 4  # pixels
NARROW_BELOW = 500  # pixels
MOST_KEYS = 2  # in a figure; only a table shows more


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepRow:
    """The students of one setting."""

    values: list[str]  # in the order of the table's keys
    validation: str
    validation_range: str
    test: str
    test_range: str
    num_seeds: int
    selected: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepTable:
    """The sweep of one student: plain and subclass students are swept over keys of their own."""

    role: Role
    keys: list[str]  # recipe keys
    rows: list[SweepRow]
    figure: Drawing | None  # a curve over one key, a heat map over two; None: more keys


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepSection:
    """What a sweep found, one table a role."""

    LINK: ClassVar = "Sweep"

    metric: str
    in_percent: bool
    tables: list[SweepTable]


def section(results: Results) -> SweepSection | None:
    """Return what the sweeps found; None without one."""
    if not results.sweep:
        return None
    return SweepSection(
        metric=METRIC_NAMES[results.metric],
        in_percent=in_percent(results.metric),
        tables=[_table(results, role, points) for role, points in points_of(results).items()],
    )


def _table(results: Results, role: Role, points: list[SweepPoint]) -> SweepTable:
    keys = [printable(key) for key in points[0].settings]
    title = f"{metric_title(results.metric)} of the {role_name(role)} by {listed(keys)}"
    return SweepTable(
        role=role,
        keys=keys,
        rows=[_row(results, point) for point in points],
        figure=drawing(f"sweep-{role}", title, lambda width: sweep_figure(results, points, width))
        if len(keys) <= MOST_KEYS
        else None,
    )


def points_of(results: Results) -> dict[Role, list[SweepPoint]]:
    """Return the settings that were tried, by the role of their students."""
    found = {role: [point for point in results.sweep if point.role == role] for role in ROLES}
    return {role: points for role, points in found.items() if points}


def _row(results: Results, point: SweepPoint) -> SweepRow:
    metric, validation, test = results.metric, validation_summary(point), test_summary(point)
    return SweepRow(
        values=[printable(str(value)) for value in point.settings.values()],
        validation=score_text(metric, validation.mean),
        validation_range=score_range(metric, validation.ci95),
        test=score_text(metric, test.mean),
        test_range=score_range(metric, test.ci95),
        num_seeds=len(point.seeds),
        selected=point.selected,
    )


def sweep_figure(results: Results, points: list[SweepPoint], width: int) -> "Figure":
    """Draw the settings of one role: a curve over one key, a heat map over two."""
    keys = list(points[0].settings)
    if len(keys) == 1:
        return _curve(results, points, keys[0], width)
    return _heat_map(results, points, keys, width)


def _in_order(values: set[Value]) -> list[Value]:
    return sorted(values, key=lambda value: (isinstance(value, str), value))


def _positions(values: list[Value]) -> tuple[list[float], bool]:
    """Return where values lie on their axis, and whether it is logarithmic."""
    numbers = [float(value) for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return [float(place) for place in range(len(values))], False
    return numbers, numbers[0] > 0 and numbers[-1] > 10 * numbers[0]


def _curve(results: Results, points: list[SweepPoint], key: str, width: int) -> "Figure":
    by_value = {point.settings[key]: point for point in points}
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
        "test": LIGHT[points[0].role],
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


def _heat_map(results: Results, points: list[SweepPoint], keys: list[str], width: int) -> "Figure":
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
        text = percent_number(score, 2) if in_percent(results.metric) else decimals(score)
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
