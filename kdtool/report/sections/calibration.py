"""Whether probabilities can be trusted, before and after temperature scaling."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kdtool.format import (
    count,
    log_likelihood,
    percent_number,
    role_name,
    roles_present,
    temperature,
)
from kdtool.report.parts.canvas import LIGHT, Drawing, new_figure, quiet_axes, small_drawing
from kdtool.report.sections.verdict import subject
from kdtool.results.base import Role
from kdtool.results.evidence import Calibration
from kdtool.results.study import Results
from kdtool.stats.intervals import Z95, wilson_interval

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# In nats over all validation images: where scaling does not help, fitting its one number gains more
# than this in 1 of 20 cases. Source: likelihood ratio test, Wilks 1938, Annals of Mathematical
# Statistics 9.
CHANCE_GAIN = Z95**2 / 2


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationRow:
    """One exported model."""

    role: Role
    temperature: str
    nll: tuple[str, str]  # before, after
    ece: tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationSection:
    """Whether the probabilities can be trusted."""

    LINK: ClassVar = "Probabilities"

    advice: str
    role: Role  # of the model in the figure
    figure: Drawing
    group_size: str  # test images of a bar
    rows: list[CalibrationRow]


def section(results: Results) -> CalibrationSection | None:
    """Return whether the probabilities can be trusted; None if that was not measured."""
    shown, advice = shown_calibration(results), calibration_advice(results)
    if shown is None or advice is None:
        return None
    role, found = shown
    title = f"Accuracy of the {role_name(role)} by confidence, before and after scaling"
    return CalibrationSection(
        advice=advice,
        role=role,
        figure=small_drawing(
            "calibration", title, lambda width: reliability_figure(role, found, width)
        ),
        group_size=_group_size(found),
        rows=calibration_rows(results),
    )


def _group_size(found: Calibration) -> str:
    sizes = sorted({one.num_images for one in found.before})
    numbers = " to ".join(map(count, (sizes[0], sizes[-1]) if len(sizes) > 1 else sizes))
    return f"{numbers} images"


def calibration_rows(results: Results) -> list[CalibrationRow]:
    """Return a row for every exported model that was calibrated."""
    rows = []
    for role in roles_present(results):
        run = results.models[role].exported
        if found := run.calibration:
            rows.append(
                CalibrationRow(
                    role=role,
                    temperature=temperature(found.temperature),
                    nll=(log_likelihood(run.test.nll), log_likelihood(found.nll)),
                    ece=(percent_number(run.test.ece, 2), percent_number(found.ece, 2)),
                )
            )
    return rows


def shown_calibration(results: Results) -> tuple[Role, Calibration] | None:
    """Return the model whose diagram is drawn: the one that is shipped."""
    role = subject(results)
    found = results.models[role].exported.calibration if role else None
    return (role, found) if role and found else None


def calibration_advice(results: Results) -> str | None:
    """Say whether the file's probabilities are scaled or should be; None without calibration.

    The validation images, which the temperature was fitted on, decide; the test images only show
    the effect.
    """
    shown = shown_calibration(results)
    if shown is None:
        return None
    role, found = shown
    test = results.models[role].exported.test
    proof = (
        f"On the test images, scaling changes the negative log-likelihood from "
        f"{log_likelihood(test.nll)} to {log_likelihood(found.nll)} and the calibration error from "
        f"{percent_number(test.ece, 2)} to {percent_number(found.ece, 2)} points; no predicted "
        "class changes."
    )
    if _is_folded(results):
        return (
            f"The temperature {temperature(found.temperature)} is built into the files of the "
            f"{role_name(role)}: they return probabilities after scaling. {proof}"
        )
    before, after = found.validation_nll_before, found.validation_nll_after
    change = (
        f"the negative log-likelihood of the {role_name(role)} from {log_likelihood(before)} to "
        f"{log_likelihood(after)}"
    )
    if (before - after) * results.data.num_validation > CHANCE_GAIN:
        return (
            "If you use the probabilities, set export.calibrate = true, or run kdtool export STUDY "
            f"--calibrate: on validation, scaling changes {change}, a larger gain than chance "
            f"explains. {proof}"
        )
    return (
        f"Leave export.calibrate = false: on validation, scaling changes {change}, no larger gain "
        f"than chance explains. {proof}"
    )


def _is_folded(results: Results) -> bool:
    export = results.recipe.get("export")
    return isinstance(export, dict) and bool(export.get("calibrate"))


def reliability_figure(role: Role, found: Calibration, width: int) -> "Figure":
    """Draw how often a model is right, a bar a group of test images, and how sure it is of them."""
    figure = new_figure(width, 280)
    axes = figure.add_subplot()
    quiet_axes(axes)
    color, places = LIGHT[role], range(len(found.before))
    lowest = 1.0
    for place, one in enumerate(found.before):
        low, high = wilson_interval(round(one.accuracy * one.num_images), one.num_images)
        lowest = min(lowest, low, one.confidence)
        axes.bar(place, 100 * one.accuracy, width=0.7, color=color, alpha=0.35)
        axes.plot([place, place], [100 * low, 100 * high], color=color, linewidth=2)
    styles = {"before": (found.before, LIGHT["ink"], "_"), "after": (found.after, color, "D")}
    for bins, tint, marker in styles.values():
        confidences = [100 * one.confidence for one in bins]
        size = 16 if marker == "_" else 5
        axes.plot(
            range(len(bins)), confidences, marker, color=tint, markersize=size, markeredgewidth=2.5
        )
    axes.set_ylim(max(0.0, 100 * lowest - 8), 101.5)
    axes.set_xticks(list(places), [f"{100 * one.confidence:.0f}" for one in found.before])
    axes.set_xlabel("mean confidence of each group, %")
    axes.set_ylabel("accuracy, %")
    return figure
