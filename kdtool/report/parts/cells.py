"""Cells of the tables that compare models, files and devices."""

from collections.abc import Callable
from dataclasses import dataclass

from kdtool.format import Relative, file_size, milliseconds, milliseconds_range, relative
from kdtool.results.profile import Latency
from kdtool.results.study import FileResult
from kdtool.stats.speed import ratio_interval, speed_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One entry in a row: a model's, or a file's."""

    value: str
    short: str = ""  # where there is little room; empty: same as `value`
    interval: str = ""
    relative: str = ""  # against the teacher, or the fp32 file
    worse: bool = False  # than the teacher, or the fp32 file


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One quantity of all models or files."""

    key: str
    label: str
    note: str = ""
    cells: list[Cell | None]  # None: not measured


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnHead:
    """The head of a column: a model, or a file."""

    name: str
    note: str
    style: str  # class of the page's style; may be empty


def relative_time(
    latency: Latency, other: Latency, better: str = "faster", worse: str = "slower"
) -> Relative:
    """Compare the medians of two latencies; by the rule of `speed_of`, they may not differ.

    The two models were not compared round by round, so the interval of their ratio comes from the
    ends of both medians' intervals.
    """
    speed = speed_of(ratio_interval(latency.p50_ci95_ms, other.p50_ci95_ms))
    if latency.noise or other.noise:
        return Relative(times="", word="not compared, the machine was busy", worse=False)
    if speed != "no measurable difference":
        ratio = relative(latency.p50_ms, other.p50_ms, better, worse)
        if ratio is not None:
            return ratio
    return Relative(times="", word="no measurable difference", worse=False)


def compared_cell(
    value: str, ratio: Relative | None, *, short: str = "", interval: str = ""
) -> Cell:
    """Return an entry with its ratio to another's; `ratio` None: there is no other."""
    text, worse = (ratio.text, ratio.worse) if ratio else ("", False)
    return Cell(value=value, short=short, interval=interval, relative=text, worse=worse)


def size_cell(file: FileResult | None, other: FileResult | None) -> Cell | None:
    """Return the size of a file, compared with another's."""
    if file is None:
        return None
    ratio = relative(file.size_bytes, other.size_bytes, "smaller", "larger") if other else None
    return compared_cell(file_size(file.size_bytes), ratio)


def time_text(latency: Latency, time_ms: float) -> str:
    """Return a time, with a star if it was measured on a busy machine."""
    return f"{milliseconds(time_ms)}*" if latency.noise else milliseconds(time_ms)


def p50_cell(latency: Latency | None, other: Latency | None) -> Cell | None:
    """Return the median of a latency, compared with another's."""
    if latency is None:
        return None
    ratio = relative_time(latency, other) if other else None
    interval = milliseconds_range(latency.p50_ci95_ms)
    return compared_cell(time_text(latency, latency.p50_ms), ratio, interval=interval)


def percentile_cell(latency: Latency | None, of: Callable[[Latency], float | None]) -> Cell | None:
    """Return a percentile of a latency, which `of` reads; without interval, and so not compared."""
    value = of(latency) if latency else None
    return None if latency is None or value is None else Cell(value=time_text(latency, value))


def memory_cell(latency: Latency | None) -> Cell | None:
    """Return the memory that a model needs; without interval, and so not compared."""
    value = latency.model_memory_bytes if latency else None
    return None if value is None else Cell(value=file_size(value))
