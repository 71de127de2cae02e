"""Whether probabilities can be trusted, before and after temperature scaling."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kdtool.format import log_likelihood, percent_number, role_name, roles_present, temperature
from kdtool.report.canvas import LIGHT, Drawing, drawing, label, new_figure, quiet_axes
from kdtool.report.sections.files import shipped_role
from kdtool.report.sections.verdict import subject
from kdtool.results.base import Role
from kdtool.results.evidence import Calibration
from kdtool.results.study import Results
from kdtool.stats.intervals import Z95

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# In nats over all validation images: where scaling does not help, fitting its one number gains more
# than this in 1 of 20 cases. Source: likelihood ratio test, Wilks 1938, Annals of Mathematical
# Statistics 9.
CHANCE_GAIN = Z95**2 / 2
LARGEST_DOT, SMALLEST_DOT = 160.0, 14.0  # areas in square pixels


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
        figure=drawing(
            "calibration", title, lambda width: reliability_figure(role, found, min(width, 440))
        ),
        rows=calibration_rows(results),
    )


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
    role = shipped_role(results) or subject(results)
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
    """Draw how often a model is right against how confident it is, before and after scaling."""
    figure = new_figure(width, min(width, 330))
    axes = figure.add_subplot()
    quiet_axes(axes)
    every = [*found.before, *found.after]
    lowest = 100 * min(min(one.confidence, one.accuracy) for one in every)
    floor = max(0.0, lowest - 10)
    axes.plot([floor, 100], [floor, 100], color=LIGHT["muted"], linewidth=1, linestyle=(0, (4, 3)))
    largest = max(one.num_images for one in every)
    styles = {"before": (LIGHT["control"], "s"), "after": (LIGHT[role], "o")}
    for (name, (color, marker)), bins in zip(
        styles.items(), (found.before, found.after), strict=True
    ):
        x, y = ([100 * getattr(one, key) for one in bins] for key in ("confidence", "accuracy"))
        sizes = [max(SMALLEST_DOT, LARGEST_DOT * one.num_images / largest) for one in bins]
        axes.plot(x, y, color=color, linewidth=1.5, alpha=0.6)
        axes.scatter(x, y, s=sizes, color=color, marker=marker, zorder=3)
        offset = (10, 0) if name == "before" else (-8, 10)
        label(axes, name, (x[0], y[0]), offset, color)
    axes.set(xlim=(floor, 101), ylim=(floor, 102))
    axes.set_xlabel("confidence of the model, %")
    axes.set_ylabel("accuracy, %")
    return figure
