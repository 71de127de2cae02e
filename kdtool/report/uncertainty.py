"""Where the uncertainty of the verdicts comes from, and what would make it smaller."""

from dataclasses import dataclass

from kdtool.evidence import Verdict
from kdtool.record import Metric
from kdtool.report import metrics
from kdtool.report.quantities import count, decimals
from kdtool.report.verdicts import on_methods
from kdtool.report.words import seeds_word, spoken
from kdtool.results import Results


@dataclass(frozen=True, kw_only=True, slots=True)
class UncertaintyRow:
    """One comparison."""

    pair: str
    cells: list[str]  # in the order of `columns`


def columns(results: Results) -> list[str]:
    """Return the heads of the table."""
    seeds = seeds_word(on_methods(results)[0].seeds)
    aim = "1 point" if metrics.in_percent(results.metric) else "0.01"
    return [
        "Spread of single seeds",
        "Error by seeds",
        "Error by test images",
        "Smallest difference seen",
        f"Test images to see {aim}, with {seeds} (here {count(results.data.num_test)})",
        f"Seeds to see {aim}, on these images",
    ]


def meaning(results: Results) -> str:
    """Say what the numbers of the table are."""
    num_verdicts = len(results.verdicts)
    unit = "points" if metrics.in_percent(results.metric) else metrics.NAMES[results.metric]
    strict = f", for the strictest of its {num_verdicts} comparisons" if num_verdicts > 1 else ""
    return (
        f"Errors are standard errors of the difference, in {unit}: how far chance alone moves it. "
        f"Seen is what a study like this one finds in 4 of 5 cases{strict}."
    )


def uncertainty_rows(results: Results) -> list[UncertaintyRow]:
    """Return a row for every verdict on a method whose uncertainty is known."""
    return [row for verdict in on_methods(results) if (row := _row(verdict))]


def _row(verdict: Verdict) -> UncertaintyRow | None:
    found = verdict.uncertainty
    if found is None:
        return None
    metric = verdict.metric
    return UncertaintyRow(
        pair=f"{spoken(verdict.of)} and {spoken(verdict.against)}",
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
        return "one seed cannot tell"
    return f"{100 * error:.2f}" if metrics.in_percent(metric) else decimals(error)


def _needed(number: int | None) -> str:
    return "no number is enough" if number is None else count(number)
