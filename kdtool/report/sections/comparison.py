"""The comparison table as plain values, for HTML, Markdown and the terminal alike."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kdtool.format import (
    METRIC_NAMES,
    METRIC_NOTES,
    Relative,
    count,
    decimals,
    file_size,
    in_percent,
    listed,
    metric_title,
    milliseconds,
    relative,
    role_name,
    roles_present,
    score_change,
    score_interval,
    score_text,
    short_count,
    small,
    three_digits,
)
from kdtool.report.canvas import Bar, horizontal_bars, latency_bar
from kdtool.results.base import TEACHER_OF, Metric, Role
from kdtool.results.profile import Latency
from kdtool.results.study import FileResult, ModelResult, Results
from kdtool.stats.speed import ratio_interval, speed_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def file_of(model: ModelResult) -> FileResult | None:
    """Return the file by which models are compared: fp32 with fp32."""
    return model.files.get("fp32")


def latency_of(model: ModelResult) -> Latency | None:
    """Return the latency of the file by which models are compared."""
    file = file_of(model)
    return file.latency if file else None


def cost_comparisons(model: ModelResult, reference: ModelResult) -> list[tuple[Relative, str]]:
    """Compare what two models cost: `(ratio, phrase)`, such as "8.8x fewer FLOPs"."""
    pairs: list[tuple[Relative | None, str]] = [
        (relative(model.num_flops, reference.num_flops, "fewer", "more"), "{} FLOPs")
    ]
    latency, other_latency = latency_of(model), latency_of(reference)
    if latency and other_latency:
        pairs.append((relative_time(latency, other_latency, "lower", "higher"), "{} latency"))
    pairs.append(
        (relative(model.num_params, reference.num_params, "fewer", "more"), "{} parameters")
    )
    file, other_file = file_of(model), file_of(reference)
    if file and other_file:
        ratio = relative(file.size_bytes, other_file.size_bytes, "smaller", "larger")
        pairs.append((ratio, "{} file size"))
    return [(ratio, phrase.format(ratio.text)) for ratio, phrase in pairs if ratio and ratio.times]


def relative_time(
    latency: Latency, other: Latency, better: str = "faster", worse: str = "slower"
) -> Relative:
    """Compare the medians of two latencies; by the rule of `speed_of`, they may not differ.

    The two models were not compared round by round, so the interval of their ratio is that of
    both medians' ends.
    """
    speed = speed_of(ratio_interval(latency.p50_ci95_ms, other.p50_ci95_ms))
    if speed != "no measurable difference":
        ratio = relative(latency.p50_ms, other.p50_ms, better, worse)
        if ratio is not None:
            return ratio
    return Relative(times="", word="no measurable difference", worse=False)


def cost_sentence(results: Results, role: Role = "student") -> str | None:
    """Say what a student costs against its teacher, the worse beside the better."""
    whose = TEACHER_OF[role]
    if not {whose, role} <= results.models.keys():
        return None
    student, teacher = role_name(role), role_name(whose)
    compared = cost_comparisons(results.models[role], results.models[whose])
    better = [phrase for ratio, phrase in compared if not ratio.worse]
    worse = [phrase for ratio, phrase in compared if ratio.worse]
    if not compared:
        return f"The {student} costs as much as the {teacher}."
    parts = [listed(part) for part in (better, worse) if part]
    return f"Compared with the {teacher}, the {student} has {', but '.join(parts)}."


def parity_sentence(file: FileResult) -> str:
    """Say whether a file gives what PyTorch gave."""
    parity = file.parity
    same = parity.num_images - len(parity.flipped)
    images = f"{count(same)} of {count(parity.num_images)} test images"
    if not parity.flipped:
        images = f"all {count(parity.num_images)} test images"
    error = "some answers are no number"
    if parity.max_abs_error is not None:
        error = f"max |difference| {small(parity.max_abs_error)}"
    text = f"same class as PyTorch on {images}, {error}"
    # int8 and fp16 need not agree: whether they are good enough is for their gate to say.
    return f"FAILED the check: {text}" if parity.passed is False else text


def peak_memory(latency: Latency) -> int | None:
    """Return the bytes that a model took at its peak, over the runtime without a model."""
    if latency.peak_memory_bytes is None or latency.runtime_memory_bytes is None:
        return None
    return max(0, latency.peak_memory_bytes - latency.runtime_memory_bytes)


def latency_sentence(results: Results) -> str | None:
    """Say how the latencies were taken, and whether they can be trusted; None if none was."""
    found = [latency_of(results.models[role]) for role in roles_present(results)]
    taken = [latency for latency in found if latency]
    if not taken:
        return None
    one = taken[0]
    threads = f"{count(one.threads)} thread{'s' if one.threads > 1 else ''}"
    runs = listed([count(latency.num_runs) for latency in taken])
    noisy = next((latency.noise for latency in taken if latency.noise), None)
    noise = f" Noisy: {noisy}." if noisy else ""
    return (
        f"Latency of the fp32 files in ONNX Runtime: batches of {count(one.batch_size)}, "
        f"{threads}, {one.provider}, the files in turn, {runs} runs.{noise}"
    )


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


def comparison_rows(results: Results) -> list[Row]:
    """Return all that is compared between the models, one row a quantity."""
    teacher = results.models.get("teacher")
    models = [results.models[role] for role in roles_present(results)]
    pairs = [(model, None if model is teacher else teacher) for model in models]
    rows = [*_score_rows(results.metric, pairs), *_count_rows(pairs), *_file_rows(pairs)]
    return [row for row in rows if any(row.cells)]


def _score_rows(metric: Metric, pairs: list[Pair]) -> list[Row]:
    """Return the study's metric, its spread, and the two that readers ask for beside it."""
    beside: list[Metric] = ["accuracy", "weighted_f1"]
    in_points = ", in points" if in_percent(metric) else ""
    spread = Row(
        key="std",
        label="Spread over seeds",
        note=f"standard deviation of the {METRIC_NAMES[metric]}{in_points}",
        cells=[_spread(metric, model) for model, _ in pairs],
    )
    rows = [_score_row(one, pairs) for one in beside if one != metric]
    return [_score_row(metric, pairs, key="score"), spread, *rows]


