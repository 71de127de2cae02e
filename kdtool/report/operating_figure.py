"""Where the models stand between misses and false alarms."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from kdtool.evidence import Rates
from kdtool.report.canvas import LIGHT, label_ends, new_figure, quiet_axes
from kdtool.report.operating import operating_points
from kdtool.report.words import plain, spoken
from kdtool.results import Results


def operating_figure(results: Results, width: int) -> Figure | None:
    """Draw where the models stand between misses and false alarms, on validation and test."""
    points = operating_points(results)
    if not points:
        return None
    figure = new_figure(width, min(width, 330))
    axes = figure.add_subplot()
    quiet_axes(axes)
    for role, point in points.items():
        before, after = (
            (100 * (1 - rates.specificity), 100 * rates.sensitivity)
            for rates in (point.validation, point.test)
        )
        _cross(axes, point.test, after, LIGHT[role])
        axes.plot(*zip(before, after, strict=True), color=LIGHT[role], linewidth=1, alpha=0.6)
        axes.plot(*before, "o", color=LIGHT[role], markerfacecolor=LIGHT["panel"], markersize=7)
        axes.plot(*after, "o", color=LIGHT[role], markersize=8)
    positive = plain(results.data.positive or "")
    (negative,) = (plain(name) for name in results.data.classes if name != results.data.positive)
    axes.set_xlabel(f"{negative} called {positive} by mistake, %")
    axes.set_ylabel(f"{positive} found, %")
    axes.margins(0.08)
    axes.autoscale_view()
    ends = {spoken(role): 100 * point.test.sensitivity for role, point in points.items()}
    label_ends(axes, ends, {spoken(role): LIGHT[role] for role in points})
    return figure


def _cross(axes: Axes, rates: Rates, at: tuple[float, float], color: str) -> None:
    x, y = at
    low, high = (100 * (1 - end) for end in reversed(rates.specificity_ci95))
    axes.plot([low, high], [y, y], color=color, linewidth=2, alpha=0.4)
    ends = [100 * end for end in rates.sensitivity_ci95]
    axes.plot([x, x], ends, color=color, linewidth=2, alpha=0.4)
