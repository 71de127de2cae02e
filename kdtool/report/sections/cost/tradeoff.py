"""Accuracy against latency, of every file on every machine, and how much the latency varies."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kdtool.format import printable, role_name
from kdtool.report.parts.canvas import (
    LIGHT,
    Drawing,
    label,
    new_figure,
    quiet_axes,
    small_drawing,
    spread,
    time_axis,
)
from kdtool.report.parts.measured import Measured, measured
from kdtool.results.study import Results
from kdtool.stats.intervals import wilson_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MARKERS = "osD^vP"  # one a machine
PERCENTILES = ("p90_ms", "p95_ms", "p99_ms")


@dataclass(frozen=True, kw_only=True, slots=True)
class TradeoffSection:
    """Accuracy against latency, and how much the latency varies."""

    LINK: ClassVar = "Cost"

    figure: Drawing
    percentiles: Drawing
    machines: list[str]  # in the order of the markers; empty: there is one
    has_noise: bool


def section(results: Results) -> TradeoffSection | None:
    """Return accuracy against latency; None if no file was timed."""
    rows = fastest_settings(measured(results))
    if not rows:
        return None
    machines = list(dict.fromkeys(row.machine for row in rows))
    return TradeoffSection(
        figure=small_drawing(
            "tradeoff",
            "Accuracy of the files against their median latency",
            lambda width: tradeoff_figure(rows, results.data.num_test, width),
        ),
        percentiles=small_drawing(
            "percentiles",
            "Latency of the files, from the median to the 99th percentile",
            lambda width: percentile_figure(rows, width),
        ),
        machines=[printable(one) for one in machines] if len(machines) > 1 else [],
        has_noise=any(row.latency.noise for row in rows),
    )


def fastest_settings(rows: list[Measured]) -> list[Measured]:
    """Return the fastest quiet measurement of each file on each machine, with a batch of one.

    Those of a runtime that gives other answers are left out.
    """
    found: dict[tuple[str, str], Measured] = {}
    for row in rows:
        key = (row.machine, row.file.path)
        if row.other_answers or row.latency.batch_size != 1:
            continue
        if key not in found or _rank(row) < _rank(found[key]):
            found[key] = row
    return list(found.values())


def _rank(row: Measured) -> tuple[bool, float]:
    return row.latency.noise is not None, row.latency.p50_ms  # quiet ones first


def file_name(row: Measured) -> str:
    """Return a file in words, with a star if its time was measured on a busy machine."""
    precision = "" if row.precision == "fp32" else f" {row.precision}"
    return f"{role_name(row.role)}{precision}{'*' if row.latency.noise else ''}"


def pareto(rows: list[Measured]) -> list[Measured]:
    """Return the files of one machine than which no other is both faster and as accurate."""
    best: list[Measured] = []
    for row in sorted(rows, key=lambda one: (one.latency.p50_ms, -one.file.accuracy)):
        if not best or row.file.accuracy > best[-1].file.accuracy:
            best.append(row)
    return best


def tradeoff_figure(rows: list[Measured], num_images: int, width: int) -> "Figure":
    """Draw a cross of 95 % intervals for each file and machine, and each machine's Pareto line."""
    figure = new_figure(width, 330)
    axes = figure.add_subplot()
    quiet_axes(axes)
    time_axis(axes, [row.latency.p50_ms for row in rows])
    machines = list(dict.fromkeys(row.machine for row in rows))
    for number, machine in enumerate(machines):
        own = [row for row in rows if row.machine == machine]
        line = pareto(own)
        axes.plot(
            [row.latency.p50_ms for row in line],
            [100 * row.file.accuracy for row in line],
            color=LIGHT["muted"],
            linewidth=1,
            linestyle=(0, (4, 3)),
        )
        for row in own:
            _cross(axes, row, num_images, MARKERS[number % len(MARKERS)])
    axes.margins(0.12)
    axes.autoscale_view()
    axes.set_xlabel("median latency, ms")
    axes.set_ylabel("accuracy, %")
    _name_points(axes, rows)
    return figure


def _cross(axes: "Axes", row: Measured, num_images: int, marker: str) -> None:
    x, y, color = row.latency.p50_ms, 100 * row.file.accuracy, LIGHT[row.role]
    low, high = wilson_interval(round(row.file.accuracy * num_images), num_images)
    axes.plot([x, x], [100 * low, 100 * high], color=color, linewidth=2, alpha=0.5)
    axes.plot(row.latency.p50_ci95_ms, [y, y], color=color, linewidth=2, alpha=0.5)
    is_fp32 = row.precision == "fp32"
    face = color if is_fp32 else LIGHT["panel"]
    axes.plot(x, y, marker, color=color, markerfacecolor=face, markersize=8, zorder=4)


def _name_points(axes: "Axes", rows: list[Measured]) -> None:
    """Name each file once, at its first machine, with the names moved apart where too near."""
    named: dict[str, Measured] = {}
    for row in rows:
        named.setdefault(row.file.path, row)
    low, high = axes.get_ylim()
    heights = spread([100 * row.file.accuracy for row in named.values()], 0.055 * (high - low))
    left, right = axes.get_xlim()
    for row, height in zip(named.values(), heights, strict=True):
        x = row.latency.p50_ms
        is_log = axes.get_xscale() == "log"
        place = (
            math.log(x / left) / math.log(right / left) if is_log else (x - left) / (right - left)
        )
        offset = (-10, 0) if place > 0.6 else (10, 0)
        label(axes, file_name(row), (x, height), offset, LIGHT[row.role])


def percentile_figure(rows: list[Measured], width: int) -> "Figure":
    """Draw a line from the median to the last percentile of each file, machine by machine."""
    figure = new_figure(width, 60 + 26 * len(rows))
    axes = figure.add_subplot()
    quiet_axes(axes, grid="x")
    for place, row in enumerate(rows):
        latency, color = row.latency, LIGHT[row.role]
        tail = [value for name in PERCENTILES if (value := getattr(latency, name)) is not None]
        axes.plot([latency.p50_ms, *tail], [place] * (1 + len(tail)), color=color, linewidth=2)
        axes.plot(tail, [place] * len(tail), "|", color=color, markersize=10, markeredgewidth=2)
        axes.plot(latency.p50_ms, place, "o", color=color, markersize=8)
    times = [value for row in rows for value in (row.latency.p50_ms, row.latency.p99_ms) if value]
    time_axis(axes, times)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    machines = list(dict.fromkeys(row.machine for row in rows))
    names = [
        file_name(row) + (f" ({1 + machines.index(row.machine)})" if len(machines) > 1 else "")
        for row in rows
    ]
    axes.set_yticks(range(len(rows)), names)
    for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
        tick.set_color(LIGHT[row.role])
    axes.set_xlabel("latency, ms: dot p50; marks p90, p95, p99")
    return figure
