"""Coverage against accuracy: how sure the shipped model must be to answer."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kdtool.format import (
    count,
    percent,
    percent_range,
    plural,
    probability,
    role_name,
    whole_percent,
)
from kdtool.report.parts.canvas import LIGHT, Drawing, new_figure, quiet_axes, small_drawing
from kdtool.report.sections.verdict import subject
from kdtool.results.base import Role
from kdtool.results.evidence import Coverage
from kdtool.results.study import Results
from kdtool.stats.intervals import wilson_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class CoverageSection:
    """Coverage against accuracy of one model."""

    LINK: ClassVar = "Refusals"

    sentence: str
    role: Role
    figure: Drawing


def section(results: Results) -> CoverageSection | None:
    """Return coverage against accuracy; None in a study without it."""
    role = subject(results)
    found = results.models[role].coverage if role else None
    if role is None or found is None:
        return None
    title = f"Accuracy of the {role_name(role)} on the images that it is surest of"
    return CoverageSection(
        sentence=coverage_sentence(results, found),
        role=role,
        figure=small_drawing("coverage", title, lambda w: coverage_figure(role, found, w)),
    )


def coverage_sentence(results: Results, found: Coverage) -> str:
    """Say how sure the model must be to answer, and what that costs."""
    chosen, test, ends = found.chosen, found.test, found.test_ci95
    images = f"{count(results.data.num_validation)} validation images"
    if chosen is None or test is None or ends is None:
        return (
            "No threshold for refusing images can be recommended: the model makes "
            f"{plural(found.num_mistakes, 'mistake')} on the {images}, and no probability halves "
            "their share, or they are too few to choose one by."
        )
    if not found.is_confirmed:
        return (
            f"No threshold for refusing images can be recommended: {probability(chosen.threshold)} "
            f"halves the share of mistakes on the {images}, but on the test images "
            f"{percent(test.accuracy)} ({percent_range(ends)}) of the answers are right, compared "
            f"with {percent(found.curve[0].accuracy)} of all."
        )
    return (
        f"Answer only if the probability is at least {probability(chosen.threshold)}, and leave "
        f"the other images to a person: {whole_percent(test.share)} of the test images are "
        f"answered, and {percent(test.accuracy)} of these correctly ({percent_range(ends)}), "
        f"compared with {percent(found.curve[0].accuracy)} of all. The probability was chosen on "
        "validation, to halve the share of mistakes."
    )


def coverage_figure(role: Role, found: Coverage, width: int) -> "Figure":
    """Draw accuracy against the share of the images that are answered, with its 95 % interval."""
    figure = new_figure(width, 280)
    axes = figure.add_subplot()
    quiet_axes(axes)
    shares = [100 * one.share for one in found.curve]
    intervals = [
        wilson_interval(round(one.accuracy * one.num_answered), one.num_answered)
        for one in found.curve
    ]
    low, high = ([100 * ends[side] for ends in intervals] for side in (0, 1))
    color = LIGHT[role]
    axes.fill_between(shares, low, high, color=color, alpha=0.15, linewidth=0)
    axes.plot(shares, [100 * one.accuracy for one in found.curve], color=color, linewidth=2)
    if found.test and found.chosen:
        x, y = 100 * found.test.share, 100 * found.test.accuracy
        axes.plot(x, y, "o", color=color, markersize=8)
        text = f"from {probability(found.chosen.threshold)}"
        axes.annotate(
            text, (x, y), (-9, -9), textcoords="offset points", ha="right", va="top", color=color
        )
    least = 100 * min(one.accuracy for one in found.curve)
    margin = max(2.0, (100 - least) / 2)  # the interval of the last few images may be cut
    axes.set(xlim=(0, 101), ylim=(max(0.0, least - margin), 100.5))
    axes.set_xlabel("test images that are answered, %")
    axes.set_ylabel("of these correct, %")
    return figure
