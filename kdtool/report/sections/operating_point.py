"""The probability from which the models predict the positive class, and the scores with it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from kdtool.format import (
    count,
    decimals,
    percent,
    percent_range,
    printable,
    probability,
    role_name,
    roles_present,
)
from kdtool.recipe.schema import parse_operating_point
from kdtool.report.decision import shipped_role
from kdtool.report.parts.canvas import (
    LIGHT,
    Drawing,
    label_ends,
    new_figure,
    quiet_axes,
    small_drawing,
)
from kdtool.report.parts.cells import Cell
from kdtool.report.sections.verdict import subject
from kdtool.results.base import Interval, Role
from kdtool.results.evidence import OperatingPoint, Rates
from kdtool.results.study import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


COLUMNS = ("Sensitivity", "Specificity", "Precision", "Accuracy", "F1")


@dataclass(frozen=True, kw_only=True, slots=True)
class RatesRow:
    """One model on the images of one split."""

    role: Role
    split: str
    threshold: str
    cells: list[Cell]  # in the order of `COLUMNS`


@dataclass(frozen=True, kw_only=True, slots=True)
class OperatingPointSection:
    """The operating points of the exported models."""

    LINK: ClassVar = "Threshold"

    positive: str
    sentence: str
    rule: str
    columns: tuple[str, ...]
    rows: list[RatesRow]
    figure: Drawing


def section(results: Results) -> OperatingPointSection | None:
    """Return the operating points of a study; None without any."""
    sentence, rule = operating_sentence(results), rule_sentence(results)
    if sentence is None or rule is None:
        return None
    positive = printable(results.data.positive or "")
    title = f"{positive} found and false alarms, on validation and on test"
    return OperatingPointSection(
        positive=positive,
        sentence=sentence,
        rule=rule,
        columns=COLUMNS,
        rows=rates_rows(results),
        figure=small_drawing(
            "operating_point", title, lambda width: operating_figure(results, width)
        ),
    )


def operating_points(results: Results) -> dict[Role, OperatingPoint]:
    """Return the operating point of every model that has one."""
    found = {role: results.models[role].operating_point for role in roles_present(results)}
    return {role: point for role, point in found.items() if point}


def rates_rows(results: Results) -> list[RatesRow]:
    """Return two rows a model: on validation, where its threshold was chosen, and on test."""
    return [
        RatesRow(
            role=role, split=split, threshold=probability(point.threshold), cells=_cells(rates)
        )
        for role, point in operating_points(results).items()
        for split, rates in (("validation", point.validation), ("test", point.test))
    ]


def _cells(rates: Rates) -> list[Cell]:
    return [
        _share(rates.sensitivity, rates.sensitivity_ci95),
        _share(rates.specificity, rates.specificity_ci95),
        _share(rates.precision, rates.precision_ci95),
        Cell(value=percent(rates.accuracy)),
        Cell(value=decimals(rates.f1)),
    ]


def _share(share: float, ends: Interval) -> Cell:
    return Cell(value=percent(share), interval=percent_range(ends))


def rule_sentence(results: Results) -> str | None:
    """Name the rule that chose the thresholds; None without operating points."""
    points = operating_points(results)
    if not points:
        return None
    point = next(iter(points.values()))
    rule, value = parse_operating_point(point.rule)
    positive, goal = printable(point.positive), f"{100 * (value or 0):g} %"
    if rule == "argmax":
        return f"The more probable class is predicted: {positive} from a probability of 0.50."
    chosen = {
        "youden": "sensitivity plus specificity is largest (Youden's J)",
        "f1": f"the F1 of {positive} is largest",
        "sensitivity": f"specificity is largest while sensitivity is at least {goal}",
        "specificity": f"sensitivity is largest while specificity is at least {goal}",
        "cost": f"mistakes cost least, if a missed {positive} costs {value or 0:g} false alarms",
    }[rule]
    return f"Each threshold is the one at which, on validation, {chosen} ({point.rule})."


def operating_sentence(results: Results) -> str | None:
    """Say what the operating point of the shipped model means; None without one."""
    points = operating_points(results)
    role = next((one for one in (shipped_role(results), subject(results)) if one in points), None)
    role = role or next(iter(points), None)
    if role is None:
        return None
    point, test = points[role], points[role].test
    counts = dict(zip(results.data.classes, results.data.class_counts["test"], strict=True))
    of_positive = counts.pop(point.positive)
    ((negative, of_negative),) = counts.items()
    positive, negative = printable(point.positive), printable(negative)
    found = round(test.sensitivity * of_positive)
    alarms = round((1 - test.specificity) * of_negative)
    right = f"Of {count(found + alarms)} predictions of {positive}, {count(found)} are correct."
    return (
        f"The {role_name(role)} predicts {positive} where its probability is at least "
        f"{probability(point.threshold)}. Of the {count(of_positive)} test images of {positive}, "
        f"{count(found)} are found and {count(of_positive - found)} missed; of the "
        f"{count(of_negative)} of {negative}, {count(alarms)} are taken for {positive}. "
        f"{right if found + alarms else f'No image is taken for {positive}.'}{_shortfall(point)}"
    )


def _shortfall(point: OperatingPoint) -> str:
    """Say so if the rate that the rule asked for is not reached on the test images."""
    rule, goal = parse_operating_point(point.rule)
    if rule not in ("sensitivity", "specificity") or goal is None:
        return ""
    reached = point.test.sensitivity if rule == "sensitivity" else point.test.specificity
    if reached >= goal:
        return ""
    return (
        f" That is a {rule} of {percent(reached)}: the required {100 * goal:g} % was reached on "
        "the validation images, but not on these."
    )


def operating_figure(results: Results, width: int) -> "Figure":
    """Draw found positive images against false alarms, of each model on validation and test."""
    points = operating_points(results)
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
    positive = printable(results.data.positive or "")
    (negative,) = (
        printable(name) for name in results.data.classes if name != results.data.positive
    )
    axes.set_xlabel(f"{negative} taken for {positive}, %")
    axes.set_ylabel(f"{positive} found, %")
    axes.margins(0.08)
    axes.autoscale_view()
    ends = {role_name(role): 100 * point.test.sensitivity for role, point in points.items()}
    label_ends(axes, ends, {role_name(role): LIGHT[role] for role in points})
    return figure


def _cross(axes: "Axes", rates: Rates, at: tuple[float, float], color: str) -> None:
    x, y = at
    low, high = (100 * (1 - end) for end in reversed(rates.specificity_ci95))
    axes.plot([low, high], [y, y], color=color, linewidth=2, alpha=0.4)
    ends = [100 * end for end in rates.sensitivity_ci95]
    axes.plot([x, x], ends, color=color, linewidth=2, alpha=0.4)
