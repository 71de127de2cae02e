"""Figures of costs: the bars."""

from dataclasses import dataclass
from textwrap import shorten

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdtool.profiles import Latency
from kdtool.record import Interval, Role
from kdtool.report.canvas import LIGHT, label, new_figure, quiet_axes
from kdtool.report.costs import latency_of
from kdtool.report.devices import Measured
from kdtool.report.quantities import milliseconds, short_count
from kdtool.report.words import plain, present, spoken
from kdtool.results import Results


def cost_bars(results: Results) -> dict[str, Figure]:
    """Draw parameters, FLOPs and latency, each as its own small figure."""
    models = {role: results.models[role] for role in present(results)}
    params = {role: model.num_params for role, model in models.items()}
    flops = {role: model.num_flops for role, model in models.items()}
    timed = {role: found for role, model in models.items() if (found := latency_of(model))}
    figures = {
        "params": _bars([Bar(spoken(role), role, n, short_count(n)) for role, n in params.items()]),
        "flops": _bars([Bar(spoken(role), role, n, short_count(n)) for role, n in flops.items()]),
    }
    if timed:
        figures["latency"] = _bars(
            [_latency_bar(spoken(role), role, latency) for role, latency in timed.items()]
        )
    return figures


def device_bars(machines: dict[str, list[Measured]], width: int) -> Figure:
    """Draw the median latency of every file, machine after machine, on one scale."""
    num_rows = sum(1 + len(rows) for rows in machines.values())
    figure = new_figure(width, 16 + 26 * num_rows)
    axes = figure.add_subplot()
    quiet_axes(axes, grid="")
    bars: dict[int, Bar] = {}
    row = 0
    for machine, measured in machines.items():
        name = shorten(plain(machine), (width - 100) // 7, placeholder="...")
        axes.annotate(name, (0, row), color=LIGHT["ink"], va="center", annotation_clip=False)
        for one in measured:
            row += 1
            of = spoken(one.role) + ("" if one.precision == "fp32" else f" {one.precision}")
            bars[row] = _latency_bar(of, one.role, one.latency)
        row += 1
    _draw_bars(axes, bars)
    axes.set_ylim(num_rows - 0.5, -0.5)
    return figure


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar and what stands at its ends."""

    name: str
    role: Role  # gives the colour
    value: float
    label: str
    interval: Interval | None = None

    @property
    def end(self) -> float:
        """Where the ink ends."""
        return max(self.value, self.interval[1]) if self.interval else self.value


def _latency_bar(name: str, role: Role, latency: Latency) -> Bar:
    return Bar(name, role, latency.p50_ms, milliseconds(latency.p50_ms), latency.p50_ci95_ms)


def _bars(bars: list[Bar]) -> Figure:
    figure = new_figure(300, 16 + 32 * len(bars))
    axes = figure.add_subplot()
    quiet_axes(axes, grid="")
    _draw_bars(axes, dict(enumerate(bars)))
    axes.set_ylim(len(bars) - 0.5, -0.5)
    return figure


def _draw_bars(axes: Axes, bars: dict[int, Bar]) -> None:
    """Draw bars from zero, each in its row."""
    colors = [LIGHT[bar.role] for bar in bars.values()]
    axes.barh(list(bars), [bar.value for bar in bars.values()], height=0.6, color=colors)
    for row, bar in bars.items():
        if bar.interval:
            axes.plot(bar.interval, [row, row], color=LIGHT["ink"], linewidth=1.5)
        label(axes, bar.label, (bar.end, row), (8, 0), LIGHT["ink"])
    axes.axvline(0, color=LIGHT["line"], linewidth=1)
    axes.set(xlim=(0, 1.05 * max(bar.end for bar in bars.values()) or 1), xticks=[])
    axes.set_yticks(list(bars), [bar.name for bar in bars.values()])
    for tick, color in zip(axes.get_yticklabels(), colors, strict=True):
        tick.set_color(color)
