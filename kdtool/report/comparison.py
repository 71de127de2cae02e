"""The comparison table as plain values, for HTML, Markdown and the terminal alike."""

from collections.abc import Callable
from dataclasses import dataclass

from kdtool.profiles import Latency
from kdtool.report.costs import file_of, peak_memory
from kdtool.report.quantities import (
    Relative,
    count,
    file_size,
    milliseconds,
    percent,
    percent_range,
    points,
    relative,
    short_count,
    three_digits,
)
from kdtool.report.words import present
from kdtool.results import FileResult, ModelResult, Results


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
    rows = [*_score_rows(pairs), *_count_rows(pairs), *_file_rows(pairs)]
    return [row for row in rows if any(row.cells)]


def _score_rows(pairs: list[Pair]) -> list[Row]:
    return [
        Row(
            key="accuracy",
            label="Accuracy",
            note="share of the test images recognized; mean over seeds",
            cells=[_accuracy(model, teacher) for model, teacher in pairs],
        ),
        Row(
            key="std",
            label="Spread over seeds",
            note="standard deviation of the accuracy, in points",
            cells=[_spread(model) for model, _ in pairs],
        ),
        Row(
            key="weighted_f1",
            label="Weighted F1",
            note="balances misses and false alarms of every class",
            cells=[_f1(model) for model, _ in pairs],
        ),
    ]


def _accuracy(model: ModelResult, teacher: ModelResult | None) -> Cell:
    summary = model.test["accuracy"]
    against = ""
    if teacher is not None:
        against = f"{points(summary.mean - teacher.test['accuracy'].mean)} points"
    return Cell(value=percent(summary.mean), interval=percent_range(summary.ci95), relative=against)


def _spread(model: ModelResult) -> Cell | None:
    std = model.test["accuracy"].std
    return None if std is None else Cell(value=f"{100 * std:.2f}")


def _f1(model: ModelResult) -> Cell:
    summary = model.test["weighted_f1"]
    return Cell(value=percent(summary.mean), interval=percent_range(summary.ci95))


def _count_rows(pairs: list[Pair]) -> list[Row]:
    kinds: list[tuple[str, str, str, Callable[[ModelResult], int]]] = [
        ("num_params", "Parameters", "", lambda model: model.num_params),
        ("num_macs", "MACs", "multiply-adds for one image", lambda model: model.num_macs),
        ("num_flops", "FLOPs", "2 per MAC", lambda model: model.num_flops),
        ("thop_macs", "MACs, by thop", "adds norm and pooling", lambda model: model.thop_macs),
    ]
    return [
        Row(key=key, label=label, note=note, cells=[_count(pair, number_of) for pair in pairs])
        for key, label, note, number_of in kinds
    ]


def _count(pair: Pair, number_of: Callable[[ModelResult], int]) -> Cell:
    model, teacher = pair
    number = number_of(model)
    ratio = relative(number, number_of(teacher), "fewer", "more") if teacher else None
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
