"""Classes that were left out of the transfer set, before and after the bias shift."""

from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

from kdtool.format import listed, percent, percent_range, points, printable, role_name
from kdtool.results.base import Role, Summary
from kdtool.results.evidence import BiasShift, ShiftedClass
from kdtool.results.study import Results

MEANING = (
    "Control and students were trained without any image of these classes; what a student knows "
    "about them comes from the teacher's soft targets. It may recognize them and still predict "
    "them too rarely, so one number is added to their logits (Hinton et al. 2015). The validation "
    "images do contain these classes: kept epochs, settings and the added number were chosen on "
    "them."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ShiftCell:
    """Accuracy of one model on one class."""

    before: str
    before_range: str
    after: str
    after_range: str
    change: str  # in points


@dataclass(frozen=True, kw_only=True, slots=True)
class ShiftRow:
    """One class, or all of them."""

    name: str
    left_out: bool
    cells: list[ShiftCell]  # in the order of the section's roles


@dataclass(frozen=True, kw_only=True, slots=True)
class BiasShiftSection:
    """The classes that were left out, before and after the shift."""

    LINK: ClassVar = "Classes left out"

    excluded: str
    meaning: str
    sentences: list[str]
    roles: list[Role]
    rows: list[ShiftRow]


def section(results: Results) -> BiasShiftSection | None:
    """Return how the models do on classes that were left out; None if none was."""
    if not results.bias_shifts:
        return None
    return BiasShiftSection(
        excluded=excluded_names(results),
        meaning=MEANING,
        sentences=[shift_sentence(results, shift) for shift in results.bias_shifts],
        roles=[shift.role for shift in results.bias_shifts],
        rows=shift_rows(results),
    )


def excluded_names(results: Results) -> str:
    """Name the classes that were left out of the transfer set."""
    names = [printable(name) for name in results.data.excluded]
    return listed(names) if names else ""


def of_excluded(results: Results, shift: BiasShift) -> list[ShiftedClass]:
    """Return the scores of the classes that were left out."""
    return [one for one in shift.per_class if one.name in results.data.excluded]


def shift_sentence(results: Results, shift: BiasShift) -> str:
    """Say how the shift changes the accuracy on the classes left out and on all."""
    classes = [
        f"{printable(one.name)} from {percent(one.accuracy.mean)} to "
        f"{percent(one.shifted_accuracy.mean)}"
        for one in of_excluded(results, shift)
    ]
    added = fmean(shift.shifts)
    return (
        f"The {role_name(shift.role)} was not trained on {excluded_names(results)}: adding "
        f"{added:.2f} (mean over seeds) to the logits there changes its accuracy on "
        f"{listed(classes)}, and on all classes from {percent(shift.accuracy.mean)} to "
        f"{percent(shift.shifted_accuracy.mean)}. The exported files do not include this shift."
    )


def shift_rows(results: Results) -> list[ShiftRow]:
    """Return a row for all classes together, then one for each class."""
    if not results.bias_shifts:
        return []
    first = results.bias_shifts[0]
    together = [_cell(shift.accuracy, shift.shifted_accuracy) for shift in results.bias_shifts]
    rows = [ShiftRow(name="all classes", left_out=False, cells=together)]
    for place, one in enumerate(first.per_class):
        cells = [
            _cell(shift.per_class[place].accuracy, shift.per_class[place].shifted_accuracy)
            for shift in results.bias_shifts
        ]
        left_out = one.name in results.data.excluded
        rows.append(ShiftRow(name=printable(one.name), left_out=left_out, cells=cells))
    return rows


def _cell(before: Summary, after: Summary) -> ShiftCell:
    return ShiftCell(
        before=percent(before.mean),
        before_range=percent_range(before.ci95),
        after=percent(after.mean),
        after_range=percent_range(after.ci95),
        change=points(after.mean - before.mean),
    )
