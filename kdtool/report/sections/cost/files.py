"""Which file to ship and why, as plain values for report and terminal."""

from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

from kdtool.format import (
    METRIC_NAMES,
    count,
    listed,
    p_value,
    percent,
    points,
    points_range,
    printable,
    role_name,
    score_text,
    time_ratio,
    time_ratio_range,
)
from kdtool.report.decision import decision_of, shipped_role
from kdtool.report.parts.cells import (
    Cell,
    ColumnHead,
    Row,
    memory_cell,
    p50_cell,
    size_cell,
)
from kdtool.report.parts.measured import Measured, measured
from kdtool.report.sections.cost.rungs import RungTable, rung_tables
from kdtool.results.base import TEACHER_OF, Precision
from kdtool.results.quantization import Quantization
from kdtool.results.study import FP16_USE, FileResult, ModelResult, Results
from kdtool.stats.speed import speed_of

ONLY_FP32 = (
    'With precisions = ["fp32", "int8"] under [export] in the recipe, kdtool also makes an int8 '
    "file, measures it, and says whether it is worth shipping."
)
CHOSEN = (
    "A smaller file and its fp32 layers are chosen on validation images. Test images only confirm "
    "the chosen file, once: they can withdraw a recommendation, but they choose nothing."
)
MOST_NAMES = 6  # of nodes, in a sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class FilesSection:
    """Which file to ship and why."""

    LINK: ClassVar = "File to ship"

    sentence: str
    choice: str | None  # which of several students is shipped
    heads: list[ColumnHead]
    rows: list[Row]  # empty for a single file
    details: list[str]
    rungs: list[RungTable]  # of int8 files that the first attempt did not give


def section(results: Results) -> FilesSection | None:
    """Return which file to ship and why; None if the study has no files to choose from."""
    model, sentence = shipped(results), ship_sentence(results)
    if model is None or sentence is None:
        return None
    chosen = decision_of(results).ship
    return FilesSection(
        sentence=printable(sentence),
        choice=choice_sentence(results),
        heads=[
            ColumnHead(
                name=f"{precision}: ship this" if file.path == chosen else precision,
                note=printable(file.path),
                style="chosen" if file.path == chosen else "",
            )
            for precision, file in model.files.items()
        ],
        rows=ship_rows(results),
        details=[printable(detail) for detail in ship_details(results)],
        rungs=rung_tables(results),
    )


def shipped(results: Results) -> ModelResult | None:
    """Return the shipped model; None if it has no file."""
    role = shipped_role(results)
    return results.models[role] if role else None


def choice_sentence(results: Results) -> str | None:
    """Say which of several students is shipped and why; None if there is no choice."""
    chosen = shipped_role(results)
    best = {
        role: fmean(run.best.score for run in results.models[role].seeds)
        for role in TEACHER_OF
        if role in results.models
    }
    if chosen is None or len(best) < 2:
        return None
    (other,) = best.keys() - {chosen}
    name = METRIC_NAMES[results.metric]
    ours, theirs = (score_text(results.metric, best[role]) for role in (chosen, other))
    reason = f"{ours} compared with {theirs} of the {role_name(other)}"
    if best[chosen] == best[other]:
        reason = f"{ours}, equal to the {role_name(other)}, which has no lower loss"
    return (
        f"Of the two students the {role_name(chosen)} is shipped because of its {name} on "
        f"validation, mean over seeds: {reason}. The test images did not influence this choice."
    )


def ship_sentence(results: Results) -> str | None:
    """Say which file to ship and why; None if the study has no files to choose from."""
    if shipped(results) is None:
        return None
    decision = decision_of(results)
    if decision.ship is None:
        return f"Ship nothing yet. {decision.because}"
    return f"Ship {decision.ship}. {decision.because}"


def ship_details(results: Results) -> list[str]:
    """Explain each smaller file: why it is not shipped, how it was made, its speed on devices."""
    model = shipped(results)
    if model is None:
        return []
    if len(model.files) == 1 and not model.refused:
        return [ONLY_FP32]
    sentences, ship = [], decision_of(results).ship
    for precision, file in model.files.items():
        if file.gate and precision != model.recommended and file.path != ship:
            passed = "passed, but is not the fastest" if file.gate.recommended else "do not ship"
            sentences.append(f"{file.path}: {passed}; {file.gate.reason}.")
        if precision == "fp16":
            sentences.append(f"{file.path}: {FP16_USE}.")
        if file.quantization:
            sentences.append(f"{file.path}: {quantization_phrase(file.quantization)}.")
    sentences += [f"{reason}." for reason in model.refused.values()]
    if any(file.gate and file.gate.num_validation for file in model.files.values()):
        sentences.append(CHOSEN)
    return sentences + _on_devices(results)


TUNED = {
    "int8": ", weights fine-tuned to compute in int8 by the fp32 student",
    "fp32": ", weights fine-tuned in fp32 by the student itself",
}


