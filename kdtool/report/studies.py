"""Several studies on one page, from their results.json alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdtool.errors import StudyError
from kdtool.format import (
    METRIC_NAMES,
    count,
    file_size,
    listed,
    milliseconds_range,
    percent,
    percent_range,
    points,
    points_range,
    printable,
    role_name,
    score_change,
    score_change_range,
)
from kdtool.report.decision import against_control, decision_of, precision_to_ship, shipped_role
from kdtool.report.parts.cells import Cell, time_text
from kdtool.report.parts.measured import machine_name
from kdtool.results.base import flat
from kdtool.results.studies import RecipeDifference, StudiesReport, StudyRow
from kdtool.results.study import FileResult, Results
from kdtool.stats.intervals import wilson_interval

COLUMNS = ("Accuracy", "Against teacher", "Size", "Median time", "Student against control")
NOTE = (
    "Accuracy, size and time are those of the file that ships or, where nothing does, would ship. "
    "Below a figure: its 95 % interval. Against teacher: accuracy of the file minus that of its "
    "teacher on the same images. The verdict is on all seeds of the student against the same "
    "network trained without a teacher."
)
MOST_CLASSES = 5  # named in a message


@dataclass(frozen=True, kw_only=True, slots=True)
class ShownStudy:
    """A study as a row of the table."""

    title: str
    folder: str
    ship: str | None  # None: nothing
    because: str
    file: str
    cells: list[Cell | None]  # in the order of `COLUMNS`


def studies_report(studies: Sequence[tuple[Path, Results]]) -> StudiesReport:
    """Put studies side by side.

    Args:
        studies: Folder and results of each, at least one.

    Raises:
        StudyError: Their classes differ, so that no figure of one can be compared with another's.
    """
    _check_classes(studies)
    return StudiesReport(
        classes=studies[0][1].data.classes,
        studies=[_row(folder, results) for folder, results in studies],
        warnings=list(_warnings(studies)),
        differences=recipe_differences([results.recipe for _, results in studies]),
    )


def _check_classes(studies: Sequence[tuple[Path, Results]]) -> None:
    (first, reference), *others = studies
    for folder, results in others:
        ours, theirs = set(reference.data.classes), set(results.data.classes)
        if ours != theirs:
            raise StudyError(
                f"{first} and {folder} have different classes, so their figures cannot be "
                f"compared: {_only(first, ours - theirs)}{_only(folder, theirs - ours)}give "
                "studies of the same classes"
            )


def _only(folder: Path, names: set[str]) -> str:
    if not names:
        return ""
    shown = [printable(name) for name in sorted(names)]
    more = f" and {len(shown) - MOST_CLASSES} more" if len(shown) > MOST_CLASSES else ""
    return f"only {folder} has {', '.join(shown[:MOST_CLASSES])}{more}; "


def _row(folder: Path, results: Results) -> StudyRow:
    decision = decision_of(results)
    role = shipped_role(results)
    file: FileResult | None = None
    if role:
        model = results.models[role]
        file = model.files.get(precision_to_ship(results, role))
    num_test = results.data.num_test
    return StudyRow(
        folder=str(folder),
        name=results.name,
        kdtool=results.environment.kdtool,
        ship=decision.ship,
        because=decision.because,
        role=role,
        seed=results.models[role].exported_seed if role else None,
        file=file.path if file else None,
        accuracy=file.accuracy if file else None,
        accuracy_ci95=wilson_interval(round(file.accuracy * num_test), num_test) if file else None,
        against_teacher=file.against_teacher if file else None,
        size_bytes=file.size_bytes if file else None,
        latency=file.latency if file else None,
        machine=machine_name(results.environment.model_copy(update={"gpu": None})),
        verdict=against_control(results, role) if role else None,
        num_test=num_test,
        data_fingerprint=results.data.fingerprint,
    )


def _warnings(studies: Sequence[tuple[Path, Results]]) -> Iterator[str]:
    """Yield what makes figures of different studies hard to compare."""
    data = [results.data for _, results in studies]
    tests = {tuple(sorted(zip(one.classes, one.class_counts["test"], strict=True))) for one in data}
    if len(tests) > 1:
        numbers = ", ".join(f"{folder} {count(one.data.num_test)}" for folder, one in studies)
        yield (
            f"The studies have different test images ({numbers}): a difference in accuracy may "
            "come from the images."
        )
    elif len({one.fingerprint for one in data}) > 1:
        yield (
            "The studies have different data, so it is not known whether their test images are the "
            "same: a difference in accuracy may come from the images."
        )
    environments = [results.environment for _, results in studies]
    if len({machine_name(one.model_copy(update={"gpu": None})) for one in environments}) > 1:
        yield "The studies were timed on different machines: their times cannot be compared."
    busy = [
        str(folder)
        for folder, results in studies
        for row in [_row(folder, results)]
        if row.latency and row.latency.noise
    ]
    if busy:
        yield f"Times with a star are from a busy machine: do not rely on them ({listed(busy)})."


def recipe_differences(recipes: Sequence[dict[str, object]]) -> list[RecipeDifference]:
    """Return the keys that have not the same value in all recipes, except the name.

    Args:
        recipes: With their tables, at least one.
    """
    tables = [flat(recipe) for recipe in recipes]
    keys = dict.fromkeys(key for one in tables for key in one)
    found = []
    for key in keys:
        values = [one.get(key) for one in tables]
        if key != "name" and any(value != values[0] for value in values):
            found.append(RecipeDifference(key=key, values=values))
    return found


def shown_studies(report: StudiesReport) -> list[ShownStudy]:
    """Return the rows of the table, in words."""
    names = [row.name for row in report.studies]
    return [
        ShownStudy(
            title=printable(row.name if names.count(row.name) == 1 else row.folder),
            folder=printable(row.folder),
            ship=row.ship and printable(row.ship),
            because=printable(row.because),
            file=printable(row.file or "-"),
            cells=[
                _accuracy(row, report.studies[0]),
                _against_teacher(row),
                _size(row),
                _time(row),
                _verdict(row),
            ],
        )
        for row in report.studies
    ]


def class_names(report: StudiesReport) -> str:
    """Return the names of the first classes, and how many more there are."""
    names = [printable(name) for name in report.classes]
    num_more = len(names) - MOST_CLASSES
    return listed([*names[:MOST_CLASSES], f"{num_more} more"] if num_more > 0 else names)


def shown_value(value: object) -> str:
    """Return a value of a recipe, such as "[0, 1]"; "-" where a recipe has none."""
    if isinstance(value, bool):
        return str(value).lower()
    return "-" if value is None else printable(str(value))


def _accuracy(row: StudyRow, first: StudyRow) -> Cell | None:
    if row.accuracy is None or row.accuracy_ci95 is None or row.role is None:
        return None
    of = f"{role_name(row.role)}, seed {row.seed}, {count(row.num_test)} images"
    if row.data_fingerprint != first.data_fingerprint:
        of += f", other data than {printable(first.name)}"
    interval = percent_range(row.accuracy_ci95)
    return Cell(value=percent(row.accuracy), interval=interval, relative=of)


def _against_teacher(row: StudyRow) -> Cell | None:
    found = row.against_teacher
    if found is None:
        return None
    return Cell(value=f"{points(found.difference)} points", interval=points_range(found.ci95))


def _size(row: StudyRow) -> Cell | None:
    return None if row.size_bytes is None else Cell(value=file_size(row.size_bytes))


def _time(row: StudyRow) -> Cell | None:
    if row.latency is None:
        return None
    return Cell(
        value=time_text(row.latency, row.latency.p50_ms),
        interval=milliseconds_range(row.latency.p50_ci95_ms),
        relative=printable(row.machine),
    )


def _verdict(row: StudyRow) -> Cell | None:
    one = row.verdict
    if one is None:
        return None
    change = score_change(one.metric, one.difference)
    ends = score_change_range(one.metric, one.interval)
    return Cell(value=one.verdict, interval=f"{change}, {ends}", relative=METRIC_NAMES[one.metric])
