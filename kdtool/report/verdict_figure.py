"""The differences that the verdicts are about, as one figure."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from kdtool.evidence import Verdict
from kdtool.report import metrics
from kdtool.report.canvas import LIGHT, label, new_figure, quiet_axes
from kdtool.report.words import spoken
from kdtool.results import Results

ROW = 2.6  # height of a verdict, in units of the y axis


def differences(results: Results, verdicts: list[Verdict], width: int) -> Figure:
    """Draw each verdict's interval, one dot a seed, and the line of no difference; on one scale."""
    several = len(verdicts) > 1
    figure = new_figure(width, 50 + 75 * len(verdicts) if several else 112)
    axes = figure.add_subplot()
    quiet_axes(axes, grid="x")
    axes.axvline(0, color=LIGHT["ink"], linewidth=1.5)
    reach = [0.0]
    for row, verdict in enumerate(verdicts):
        reach += _draw(axes, results, verdict, -ROW * row)
    margin = 0.08 * (max(reach) - min(reach) or 1)
    low, high = min(reach) - margin, max(reach) + margin
    axes.set(xlim=(low, high), ylim=(-1 - ROW * (len(verdicts) - 1), 1.2), yticks=[])
    axes.xaxis.set_major_locator(MaxNLocator(6 if width > 400 else 4))
    pairs = [f"{spoken(one.of)} minus {spoken(one.against)}" for one in verdicts]
    if several:
        axes.set_ylim(top=1.9)
        for row, pair in enumerate(pairs):
            place = (low, 1.35 - ROW * row)
            behind = {"facecolor": LIGHT["panel"], "edgecolor": "none", "pad": 2}
            axes.annotate(pair, place, va="center", color=LIGHT["ink"], bbox=behind)
    metric = verdicts[0].metric
    unit = "points of " if metrics.in_percent(metric) else "difference in "
    what = unit + metrics.NAMES[metric]
    axes.set_xlabel(what if several else f"{what}, {pairs[0]}")
    return figure


def _draw(axes: Axes, results: Results, verdict: Verdict, y: float) -> list[float]:
    """Draw one verdict at a height; return how far it reaches, in units of the x axis."""
    metric, scale = verdict.metric, metrics.scale(verdict.metric)
    ours, theirs = (
        {run.seed: metrics.score_of(run.test, metric) for run in results.models[role].seeds}
        for role in (verdict.of, verdict.against)
    )
    pairs = [(mine, theirs.get(seed)) for seed, mine in ours.items()]
    dots = [scale * (a - b) for a, b in pairs if a is not None and b is not None]
    low, high = (scale * end for end in verdict.ci95)
    mean, color = scale * verdict.difference, LIGHT[verdict.of]
    axes.plot([low, high], [y, y], color=color, linewidth=3, solid_capstyle="round")
    axes.plot(mean, y, "D", color=color, markersize=9, markeredgecolor=LIGHT["panel"])
    axes.plot(dots, [y - 0.6] * len(dots), "o", color=LIGHT["muted"], markersize=5)
    label(axes, metrics.change(metric, verdict.difference), (mean, y), (0, 8), color)
    return [low, high, *dots]
