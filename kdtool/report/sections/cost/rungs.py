"""Which ways to an int8 file were tried, and which layers lose most by 8 bits."""

from dataclasses import dataclass

from kdtool.format import (
    file_size,
    listed,
    points,
    points_range,
    printable,
    time_ratio,
    time_ratio_range,
    two_digits,
)
from kdtool.results.base import Interval, Role
from kdtool.results.quantization import Ladder, Rung, SensitiveLayer
from kdtool.results.study import ModelResult, Results

MANY_TIMES = 2.0  # range of all values / that of 99.99 % of them: one of the 8 bits is lost
WIDE_SPREAD = 8.0  # greatest channel's largest weight / the median channel's


@dataclass(frozen=True, kw_only=True, slots=True)
class RungRow:
    """One file that was tried."""

    name: str
    difference: str  # in points, on validation
    interval: str
    time: str  # relative to fp32; empty: not measured
    time_interval: str
    size: str
    kept_fp32: str  # names of layers; empty: none
    passed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerRow:
    """One layer that loses much by 8 bits."""

    name: str
    operator: str
    noise: str  # signal to noise of the logits
    reason: str  # as far as it is known


@dataclass(frozen=True, kw_only=True, slots=True)
class RungTable:
    """What was tried for the int8 file of one model."""

    role: Role
    title: str
    rows: list[RungRow]
    tuning: str | None  # what fine-tuning in int8 gained, and its control; None: not tried
    layers: list[LayerRow]


def rung_tables(results: Results) -> list[RungTable]:
    """Return what was tried for each int8 file that the first rung did not give."""
    return [
        RungTable(
            role=role,
            title=title(role, model.int8_ladder),
            rows=[_rung_row(rung, model) for rung in model.int8_ladder.rungs],
            tuning=tuning_sentence(model.int8_ladder),
            layers=[_layer_row(layer) for layer in model.int8_ladder.worst_layers],
        )
        for role, model in results.models.items()
        if model.int8_ladder and not model.int8_ladder.rungs[0].passed
    ]


def title(role: Role, ladder: Ladder) -> str:
    """Say in one line what came of the attempts."""
    num, passed = len(ladder.rungs), ladder.rungs[-1].passed
    if passed:
        return f"{role}.int8.onnx: the last of {num} attempts keeps its accuracy on validation"
    return f"{role}.int8.onnx: none of {num} attempts keeps its accuracy on validation"


def tuning_sentence(ladder: Ladder) -> str | None:
    """Say what fine-tuning in int8 gained on the file that it began with, and what its control did.

    Returns:
        None if it was not tried because a file before it was good enough, or the recipe has none.
    """
    if ladder.left_out:
        return f"No fine-tuning in int8: {ladder.left_out}."
    tuned = {rung.fine_tuned: rung for rung in ladder.rungs if rung.fine_tuned}
    control, aware = tuned.get("fp32"), tuned.get("int8")
    if control is None:
        return None
    begun = max(
        (rung for rung in ladder.rungs if not rung.fine_tuned and not rung.kept_fp32),
        key=lambda rung: rung.difference,
    )
    of_control = points(control.difference - begun.difference)
    if aware is None:
        return (
            f"Fine-tuning in fp32 changed the accuracy of the int8 file by {of_control} points "
            f"({begun.name} before): enough without learning in int8, of which it is the control."
        )
    return (
        f"Fine-tuning in int8 changed the accuracy by {points(aware.difference - begun.difference)}"
        f" points ({begun.name} before); its control, the same epochs in fp32, by {of_control}."
    )


def _rung_row(rung: Rung, model: ModelResult) -> RungRow:
    ratio, interval = _time_of(rung, model)
    return RungRow(
        name=rung.name,
        difference=points(rung.difference),
        interval=points_range(rung.ci95),
        time="" if ratio is None else time_ratio(ratio),
        time_interval="" if interval is None else time_ratio_range(interval),
        size=file_size(rung.size_bytes),
        kept_fp32=printable(listed(rung.kept_fp32)) if rung.kept_fp32 else "",
        passed=rung.passed,
    )


def _time_of(rung: Rung, model: ModelResult) -> tuple[float | None, Interval | None]:
    """Return the time of a rung's file / that of fp32: its own, or that of the file that is kept.

    Files with the same layers in fp32 have the same operators.
    """
    file = model.files.get("int8")
    made = file.quantization if file else None
    if file and file.gate and made and made.kept_fp32 == rung.kept_fp32:
        return file.gate.time_ratio, file.gate.time_ratio_ci95
    return rung.time_ratio, rung.time_ratio_ci95


def _layer_row(layer: SensitiveLayer) -> LayerRow:
    return LayerRow(
        name=printable(layer.name),
        operator=printable(layer.operator),
        noise=f"{layer.snr_db:.1f} dB",
        reason=reason(layer),
    )


def reason(layer: SensitiveLayer) -> str:
    """Say what is known of why a layer loses much; "not known" if nothing stands out."""
    found = [
        f"outliers in its {what}, {two_digits(times)}x the range of 99.99 % of the values"
        for what, times in (("input", layer.input_outliers), ("output", layer.output_outliers))
        if times >= MANY_TIMES
    ]
    if layer.weight_spread >= WIDE_SPREAD:
        found.append(
            f"weights of one channel {two_digits(layer.weight_spread)}x those of the median channel"
        )
    return "; ".join(found) or "not known"
