"""The comparison table as plain values, for HTML, Markdown and the terminal alike."""

from collections.abc import Callable
from dataclasses import dataclass

from kdtool.artifacts import FileResult
from kdtool.profiles import Latency
from kdtool.record import Metric
from kdtool.report import metrics
from kdtool.report.costs import file_of, peak_memory
from kdtool.report.quantities import (
    Relative,
    count,
    decimals,
    file_size,
    milliseconds,
    relative,
    short_count,
    three_digits,
)
from kdtool.report.words import present
from kdtool.results import ModelResult, Results


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One model's entry in a row."""

    value: str
    short: str = ""  # where there is little room; empty: as `value`
    interval: str = ""
    relative: str = ""  # against the teacher
    worse: bool = False  # than the teacher


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One quantity of all models, in the order of `present`."""

    key: str
    label: str
    note: str = ""
    cells: list[Cell | None]  # None: not measured


# A model and the teacher, with which it is compared; None: it is the teacher, or there is none.
Pair = tuple[ModelResult, ModelResult | None]


def comparison(results: Results) -> list[Row]:
    """Return all that is compared between the models, one row a quantity."""
    teacher = results.models.get("teacher")
    models = [results.models[role] for role in present(results)]
    pairs = [(model, None if model is teacher else teacher) for model in models]
    rows = [*_score_rows(results.metric, pairs), *_count_rows(pairs), *_file_rows(pairs)]
    return [row for row in rows if any(row.cells)]


def _score_rows(metric: Metric, pairs: list[Pair]) -> list[Row]:
    """Return the study's metric, its spread, and the two that readers ask for beside it."""
    beside: list[Metric] = ["accuracy", "weighted_f1"]
    in_points = ", in points" if metrics.in_percent(metric) else ""
    spread = Row(
        key="std",
        label="Spread over seeds",
        note=f"standard deviation of the {metrics.NAMES[metric]}{in_points}",
        cells=[_spread(metric, model) for model, _ in pairs],
    )
    rows = [_score_row(one, pairs) for one in beside if one != metric]
    return [_score_row(metric, pairs, key="score"), spread, *rows]


def _score_row(metric: Metric, pairs: list[Pair], key: str = "") -> Row:
    return Row(
        key=key or metric,
        label=metrics.title(metric),
        note=metrics.NOTES[metric] + ("; mean over seeds" if key else ""),
        cells=[_score(metric, model, teacher if key else None) for model, teacher in pairs],
    )


def _score(metric: Metric, model: ModelResult, teacher: ModelResult | None) -> Cell | None:
    summary = model.test.get(metric)
    if summary is None:
        return None
    against = ""
    if teacher is not None:
        against = metrics.change(metric, summary.mean - teacher.test[metric].mean)
        against += " points" if metrics.in_percent(metric) else ""
    value = metrics.value(metric, summary.mean)
    interval = metrics.interval(metric, summary.ci95)
    return Cell(value=value, interval=interval, relative=against)


def _spread(metric: Metric, model: ModelResult) -> Cell | None:
    std = model.test[metric].std
    if std is None:
        return None
    return Cell(value=f"{100 * std:.2f}" if metrics.in_percent(metric) else decimals(std))


def _count_rows(pairs: list[Pair]) -> list[Row]:
    kinds: list[tuple[str, str, str, Callable[[ModelResult], int | None]]] = [
        ("num_params", "Parameters", "", lambda model: model.num_params),
        ("num_macs", "MACs", "multiply-adds for one image", lambda model: model.num_macs),
        ("num_flops", "FLOPs", "2 per MAC", lambda model: model.num_flops),
        ("thop_macs", "MACs, by thop", "adds norm and pooling", lambda model: model.thop_macs),
    ]
    return [
        Row(key=key, label=label, note=note, cells=[_count(pair, number_of) for pair in pairs])
        for key, label, note, number_of in kinds
    ]


def _count(pair: Pair, number_of: Callable[[ModelResult], int | None]) -> Cell | None:
    number, reference = (number_of(model) if model else None for model in pair)
    if number is None:
        return None
    ratio = relative(number, reference, "fewer", "more") if reference else None
    return _cell(count(number), ratio, short=short_count(number))


def _cell(value: str, ratio: Relative | None, *, short: str = "", interval: str = "") -> Cell:
    text, worse = (ratio.text, ratio.worse) if ratio else ("", False)
    return Cell(value=value, short=short, interval=interval, relative=text, worse=worse)


def _file_rows(pairs: list[Pair]) -> list[Row]:
    files = [(file_of(model), file_of(teacher) if teacher else None) for model, teacher in pairs]
    times = [
        (file.latency if file else None, other.latency if other else None) for file, other in files
    ]
    percentiles: list[tuple[str, str, str, Callable[[Latency], float | None]]] = [
        ("p90", "Latency, p90", "nine of ten runs were faster", lambda latency: latency.p90_ms),
        ("p95", "Latency, p95", "19 of 20 runs were faster", lambda latency: latency.p95_ms),
    ]
    return [
        Row(key="size", label="File size", cells=[size_cell(*pair) for pair in files]),
        Row(
            key="p50",
            label="Latency, median",
            note="half of the runs were faster (p50)",
            cells=[p50_cell(*pair) for pair in times],
        ),
        *(
            Row(key=key, label=label, note=note, cells=[_percentile(*pair, of) for pair in times])
            for key, label, note, of in percentiles
        ),
        Row(
            key="memory",
            label="Peak memory",
            note="of the process, over the runtime without a model",
            cells=[memory_cell(*pair) for pair in times],
        ),
    ]


def size_cell(file: FileResult | None, other: FileResult | None) -> Cell | None:
    """Return the size of a file, against another's."""
    if file is None:
        return None
    ratio = relative(file.size_bytes, other.size_bytes, "smaller", "larger") if other else None
    return _cell(file_size(file.size_bytes), ratio)


def p50_cell(latency: Latency | None, other: Latency | None) -> Cell | None:
    """Return the median of a latency, against another's."""
    if latency is None:
        return None
    low, high = latency.p50_ci95_ms
    ratio = relative(latency.p50_ms, other.p50_ms, "faster", "slower") if other else None
    interval = f"{three_digits(low)} to {three_digits(high)}"
    return _cell(milliseconds(latency.p50_ms), ratio, interval=interval)


def _percentile(
    latency: Latency | None, other: Latency | None, of: Callable[[Latency], float | None]
) -> Cell | None:
    value, reference = (of(one) if one else None for one in (latency, other))
    if value is None:
        return None
    ratio = relative(value, reference, "faster", "slower") if reference else None
    return _cell(milliseconds(value), ratio)


def memory_cell(latency: Latency | None, other: Latency | None) -> Cell | None:
    """Return the memory that a model takes, against another's."""
    value, reference = (peak_memory(one) if one else None for one in (latency, other))
    if value is None:
        return None
    ratio = relative(value, reference, "less", "more") if reference else None
    return _cell(file_size(value), ratio)