def _score_row(metric: Metric, pairs: list[Pair], key: str = "") -> Row:
    return Row(
        key=key or metric,
        label=metric_title(metric),
        note=METRIC_NOTES[metric] + ("; mean over seeds" if key else ""),
        cells=[_score(metric, model, teacher if key else None) for model, teacher in pairs],
    )


def _score(metric: Metric, model: ModelResult, teacher: ModelResult | None) -> Cell | None:
    summary = model.test.get(metric)
    if summary is None:
        return None
    against = ""
    if teacher is not None:
        against = score_change(metric, summary.mean - teacher.test[metric].mean)
        against += " points" if in_percent(metric) else ""
    value = score_text(metric, summary.mean)
    interval = score_interval(metric, summary.ci95)
    return Cell(value=value, interval=interval, relative=against)


def _spread(metric: Metric, model: ModelResult) -> Cell | None:
    std = model.test[metric].std
    if std is None:
        return None
    return Cell(value=f"{100 * std:.2f}" if in_percent(metric) else decimals(std))


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
    ratio = relative_time(latency, other) if other else None
    interval = f"{three_digits(low)} to {three_digits(high)}"
    return _cell(milliseconds(latency.p50_ms), ratio, interval=interval)


def _percentile(
    latency: Latency | None, other: Latency | None, of: Callable[[Latency], float | None]
) -> Cell | None:
    value, reference = (of(one) if one else None for one in (latency, other))
    if value is None:
        return None
    ratio = None
    # Percentiles have no interval: the medians decide whether there is a difference at all.
    if latency and other and reference and relative_time(latency, other).times:
        ratio = relative(value, reference, "faster", "slower")
    return _cell(milliseconds(value), ratio)


def memory_cell(latency: Latency | None, other: Latency | None) -> Cell | None:
    """Return the memory that a model takes, against another's."""
    value, reference = (peak_memory(one) if one else None for one in (latency, other))
    if value is None:
        return None
    ratio = relative(value, reference, "less", "more") if reference else None
    return _cell(file_size(value), ratio)


def cost_bars(results: Results) -> "dict[str, Figure]":
    """Draw parameters, FLOPs and latency, each as its own small figure."""
    models = {role: results.models[role] for role in roles_present(results)}
    params = {role: model.num_params for role, model in models.items()}
    flops = {role: model.num_flops for role, model in models.items()}
    timed = {role: found for role, model in models.items() if (found := latency_of(model))}
    figures = {
        "params": horizontal_bars(
            [Bar(role_name(role), role, n, short_count(n)) for role, n in params.items()]
        ),
        "flops": horizontal_bars(
            [Bar(role_name(role), role, n, short_count(n)) for role, n in flops.items()]
        ),
    }
    if timed:
        figures["latency"] = horizontal_bars(
            [latency_bar(role_name(role), role, latency) for role, latency in timed.items()]
        )
    return figures
