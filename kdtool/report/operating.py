"""From which probability on the models call the positive class, and how they fare with it."""

from dataclasses import dataclass

from kdtool.evidence import OperatingPoint, Rates
from kdtool.recipe import parse_operating_point
from kdtool.record import Interval, Role
from kdtool.report.comparison import Cell
from kdtool.report.quantities import decimals, percent, percent_range
from kdtool.report.ship import shipped_role
from kdtool.report.verdicts import subject
from kdtool.report.words import plain, present, spoken
from kdtool.results import Results

COLUMNS = ("Sensitivity", "Specificity", "Precision", "Accuracy", "F1")


@dataclass(frozen=True, kw_only=True, slots=True)
class RatesRow:
    """One model on the images of one split."""

    role: Role
    split: str
    threshold: str
    cells: list[Cell]  # in the order of `COLUMNS`


def operating_points(results: Results) -> dict[Role, OperatingPoint]:
    """Return the operating point of every model that has one."""
    found = {role: results.models[role].operating_point for role in present(results)}
    return {role: point for role, point in found.items() if point}


def rates_rows(results: Results) -> list[RatesRow]:
    """Return two rows a model: on validation, where its threshold was chosen, and on test."""
    return [
        RatesRow(role=role, split=split, threshold=threshold(point.threshold), cells=_cells(rates))
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


def threshold(probability: float) -> str:
    """Return a threshold in as many digits as tell it from 0 and from 1, at least two."""
    digits = 2
    while digits < 6 and float(f"{probability:.{digits}f}") in (0, 1) and 0 < probability < 1:
        digits += 1
    return f"{probability:.{digits}f}"


def rule_sentence(results: Results) -> str | None:
    """Say by which rule the thresholds were chosen; None without operating points."""
    points = operating_points(results)
    if not points:
        return None
    point = next(iter(points.values()))
    rule, value = parse_operating_point(point.rule)
    positive, goal = plain(point.positive), f"{100 * (value or 0):g} %"
    if rule == "argmax":
        return f"The more probable class is called: {positive} from a probability of 0.50 on."
    chosen = {
        "youden": "sensitivity plus specificity is largest (Youden's J)",
        "f1": f"the F1 of {positive} is largest",
        "sensitivity": f"specificity is largest while sensitivity is at least {goal}",
        "specificity": f"sensitivity is largest while specificity is at least {goal}",
        "cost": f"mistakes cost least, a missed {positive} {value or 0:g} times a false alarm",
    }[rule]
    return f"Each threshold was chosen on the validation images, where {chosen} ({point.rule})."


def operating_sentence(results: Results) -> str | None:
    """Say what the operating point of the model that is shipped means; None without one."""
    points = operating_points(results)
    role = next((one for one in (shipped_role(results), subject(results)) if one in points), None)
    role = role or next(iter(points), None)
    if role is None:
        return None
    point = points[role]
    positive, test = plain(point.positive), point.test
    (negative,) = (plain(name) for name in results.data.classes if name != point.positive)
    missed, alarms = 1 - test.sensitivity, 1 - test.specificity
    return (
        f"At a probability of {threshold(point.threshold)} and above the {spoken(role)} calls an "
        f"image {positive}. Of 100 {positive} among the test images {_of_100(test.sensitivity)} "
        f"are found and {_of_100(missed)} missed; of 100 {negative} {_of_100(alarms)} are called "
        f"{positive} by mistake; of 100 that are called {positive}, {_of_100(test.precision)} are."
    )


def _of_100(share: float) -> str:
    text = f"{100 * share:.0f}"
    return f"{100 * share:.1f}" if text in ("0", "100") and 0 < share < 1 else text
