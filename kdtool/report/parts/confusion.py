"""Confusion matrices as figures."""

from typing import TYPE_CHECKING

from kdtool.format import count, printable
from kdtool.report.parts.canvas import LIGHT, PALEST, STRONGEST, cut_short, new_figure, quiet_axes
from kdtool.results.base import Role
from kdtool.results.study import TestScores

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MOST_WITH_NUMBERS = 12  # classes; more, and a cell is too small for a number
MOST_WITH_NAMES = 30
LONGEST_NAME = 11  # characters


def confusion_figures(scores: dict[Role, TestScores], classes: list[str]) -> "dict[Role, Figure]":
    """Draw a confusion matrix a role; equal shades are equal shares of a class in all of them."""
    shares = [share for test in scores.values() for share in _mistaken(test.confusion).values()]
    darkest = max(shares, default=1.0)
    return {
        role: _matrix(test.confusion, classes, LIGHT[role], darkest)
        for role, test in scores.items()
    }


def _mistaken(confusion: list[list[int]]) -> dict[tuple[int, int], float]:
    """Return the mistakes: (true, predicted) -> share of the images of the true class."""
    return {
        (true, predicted): number / sum(row)
        for true, row in enumerate(confusion)
        for predicted, number in enumerate(row)
        if number and true != predicted
    }


def _matrix(confusion: list[list[int]], classes: list[str], color: str, darkest: float) -> "Figure":
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    num_classes = len(classes)
    figure = new_figure(310, 310)
    axes = figure.add_subplot()
    quiet_axes(axes, grid="")
    axes.set(xlim=(-0.5, num_classes - 0.5), ylim=(num_classes - 0.5, -0.5), aspect="equal")
    wrong = _mistaken(confusion)
    with_numbers = num_classes <= MOST_WITH_NUMBERS
    # A cell without a number is small: it needs a stronger colour to be visible.
    palest, strongest = (PALEST, STRONGEST) if with_numbers else (0.4, 1.0)
    shades = {
        cell: palest + (strongest - palest) * (share / darkest) for cell, share in wrong.items()
    }
    diagonal = {(index, index): to_rgba(LIGHT["faint"]) for index in range(num_classes)}
    cells = diagonal | {cell: to_rgba(color, shade) for cell, shade in shades.items()}
    half = 0.48 if with_numbers else 0.5
    squares = [_square(true, predicted, half) for true, predicted in cells]
    axes.add_collection(PolyCollection(squares, facecolors=list(cells.values()), linewidths=0))
    size = 10 if num_classes > 6 else 13
    if with_numbers:
        for true, predicted in cells:
            ink = "muted" if true == predicted else "ink"
            text = count(confusion[true][predicted])
            axes.text(predicted, true, text, ha="center", va="center", size=size, color=LIGHT[ink])
    _name_axes(axes, classes)
    return figure


def _square(row: int, column: int, half: float) -> list[tuple[float, float]]:
    left, right, top, bottom = column - half, column + half, row - half, row + half
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _name_axes(axes: "Axes", classes: list[str]) -> None:
    axes.set(xlabel="predicted class", ylabel="true class")
    for side in axes.spines.values():
        side.set(visible=True, color=LIGHT["line"])
    if len(classes) > MOST_WITH_NAMES:
        axes.set(xlabel="number of the predicted class", ylabel="number of the true class")
        return
    names = [cut_short(printable(name), LONGEST_NAME) for name in classes]
    size = 11 if len(classes) <= MOST_WITH_NUMBERS else 8
    turned = max(len(name) for name in names) > 2
    axes.set_xticks(range(len(names)), names, size=size, rotation=90 if turned else 0)
    axes.set_yticks(range(len(names)), names, size=size)
