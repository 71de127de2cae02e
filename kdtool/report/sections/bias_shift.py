"""Classes that were left out of the transfer set, before and after the bias shift, in words."""

from statistics import fmean

from kdtool.format import listed, percent, percent_range, points, printable, role_name
from kdtool.results.base import Summary
from kdtool.results.evidence import BiasShift, ShiftedClass
from kdtool.results.study import Results

MEANING = (
    "Control and students were trained on no image of these classes; what a student knows of them "
    "it has from the teacher's soft targets. It may know them and yet hesitate to name them. So "
    "one number is added to their logits (Hinton et al. 2015). The validation images do hold these "
    "classes: the epochs that were kept, the settings and the number added were chosen on them."
)


def excluded_names(results: Results) -> str:
    """Name the classes that were left out."""
    names = [printable(name) for name in results.data.excluded]
    return listed(names) if names else ""


def of_excluded(results: Results, shift: BiasShift) -> list[ShiftedClass]:
    """Return the classes that were left out."""
    return [one for one in shift.per_class if one.name in results.data.excluded]


def shift_sentence(results: Results, shift: BiasShift) -> str:
    """Say what the shift does to the classes left out and to all."""
    classes = [
        f"{printable(one.name)} from {percent(one.accuracy.mean)} to "
        f"{percent(one.shifted_accuracy.mean)}"
        for one in of_excluded(results, shift)
    ]
    added = fmean(shift.shifts)
    return (
        f"The {role_name(shift.role)} never trained on {excluded_names(results)}: raising the bias "
        f"there, by {added:.2f} in the mean, takes its accuracy on {listed(classes)}, and on "
        f"all classes from {percent(shift.accuracy.mean)} to "
        f"{percent(shift.shifted_accuracy.mean)}. The files are as trained, without it."
    )


def shift_rows(results: Results) -> list[tuple[str, bool, list[tuple[str, str, str, str, str]]]]:
    """Return for all images and each class: its name, whether it was left out, cells by model.

    A cell holds accuracy and interval before, after, and the change in points.
    """
    if not results.bias_shifts:
        return []
    first = results.bias_shifts[0]
    rows = [
        (
            "all classes",
            False,
            [_cell(shift.accuracy, shift.shifted_accuracy) for shift in results.bias_shifts],
        )
    ]
    for place, one in enumerate(first.per_class):
        cells = [
            _cell(shift.per_class[place].accuracy, shift.per_class[place].shifted_accuracy)
            for shift in results.bias_shifts
        ]
        rows.append((printable(one.name), one.name in results.data.excluded, cells))
    return rows


def _cell(before: Summary, after: Summary) -> tuple[str, str, str, str, str]:
    return (
        percent(before.mean),
        percent_range(before.ci95),
        percent(after.mean),
        percent_range(after.ci95),
        points(after.mean - before.mean),
    )
