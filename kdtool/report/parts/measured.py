"""Every time that a file of a study was measured, on every machine."""

from dataclasses import dataclass, replace

from kdtool.format import (
    NBSP,
    count,
    file_size,
    plural,
    three_digits,
    time_ratio,
    time_ratio_range,
)
from kdtool.report.parts.cells import Cell, p50_cell, percentile_cell
from kdtool.results.base import Interval, Precision, Role
from kdtool.results.machines import machine, setting
from kdtool.results.profile import Environment, Latency
from kdtool.results.study import FileResult, Results
from kdtool.stats.speed import speed_of

RUNTIMES = {
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "opencv": "OpenCV",
    "tract": "tract",
    "ncnn": "ncnn",
    "executorch": "ExecuTorch",
    "litert": "LiteRT",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A file of the study in one setting on one machine."""

    machine: str
    here: bool  # on the machine that made the study
    role: Role
    precision: Precision
    file: FileResult
    latency: Latency
    time_ratio: tuple[float, Interval] | None  # to the fp32 file; None: not compared
    fp32_noise: str | None = None  # why the time of that fp32 file should not be trusted
    other_answers: str | None = None  # how its answers differ from ONNX Runtime's; None: no sign

    @property
    def setting(self) -> str:
        """How it was measured, such as "ONNX Runtime, CPU, 1 thread, batch 1"."""
        latency = self.latency
        parts = [
            RUNTIMES[latency.runtime],
            latency.arithmetic,
            latency.provider.removesuffix("ExecutionProvider"),
            plural(latency.threads, "thread").replace(" ", NBSP),
            f"batch{NBSP}{count(latency.batch_size)}",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def against_fp32(self) -> str:
        """The time relative to the fp32 file with its interval; empty: not compared."""
        if self.time_ratio is None:
            return ""
        _, ends = self.time_ratio
        speed = speed_of(ends)
        if speed == "no measurable difference" and not self.is_ratio_busy:
            return speed
        return f"{self.ratio_text} ({time_ratio_range(ends)})"

    @property
    def is_ratio_busy(self) -> bool:
        """Whether the machine was busy for this file or for the fp32 file."""
        return bool(self.latency.noise or self.fp32_noise)

    @property
    def ratio_text(self) -> str:
        """The time relative to the fp32 file, with a star of a busy machine; empty: none."""
        if self.time_ratio is None:
            return ""
        return time_ratio(self.time_ratio[0]) + ("*" if self.is_ratio_busy else "")

    @property
    def cells(self) -> list[Cell | None]:
        """The figures, in the order of `COLUMNS`."""
        latency, memory = self.latency, self.latency.model_memory_bytes
        ratio = None
        if self.time_ratio:
            ratio = Cell(value=self.ratio_text, interval=time_ratio_range(self.time_ratio[1]))
        star = "*" if latency.noise else ""
        return [
            p50_cell(latency, None),
            percentile_cell(latency, lambda one: one.p90_ms),
            Cell(value=f"{three_digits(latency.images_per_second)}{star}"),
            None if memory is None else Cell(value=file_size(memory)),
            ratio,
        ]


def measured(results: Results) -> list[Measured]:
    """Return every measurement: first on the machine that made the study, then elsewhere.

    What that machine measured again, in the same setting with the same runtimes, replaces what it
    measured before, so that each of its files is listed once.
    """
    labels = machine_labels(results)
    here = [
        Measured(
            machine=labels[0],
            here=True,
            role=role,
            precision=precision,
            file=file,
            latency=file.latency,
            time_ratio=(file.gate.time_ratio, file.gate.time_ratio_ci95) if file.gate else None,
        )
        for role, precision, file in results.files
        if file.latency
    ]
    rows: list[Measured] = []
    for label, device in zip(labels[1:], results.devices, strict=True):
        timings = {(file.role, file.precision): file.timings for file in device.files}
        rows += [
            Measured(
                machine=label,
                here=False,
                role=role,
                precision=precision,
                file=file,
                latency=timing.latency,
                time_ratio=(timing.time_ratio, timing.time_ratio_ci95)
                if timing.time_ratio and timing.time_ratio_ci95
                else None,
                other_answers=timing.agreement.problem if timing.agreement else None,
            )
            for role, precision, file in results.files
            for timing in timings.get((role, precision), [])
        ]
    again = {_what(row) for row in rows}
    every = [*(row for row in here if _what(row) not in again), *rows]
    noise = {_group(row): row.latency.noise for row in every if row.precision == "fp32"}
    return [replace(row, fp32_noise=noise.get(_group(row))) for row in every]


def _group(row: Measured) -> tuple[object, ...]:
    return row.machine, row.role, *setting(row.latency)


def _what(row: Measured) -> tuple[object, ...]:
    return row.machine, row.file.path, *setting(row.latency)


def machine_labels(results: Results) -> list[str]:
    """Name the machine that made the study and every device; other software, other label."""
    labels: list[str] = []
    seen: dict[str, list[object]] = {}
    # The study may have been trained on a GPU; its files were timed on the processor.
    own = results.environment.model_copy(update={"gpu": None})
    for environment in (own, *(device.environment for device in results.devices)):
        name = machine_name(environment)
        identity = (machine(environment), runtimes(environment))
        same_name = seen.setdefault(name, [])
        if identity not in same_name:
            same_name.append(identity)
        number = same_name.index(identity) + 1
        labels.append(name if number == 1 else f"{name} ({number})")
    return labels


def machine_name(environment: Environment) -> str:
    """Return how a machine is called, such as "Cortex-A76, 4 cores"."""
    gpu = f", {environment.gpu}" if environment.gpu else ""
    return f"{environment.cpu}, {plural(environment.num_cores, 'core')}{gpu}"


def runtimes(environment: Environment) -> str:
    """Return the runtimes of a machine with their versions."""
    return ", ".join(
        f"{name} {version}"
        for name, version in environment.packages.items()
        if name.startswith(("onnxruntime", "openvino"))
    )
