"""Whether probabilities can be believed, before and after temperature scaling."""

from dataclasses import dataclass

from matplotlib.figure import Figure

from kdtool.evidence import Calibration
from kdtool.record import Role
from kdtool.report.canvas import LIGHT, label, new_figure, quiet_axes
from kdtool.report.classes import exported
from kdtool.report.ship import shipped_role
from kdtool.report.verdicts import subject
from kdtool.report.words import present, spoken
from kdtool.results import Results

SMALL_GAIN = 0.002  # of the calibration error, over which changing the file is worth it
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
    for role in present(results):
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
    """Say whether the file's probabilities are, or should be, scaled; None without calibration."""
    shown = shown_calibration(results)
    if shown is None:
        return None
    role, found = shown
    run = exported(results.models[role])
    scaled = [file for file in results.models[role].files.values() if file.temperature != 1]
    if scaled:
        return (
            f"The temperature {scaled[0].temperature:.2f} is folded into the files of the "
            f"{spoken(role)}: their probabilities are those after scaling. The predicted class "
            "stays the same."
        )
    before, after = (f"{100 * ece:.2f}" for ece in (run.test.ece, found.ece))
    if run.test.ece - found.ece > SMALL_GAIN and found.nll < run.test.nll:
        return (
            f"Set export.calibrate = true if you use the probabilities: it lowers the calibration "
            f"error of the {spoken(role)} from {before} to {after} points and changes no predicted "
            "class."
        )
    return (
        f"Leave export.calibrate = false: on the test images scaling takes the calibration error "
        f"of the {spoken(role)} from {before} to {after} points, which is no gain to speak of."
    )


def reliability_figure(results: Results, width: int) -> Figure | None:
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
