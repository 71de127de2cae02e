"""The comparison of the models and their costs, as plain values for report and terminal."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

from kdtool.format import (
    MAC_LINE,
    METRIC_NAMES,
    METRIC_NOTES,
    Relative,
    bounded,
    count,
    decimals,
    in_percent,
    listed,
    metric_title,
    percent,
    percent_number,
    percent_range,
    plural,
    points,
    points_range,
    printable,
    relative,
    role_name,
    roles_present,
    score_change,
    score_range,
    score_text,
    short_count,
    two_digits,
)
from kdtool.report.decision import file_to_ship
from kdtool.report.parts.cells import (
    Cell,
    ColumnHead,
    Row,
    compared_cell,
    memory_cell,
    p50_cell,
    percentile_cell,
    relative_time,
    size_cell,
)
from kdtool.results.base import TEACHER_OF, Metric, Role
from kdtool.results.profile import Latency
from kdtool.results.study import FileResult, ModelResult, Results
from kdtool.stats.intervals import wilson_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class FileCheck:
    """A file, and whether it returns what PyTorch returned."""

    path: str
    sentence: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonSection:
    """The models side by side."""

    LINK: ClassVar = "Models"

    heads: list[ColumnHead]
    rows: list[Row]
    macs: str  # what a MAC is
    seeds: str  # which scores are means over seeds; empty: all
    latency: str  # how latency was measured
    checks: list[FileCheck]


HIDDEN = ("num_flops", "thop_macs", "p90")  # rows that the table of the report leaves out


def section(results: Results) -> ComparisonSection | None:
    """Return the models side by side; None in a study without models."""
    roles = roles_present(results)
    if not roles:
        return None
    heads = [
        ColumnHead(name=role_name(role), note=printable(results.models[role].model), style=role)
        for role in roles
    ]
    rows = [row for row in comparison_rows(results) if row.key not in HIDDEN]
    if found := file_to_ship(results):
        role, file = found
        seed = results.models[role].exported_seed
        heads.append(
            ColumnHead(name=printable(file.path), note=f"ships: seed {seed}", style="chosen")
        )
        cells = shipped_cells(results, role, file)
        rows = [replace(row, cells=[*row.cells, cells.get(row.key)]) for row in rows]
    return ComparisonSection(
        heads=heads,
        rows=rows,
        macs=MAC_LINE,
        seeds="Scores of the models are means over their seeds; those of the file that ships are "
        "of its seed alone."
        if found
        else "",
        latency=latency_sentence(results) or "Latency was not measured.",
        checks=[
            FileCheck(path=printable(file.path), sentence=parity_sentence(file))
            for role in roles
            for file in results.models[role].files.values()
        ],
    )


def shipped_cells(results: Results, role: Role, file: FileResult) -> dict[str, Cell | None]:
    """Return the entries of the file that ships, by the key of their row."""
    model, teacher = results.models[role], results.models.get(TEACHER_OF[role])
    other = file_of(teacher) if teacher else None
    against = ""
    if file.against_teacher:
        difference = file.against_teacher
        against = f"{points(difference.difference)} points ({points_range(difference.ci95)})"
    num_right = round(file.accuracy * results.data.num_test)
    ends = wilson_interval(num_right, results.data.num_test)
    accuracy = Cell(value=percent(file.accuracy), interval=percent_range(ends), relative=against)
    pair = (model, teacher)
    return {
        "score" if results.metric == "accuracy" else "accuracy": accuracy,
        "num_params": _count(pair, "num_params"),
        "num_macs": _count(pair, "num_macs"),
        "size": size_cell(file, other),
        "p50": p50_cell(file.latency, other.latency if other else None),
        "p95": percentile_cell(file.latency, lambda latency: latency.p95_ms),
        "memory": memory_cell(file.latency),
    }


def file_of(model: ModelResult) -> FileResult | None:
    """Return the file that represents a model in comparisons: fp32."""
    return model.files.get("fp32")


def latency_of(model: ModelResult) -> Latency | None:
    """Return the latency of the file that represents a model in comparisons."""
    file = file_of(model)
    return file.latency if file else None


def cost_comparisons(model: ModelResult, reference: ModelResult) -> list[tuple[Relative, str]]:
    """Compare what two models cost: `(ratio, phrase)`, such as "8.8x fewer FLOPs"."""
    pairs: list[tuple[Relative | None, str]] = [
        (_count_ratio(model, reference, "num_flops"), "{} FLOPs")
    ]
    latency, other_latency = latency_of(model), latency_of(reference)
    if latency and other_latency:
        pairs.append((relative_time(latency, other_latency, "lower", "higher"), "{} latency"))
    pairs.append((_count_ratio(model, reference, "num_params"), "{} parameters"))
    file, other_file = file_of(model), file_of(reference)
    if file and other_file:
        ratio = relative(file.size_bytes, other_file.size_bytes, "smaller", "larger")
        pairs.append((ratio, "{} file size"))
    return [(ratio, phrase.format(ratio.text)) for ratio, phrase in pairs if ratio and ratio.times]


def cost_sentence(results: Results, role: Role = "student") -> str | None:
    """Say what a student costs compared with its teacher: what is better, then what is worse."""
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
    """Say whether a file returns what PyTorch returned."""
    parity = file.parity
    same = parity.num_images - len(parity.flipped)
    images = f"{count(same)} of {count(parity.num_images)} test images"
    if not parity.flipped:
        images = f"all {count(parity.num_images)} test images"
    error = "some outputs are NaN or infinite"
    if parity.max_abs_error is not None:
        error = f"largest difference of a logit {two_digits(parity.max_abs_error)}"
    text = f"same class as PyTorch on {images}, {error}"
    # int8 and fp16 need not agree: their gate decides whether they are good enough.
    return f"FAILED the check: {text}" if parity.passed is False else text


def latency_sentence(results: Results) -> str | None:
    """Say how latency was measured, and whether it can be trusted; None if it was not measured."""
    found = [latency_of(results.models[role]) for role in roles_present(results)]
    taken = [latency for latency in found if latency]
    if not taken:
        return None
    one = taken[0]
    runs = listed([count(latency.num_runs) for latency in taken])
    noisy = next((latency.noise for latency in taken if latency.noise), None)
    noise = f" *: measured on a busy machine: {noisy}." if noisy else ""
    return (
        f"Latency of the fp32 files in ONNX Runtime: batch size {count(one.batch_size)}, "
        f"{plural(one.threads, 'thread')}, {one.provider}, files measured in turn, {runs} runs."
        f"{noise}"
    )


# A model and the teacher that it is compared with; None: it is the teacher, or there is none.
Pair = tuple[ModelResult, ModelResult | None]


def comparison_rows(results: Results) -> list[Row]:
    """Return the comparison of the models, one row a quantity."""
    teacher = results.models.get("teacher")
    models = [results.models[role] for role in roles_present(results)]
    pairs = [(model, None if model is teacher else teacher) for model in models]
    rows = [*_score_rows(results.metric, pairs), *_count_rows(pairs), *_file_rows(pairs)]
    return [row for row in rows if any(row.cells)]


def _score_rows(metric: Metric, pairs: list[Pair]) -> list[Row]:
    """Return the study's metric, its spread, and the two other scores that readers ask for."""
    others: list[Metric] = ["accuracy", "weighted_f1"]
    in_points = ", in points" if in_percent(metric) else ""
    spread = Row(
        key="std",
        label="Spread over seeds",
        note=f"standard deviation of the {METRIC_NAMES[metric]}{in_points}",
        cells=[_spread(metric, model) for model, _ in pairs],
    )
    rows = [_score_row(one, pairs) for one in others if one != metric]
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
    interval = score_range(metric, summary.ci95)
    return Cell(value=value, interval=interval, relative=against)