def quantization_phrase(made: Quantization) -> str:
    """Say how an int8 file was made."""
    if not made.kept_fp32:
        kept = "nothing was left in fp32"
    else:
        names = made.kept_fp32[:MOST_NAMES]
        if len(made.kept_fp32) > MOST_NAMES:
            names = [*names, f"{len(made.kept_fp32) - MOST_NAMES} more"]
        kept = f"left in fp32 because too much accuracy was lost otherwise: {listed(names)}"
    target = "any processor" if made.target == "portable" else f"{made.target} processors"
    how = f", ranges by {made.calibration}" if made.calibration != "min-max" else ""
    how += ", biases corrected" if made.bias_corrected else ""
    how += TUNED[made.fine_tuned] if made.fine_tuned else ""
    images = f"calibrated on {count(made.num_calibration)} training images{how}"
    return f"made for {target}, {images}; {kept}"


def _on_devices(results: Results) -> list[str]:
    """Say in one sentence for each device how fast the files are; `decide` says which ships."""
    machines: dict[str, list[Measured]] = {}
    for one in measured(results):
        if one.role == shipped_role(results) and not one.here and not one.other_answers:
            machines.setdefault(one.machine, []).append(one)
    sentences = []
    for machine, rows in machines.items():
        compared: dict[Precision, Measured] = {}
        for row in rows:
            if row.time_ratio and row.file.gate:
                compared.setdefault(row.precision, row)
        if compared:
            found = "; ".join(_finding(row) for row in compared.values())
            sentences.append(f"On {machine}, {found}.")
    return sentences


def _finding(row: Measured) -> str:
    _, (low, high) = row.time_ratio or (1.0, (1.0, 1.0))
    speed = speed_of((low, high))
    found = "not measurably faster or slower" if speed == "no measurable difference" else speed
    return (
        f"{row.file.path} is {found} than fp32: {row.ratio_text} its time "
        f"({time_ratio_range((low, high))}; {row.setting})"
    )


def ship_rows(results: Results) -> list[Row]:
    """Compare the files of the model that is shipped, fp32 first; empty for a single file."""
    model = shipped(results)
    if model is None or len(model.files) == 1:
        return []
    files = list(model.files.values())
    fp32 = model.files.get("fp32")
    others = [fp32 if file is not fp32 else None for file in files]
    pairs = list(zip(files, others, strict=True))
    times = [(file.latency, other.latency if other else None) for file, other in pairs]
    rows = [
        Row(key="size", label="File size", cells=[size_cell(*pair) for pair in pairs]),
        Row(
            key="accuracy",
            label="Accuracy",
            note="of the file's own predictions, on the test images",
            cells=[Cell(value=percent(file.accuracy)) for file in files],
        ),
        Row(
            key="validation",
            label="Accuracy relative to fp32, validation",
            note="in points; these images choose the file",
            cells=[_validation_difference(file) for file in files],
        ),
        Row(
            key="difference",
            label="Accuracy relative to fp32, test",
            note="in points; these images confirm the choice, once; exact McNemar test",
            cells=[_difference(file) for file in files],
        ),
        Row(
            key="ratio",
            label="Time relative to fp32",
            note="both measured in turn",
            cells=[_time_ratio(file, fp32) for file in files],
        ),
        Row(key="p50", label="Latency, median", cells=[p50_cell(time, None) for time, _ in times]),
        Row(
            key="memory",
            label="Peak memory",
            note="of the process, minus the runtime without a model",
            cells=[memory_cell(time) for time, _ in times],
        ),
        Row(
            key="agreement",
            label="Same class as PyTorch",
            note="share of the test images",
            cells=[Cell(value=percent(file.parity.agreement)) for file in files],
        ),
    ]
    return [row for row in rows if any(row.cells)]


def _difference(file: FileResult) -> Cell | None:
    gate = file.gate
    if gate is None:
        return None
    interval = points_range(gate.ci95)
    return Cell(value=points(gate.difference), interval=interval, relative=p_value(gate.mcnemar_p))


def _validation_difference(file: FileResult) -> Cell | None:
    gate = file.gate
    if gate is None or gate.validation_difference is None or gate.validation_ci95 is None:
        return None
    interval = points_range(gate.validation_ci95)
    return Cell(value=points(gate.validation_difference), interval=interval)


def _time_ratio(file: FileResult, fp32: FileResult | None) -> Cell | None:
    gate = file.gate
    if gate is None:
        return None
    is_busy = any(one.latency.noise for one in (file, fp32) if one and one.latency)
    speed = "measured on a busy machine" if is_busy else speed_of(gate.time_ratio_ci95)
    return Cell(
        value=time_ratio(gate.time_ratio),
        interval=time_ratio_range(gate.time_ratio_ci95),
        relative=speed,
        worse=speed == "slower",
    )
