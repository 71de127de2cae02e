"""Where the uncertainty of the verdicts comes from, and what would make it smaller."""

from dataclasses import dataclass

from kdtool.evidence import Verdict
from kdtool.report.quantities import count
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
    return [
        "Spread of single seeds",
        "Error by seeds",
        "Error by test images",
        "Smallest difference seen",
        f"Test images to see 1 point, with {seeds} (here {count(results.data.num_test)})",
        "Seeds to see 1 point, on these images",
    ]


def meaning(results: Results) -> str:
    """Say what the numbers of the table are."""
    num_verdicts = len(results.verdicts)
    strict = f", for the strictest of its {num_verdicts} comparisons" if num_verdicts > 1 else ""
    return (
        "Errors are standard errors of the difference, in points: how far chance alone moves it. "
        f"Seen is what a study like this one finds in 4 of 5 cases{strict}."
    )


def uncertainty_rows(results: Results) -> list[UncertaintyRow]:
    """Return a row for every verdict on a method whose uncertainty is known."""
    return [row for verdict in on_methods(results) if (row := _row(verdict))]


def _row(verdict: Verdict) -> UncertaintyRow | None:
    found = verdict.uncertainty
    if found is None:
        return None
    return UncertaintyRow(
        pair=f"{spoken(verdict.of)} and {spoken(verdict.against)}",
        cells=[
            _points(found.seed_std),
            _points(found.seed_error),
            _points(found.image_error),
            "none" if found.visible == 1 else _points(found.visible),
            _needed(found.images_needed),
            _needed(found.seeds_needed),
        ],
    )


def _points(error: float | None) -> str:
    return "one seed cannot tell" if error is None else f"{100 * error:.2f}"


def _needed(number: int | None) -> str:
    return "no number is enough" if number is None else count(number)