def _spread(metric: Metric, model: ModelResult) -> Cell | None:
    std = model.test[metric].std
    if std is None:
        return None
    return Cell(value=percent_number(std, 2) if in_percent(metric) else decimals(std))


def _count_rows(pairs: list[Pair]) -> list[Row]:
    kinds = [
        ("num_params", "Parameters", ""),
        ("num_macs", "MACs", "multiply-adds per image; FLOPs are twice as many"),
        ("num_flops", "FLOPs", "2 per MAC"),
        ("thop_macs", "MACs, by thop", "includes norm, pooling"),
    ]
    return [
        Row(key=key, label=label, note=note, cells=[_count(pair, key) for pair in pairs])
        for key, label, note in kinds
    ]


def _count(pair: Pair, key: str) -> Cell | None:
    model, other = pair
    number: int | None = getattr(model, key)
    if number is None:
        return None
    at_least = is_lower_bound(model, key)
    return compared_cell(
        bounded(count(number), at_least=at_least),
        _count_ratio(model, other, key) if other else None,
        short=bounded(short_count(number), at_least=at_least),
    )


def is_lower_bound(model: ModelResult, key: str) -> bool:
    """Return whether a count of a model is a lower bound."""
    return {
        "num_params": model.params_at_least,
        "num_macs": model.macs_at_least,
        "num_flops": model.macs_at_least,
    }.get(key, False)


def _count_ratio(model: ModelResult, other: ModelResult, key: str) -> Relative | None:
    """Compare a count of two models; None: one is unknown, or a lower bound."""
    number, reference = getattr(model, key), getattr(other, key)
    if not reference or is_lower_bound(model, key) or is_lower_bound(other, key):
        return None
    return relative(number, reference, "fewer", "more")


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
            Row(
                key=key,
                label=label,
                note=note,
                cells=[percentile_cell(time, of) for time, _ in times],
            )
            for key, label, note, of in percentiles
        ),
        Row(
            key="memory",
            label="Peak memory",
            note="of the process, minus the runtime without a model",
            cells=[memory_cell(time) for time, _ in times],
        ),
    ]
