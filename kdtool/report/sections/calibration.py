"""Whether probabilities can be believed, before and after temperature scaling."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdtool.format import role_name, roles_present
from kdtool.report.canvas import LIGHT, label, new_figure, quiet_axes
from kdtool.report.sections.classes import exported
from kdtool.report.sections.files import shipped_role
from kdtool.report.sections.verdict import subject
from kdtool.results.base import Role
from kdtool.results.evidence import Calibration
from kdtool.results.study import Results
from kdtool.stats.intervals import Z95

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# In nats over all validation images: where scaling is of no use, fitting its one number gains more
# in 1 of 20 cases. Source: likelihood ratio test, Wilks 1938, Annals of Mathematical Statistics 9.
CHANCE_GAIN = Z95**2 / 2
LARGEST_DOT, SMALLEST_DOT = 160.0, 14.0  # areas in square pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationRow:
    """One exported model."""

    role: Role
    temperature: str
    nll: tuple[str, str]  # before, after
    ece: tuple[str, str]


def calibration_rows(results: Results) -> list[CalibrationRow]:
    """Return a row for every exported model that was calibrated."""
    rows = []
    for role in roles_present(results):
        run = exported(results.models[role])
        if found := run.calibration:
            rows.append(
                CalibrationRow(
                    role=role,
                    temperature=f"{found.temperature:.2f}",
                    nll=(f"{run.test.nll:.4f}", f"{found.nll:.4f}"),
                    ece=(f"{100 * run.test.ece:.2f}", f"{100 * found.ece:.2f}"),
                )
            )
    return rows


def shown_calibration(results: Results) -> tuple[Role, Calibration] | None:
    """Return the model whose diagram is drawn: the one that is shipped."""
    role = shipped_role(results) or subject(results)
    found = exported(results.models[role]).calibration if role else None
    return (role, found) if role and found else None


def calibration_advice(results: Results) -> str | None:
    """Say whether the file's probabilities are, or should be, scaled; None without calibration.

    Validation decides, on which the temperature was fitted; the test images only show the effect.
    """
    shown = shown_calibration(results)
    if shown is None:
        return None
    role, found = shown
    test = exported(results.models[role]).test
    proof = (
        f"On the test images scaling takes the negative log-likelihood from {test.nll:.4f} to "
        f"{found.nll:.4f} and the calibration error from {100 * test.ece:.2f} to "
        f"{100 * found.ece:.2f} points; no predicted class changes."
    )
    if _is_folded(results):
        return (
            f"The temperature {found.temperature:.2f} is folded into the files of the "
            f"{role_name(role)}: their probabilities are those after scaling. {proof}"
        )
    before, after = found.validation_nll_before, found.validation_nll_after
    change = (
        f"the negative log-likelihood of the {role_name(role)} from {before:.4f} to {after:.4f}"
    )
    if (before - after) * results.data.num_validation > CHANCE_GAIN:
        return (
            "Set export.calibrate = true, or type kdtool export STUDY --calibrate, if you use the "
            f"probabilities: on validation, scaling takes {change}, more than chance would. {proof}"
        )
    return (
        f"Leave export.calibrate = false: on validation, scaling takes {change}, no more than "
        f"chance may. {proof}"
    )


def _is_folded(results: Results) -> bool:
    export = results.recipe.get("export")
    return isinstance(export, dict) and bool(export.get("calibrate"))


def reliability_figure(results: Results, width: int) -> "Figure | None":
    """Draw how often the shipped model is right against how sure it is, before and after."""
    shown = shown_calibration(results)
    if shown is None:
        return None
    role, found = shown
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
    axes.set_xlabel("how sure the model is, %")
    axes.set_ylabel("how often it is right, %")
    return figure
