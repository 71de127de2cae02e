"""What the files cost on every machine that measured them, as plain values."""

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING

from kdtool.format import (
    NBSP,
    TIMES,
    count,
    file_size,
    milliseconds,
    printable,
    role_name,
    roles_present,
    three_digits,
)
from kdtool.report.canvas import LIGHT, Bar, draw_bars, latency_bar, new_figure, quiet_axes
from kdtool.report.sections.comparison import Cell, p50_cell, peak_memory
from kdtool.results.base import Interval, Precision, Role
from kdtool.results.machines import machine, setting
from kdtool.results.profile import Environment, Latency
from kdtool.results.study import FileResult, Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


RUNTIMES = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}


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

    @property
    def setting(self) -> str:
        """How it was measured, such as "ONNX Runtime, CPU, 1 thread, batch 1"."""
        latency = self.latency
        threads = f"{latency.threads}{NBSP}thread{'' if latency.threads == 1 else 's'}"
        parts = [
            RUNTIMES[latency.runtime],
            latency.arithmetic,
            latency.provider.removesuffix("ExecutionProvider"),
            threads,
            f"batch{NBSP}{count(latency.batch_size)}",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def cells(self) -> list[Cell | None]:
        """The figures, in the order of `COLUMNS`."""
        latency, memory = self.latency, peak_memory(self.latency)
        ratio = None
        if self.time_ratio:
            value, (low, high) = self.time_ratio
            ratio = Cell(value=f"{value:.2f}{TIMES}", interval=f"{low:.2f} to {high:.2f}")
        return [
            p50_cell(latency, None),
            None if latency.p90_ms is None else Cell(value=milliseconds(latency.p90_ms)),
            Cell(value=three_digits(latency.images_per_second)),
            None if memory is None else Cell(value=file_size(memory)),
            ratio,
        ]


COLUMNS = ("Median", "p90", "Images/s", "Peak memory", "Time against fp32")


def measured(results: Results) -> list[Measured]:
    """Return all that was measured: first on the machine that made the study, then elsewhere."""
    labels = machine_labels(results)
    rows = [
        Measured(
            machine=labels[0],
            here=True,
            role=role,
            precision=precision,
            file=file,
            latency=file.latency,
            time_ratio=(file.gate.time_ratio, file.gate.time_ratio_ci95) if file.gate else None,
        )
        for role, precision, file in _files(results)
        if file.latency
    ]
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
            )
            for role, precision, file in _files(results)
            for timing in timings.get((role, precision), [])
        ]
    return rows


def machine_labels(results: Results) -> list[str]:
    """Name the machine that made the study and every device; other software is another label."""
    labels: list[str] = []
    seen: dict[str, list[object]] = {}
    # The study may have been trained on a GPU; its files were timed on the processor.
    own = results.environment.model_copy(update={"gpu": None})
    for environment in (own, *(device.environment for device in results.devices)):
        gpu = f", {environment.gpu}" if environment.gpu else ""
        name = f"{environment.cpu}, {_cores(environment)}{gpu}"
        identity = (machine(environment), _runtimes(environment))
        same_name = seen.setdefault(name, [])
        if identity not in same_name:
            same_name.append(identity)
        number = same_name.index(identity) + 1
        labels.append(name if number == 1 else f"{name} ({number})")
    return labels


def machine_descriptions(results: Results) -> list[tuple[str, str]]:
    """Return `(label, description)` of every machine, each once."""
    environments = [results.environment, *(device.environment for device in results.devices)]
    described: dict[str, str] = {}
    for label, environment in zip(machine_labels(results), environments, strict=True):
        parts = [environment.os, _runtimes(environment), f"kdtool {environment.kdtool}"]
        if environment.memory_bytes:
            parts.append(f"{file_size(environment.memory_bytes)} of memory")
        if environment.cpu_features:
            parts.append(" ".join(environment.cpu_features))
        if environment is results.environment:
            parts.append("made this study")
        described.setdefault(label, ", ".join(part for part in parts if part))
    return list(described.items())


def noise_sentences(rows: list[Measured]) -> list[str]:
    """Say which figures should not be trusted, and why."""
    return [
        f"Noisy: {row.file.path} on {row.machine}, {row.setting}: {row.latency.noise}."
        for row in rows
        if row.latency.noise
    ]


def side_by_side(rows: list[Measured]) -> dict[str, list[Measured]]:
    """Return the rows of every machine in one setting, by which machines can be compared.

    The setting is that of the first row; machines that did not measure in it are left out.
    """
    machines: dict[str, list[Measured]] = {}
    for row in rows:
        known = machines.get(row.machine, [])
        if setting(row.latency) == setting(rows[0].latency) and all(
            row.file is not other.file for other in known
        ):
            machines[row.machine] = [*known, row]
    return machines


def _files(results: Results) -> Iterator[tuple[Role, Precision, FileResult]]:
    for role in roles_present(results):
        for precision, file in results.models[role].files.items():
            yield role, precision, file


def _cores(environment: Environment) -> str:
    return f"{environment.num_cores} core{'' if environment.num_cores == 1 else 's'}"


def _runtimes(environment: Environment) -> str:
    return ", ".join(
        f"{name} {version}"
        for name, version in environment.packages.items()
        if name.startswith(("onnxruntime", "openvino"))
    )


def device_bars(machines: dict[str, list[Measured]], width: int) -> "Figure":
    """Draw the median latency of every file, machine after machine, on one scale."""
    num_rows = sum(1 + len(rows) for rows in machines.values())
    figure = new_figure(width, 16 + 26 * num_rows)
    axes = figure.add_subplot()
    quiet_axes(axes, grid="")
    bars: dict[int, Bar] = {}
    row = 0
    for title, measured in machines.items():
        name = shorten(printable(title), (width - 100) // 7, placeholder="...")
        axes.annotate(name, (0, row), color=LIGHT["ink"], va="center", annotation_clip=False)
        for one in measured:
            row += 1
            of = role_name(one.role) + ("" if one.precision == "fp32" else f" {one.precision}")
            bars[row] = latency_bar(of, one.role, one.latency)
        row += 1
    draw_bars(axes, bars)
    axes.set_ylim(num_rows - 0.5, -0.5)
    return figure
