"""Figures of scores and costs: the difference, accuracy by epoch, the bars."""

import math

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdtool.record import Interval
from kdtool.report.canvas import LIGHT, label, label_ends, new_figure, percent_axis, quiet_axes
from kdtool.report.costs import latency_of
from kdtool.report.quantities import milliseconds, points, short_count
from kdtool.report.words import present
from kdtool.results import Results, Role, Verdict


def difference(results: Results, verdict: Verdict, width: int) -> Figure:
    """Draw a verdict's difference: its interval, one dot a seed, and the line of no difference."""
    of, against = results.models[verdict.of], results.models[verdict.against]
    scores = {run.seed: run.test.accuracy for run in against.seeds}
    dots = [100 * (run.test.accuracy - scores[run.seed]) for run in of.seeds if run.seed in scores]
    low, high = (100 * end for end in verdict.ci95)
    mean, color = 100 * verdict.difference, LIGHT[verdict.of]
    figure = new_figure(width, 112)
    axes = figure.add_subplot()
    quiet_axes(axes, grid="x")
    axes.axvline(0, color=LIGHT["ink"], linewidth=1.5)
    axes.plot([low, high], [0, 0], color=color, linewidth=3, solid_capstyle="round")
    axes.plot(mean, 0, "D", color=color, markersize=9, markeredgecolor=LIGHT["panel"])
    axes.plot(dots, [-0.6] * len(dots), "o", color=LIGHT["muted"], markersize=5)
    label(axes, points(mean / 100), (mean, 0), (0, 8), color)
    reach = [0.0, low, high, *dots]
    margin = 0.08 * (max(reach) - min(reach) or 1)
    axes.set(xlim=(min(reach) - margin, max(reach) + margin), ylim=(-1, 1.2), yticks=[])
    axes.xaxis.set_major_locator(MaxNLocator(6 if width > 400 else 4))
    axes.set_xlabel(f"points of accuracy, {verdict.of} minus {verdict.against}")
    return figure


def accuracy_by_epoch(results: Results, width: int) -> Figure:
    """Draw validation accuracy: one thin line a seed, the mean bold, a dot at the kept epoch."""
    figure = new_figure(width, 340 if width > 500 else 280)
    axes = figure.add_subplot()
    quiet_axes(axes)
    ends: dict[str, float] = {}
    longest = 2
    for role in present(results):
        runs, color = results.models[role].seeds, LIGHT[role]
        curves = [[100 * epoch.validation_accuracy for epoch in run.epochs] for run in runs]
        for run, curve in zip(runs, curves, strict=True):
            axes.plot(range(1, len(curve) + 1), curve, color=color, linewidth=1, alpha=0.45)
            kept = curve[run.best_epoch - 1]
            axes.plot(run.best_epoch, kept, "o", color=color, markersize=5, clip_on=False)
        common = min(len(curve) for curve in curves)
        mean = np.mean([curve[:common] for curve in curves], axis=0)
        axes.plot(range(1, common + 1), mean, color=color, linewidth=2.5)
        longest = max(longest, *(len(curve) for curve in curves))
        ends[role] = float(mean[-1])
    axes.set(xlim=(1, longest), ylim=_epoch_limits(results), xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(12 if width > 500 else 6, integer=True))
    percent_axis(axes)
    label_ends(axes, ends, LIGHT)
    return figure


def _epoch_limits(results: Results) -> tuple[float, float]:
    """Return y limits, in percent, that show the end of training; its steep start may be cut."""
    late: list[float] = []
    for model in results.models.values():
        for run in model.seeds:
            values = [100 * epoch.validation_accuracy for epoch in run.epochs]
            late += values[math.ceil(len(values) / 6) :] or values
    low, high = min(late, default=0.0), max(late, default=100.0)
    margin = 0.08 * (high - low) or 0.5
    return low - margin, min(high + margin, 100 + margin / 4)


def cost_bars(results: Results) -> dict[str, Figure]:
    """Draw parameters, FLOPs and latency, each as its own small figure."""
    models = {role: results.models[role] for role in present(results)}
    params = {role: model.num_params for role, model in models.items()}
    flops = {role: model.num_flops for role, model in models.items()}
    timed = {role: found for role, model in models.items() if (found := latency_of(model))}
    figures = {
        "params": _bars(params, {role: short_count(n) for role, n in params.items()}, {}),
        "flops": _bars(flops, {role: short_count(n) for role, n in flops.items()}, {}),
    }
    if timed:
        figures["latency"] = _bars(
            {role: latency.p50_ms for role, latency in timed.items()},
            {role: milliseconds(latency.p50_ms) for role, latency in timed.items()},
            {role: latency.p50_ci95_ms for role, latency in timed.items()},
        )
    return figures


def _bars(
    values: dict[Role, int] | dict[Role, float],
    labels: dict[Role, str],
    intervals: dict[Role, Interval],
) -> Figure:
    figure = new_figure(300, 16 + 32 * len(values))
    axes = figure.add_subplot()
    quiet_axes(axes, grid="")
    colors = [LIGHT[role] for role in values]
    axes.barh(range(len(values)), list(values.values()), height=0.6, color=colors)
    ends = {role: max([value, *intervals.get(role, ())]) for role, value in values.items()}
    for row, role in enumerate(values):
        if role in intervals:
            axes.plot(intervals[role], [row, row], color=LIGHT["ink"], linewidth=1.5)
        label(axes, labels[role], (ends[role], row), (8, 0), LIGHT["ink"])
    axes.axvline(0, color=LIGHT["line"], linewidth=1)
    axes.set(xlim=(0, 1.05 * max(ends.values()) or 1), ylim=(len(values) - 0.5, -0.5), xticks=[])
    axes.set_yticks(range(len(values)), list(values))
    for tick, color in zip(axes.get_yticklabels(), colors, strict=True):
        tick.set_color(color)
    return figure
