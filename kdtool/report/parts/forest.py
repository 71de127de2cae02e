"""A forest plot: differences with their intervals, one a row."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdtool.report.parts.canvas import LIGHT, cut_short, new_figure, quiet_axes
from kdtool.results.base import Interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One row of the plot."""

    name: str
    value: float  # in [-1, 1]
    ci95: Interval
    is_clear: bool  # corrected for the number of rows


def forest_figure(rows: list[Difference], title: str, width: int) -> "Figure":
    """Draw each difference in points with its interval; those that are clear are coloured.

    Args:
        rows: From top to bottom.
        title: Of the x axis.
        width: In pixels.
    """
    figure = new_figure(width, 60 + 22 * len(rows))
    axes = figure.add_subplot()
    quiet_axes(axes, grid="x")
    axes.axvline(0, color=LIGHT["ink"], linewidth=1.5)
    for place, row in enumerate(rows):
        color = LIGHT["muted"]
        if row.is_clear:
            color = LIGHT["better" if row.value > 0 else "worse"]
        axes.plot([100 * end for end in row.ci95], [place, place], color=color, linewidth=2)
        face = color if row.is_clear else LIGHT["panel"]
        axes.plot(100 * row.value, place, "o", color=color, markerfacecolor=face, markersize=7)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    longest = max(8, width // 16)
    axes.set_yticks(range(len(rows)), [cut_short(row.name, longest) for row in rows])
    axes.set_xlabel(title)
    return figure
