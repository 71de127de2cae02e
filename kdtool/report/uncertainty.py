"""Where the uncertainty of a verdict comes from, and what would reduce it, as a table."""

from dataclasses import dataclass

from kdtool.format import (
    METRIC_NAMES,
    count,
    decimals,
    in_percent,
    percent_number,
    plural,
    role_name,
)
from kdtool.report.sections.verdict import on_methods
from kdtool.results.base import Metric
from kdtool.results.evidence import Verdict
from kdtool.results.study import Results


@dataclass(frozen=True, kw_only=True, slots=True)
class UncertaintyRow:
    """One comparison."""

    pair: str
    cells: list[str]  # in the order of `columns`


@dataclass(frozen=True, kw_only=True, slots=True)
class UncertaintyTable:
    """Where the uncertainty of the verdicts comes from."""

    columns: list[str]
    rows: list[UncertaintyRow]
    meaning: str


def uncertainty_table(results: Results) -> UncertaintyTable | None:
    """Return where the uncertainty of the verdicts comes from; None if that was not computed."""
    rows = uncertainty_rows(results)
    if not rows:
        return None
    return UncertaintyTable(columns=columns(results), rows=rows, meaning=meaning(results))


def columns(results: Results) -> list[str]:
    """Return the heads of the table."""
    seeds = plural(len(on_methods(results)[0].seeds), "seed")
    aim = "1 point" if in_percent(results.metric) else "0.01"
    return [
        "Spread over seeds",
        "Error from seeds",
        "Error from test images",
        "Smallest detectable difference",
        f"Test images to detect {aim} with {seeds} (here {count(results.data.num_test)})",
        f"Seeds to detect {aim} on these images",
    ]


def meaning(results: Results) -> str:
    """Explain the numbers of the table."""
    num_verdicts = len(results.verdicts)
    unit = "points" if in_percent(results.metric) else METRIC_NAMES[results.metric]
    strict = f", in the strictest of its {num_verdicts} comparisons" if num_verdicts > 1 else ""
    return (
        f"Errors are standard errors of the difference, in {unit}: how much it varies by chance. "
        f'"Detectable" means found in 80 % of repetitions of a study like this one{strict}. '
        f"{about_teachers(results)}"
    )


def about_teachers(results: Results) -> str:
    """Say whether the verdict is about one teacher or about teachers of its kind."""
    teacher = results.models.get("teacher")
    if teacher and len(teacher.seeds) > 1:
        return (
            "Each student learned from a teacher of its own, so the seeds are those of teachers "
            "too: verdicts hold for teachers of this kind."
        )
    return "All students learned from one teacher: verdicts hold for this one (teacher_seeds)."


def uncertainty_rows(results: Results) -> list[UncertaintyRow]:
    """Return a row for every verdict on a method with a known uncertainty."""
    return [row for verdict in on_methods(results) if (row := _row(verdict))]


def _row(verdict: Verdict) -> UncertaintyRow | None:
    found = verdict.uncertainty
    if found is None:
        return None
    metric = verdict.metric
    return UncertaintyRow(
        pair=f"{role_name(verdict.of)} and {role_name(verdict.against)}",
        cells=[
            _error(metric, found.seed_std),
            _error(metric, found.seed_error),
            _error(metric, found.image_error),
            "none" if found.visible == 1 else _error(metric, found.visible),
            _needed(found.images_needed),
            _needed(found.seeds_needed),
        ],
    )


def _error(metric: Metric, error: float | None) -> str:
    if error is None:
        return "unknown with one seed"
    return percent_number(error, 2) if in_percent(metric) else decimals(error)


def _needed(number: int | None) -> str:
    return "no number suffices" if number is None else count(number)
