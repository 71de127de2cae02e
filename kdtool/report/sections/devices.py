"""What the files cost on every machine that measured them."""

from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, ClassVar

from kdtool.format import (
    NBSP,
    count,
    file_size,
    milliseconds,
    plural,
    printable,
    role_name,
    three_digits,
    time_ratio,
    time_ratio_range,
)
from kdtool.report.canvas import (
    LIGHT,
    Bar,
    Drawing,
    draw_bars,
    drawing,
    latency_bar,
    new_figure,
    quiet_axes,
)
from kdtool.report.cells import Cell, p50_cell
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
        parts = [
            RUNTIMES[latency.runtime],
            latency.arithmetic,
            latency.provider.removesuffix("ExecutionProvider"),
            plural(latency.threads, "thread").replace(" ", NBSP),
            f"batch{NBSP}{count(latency.batch_size)}",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def cells(self) -> list[Cell | None]:
        """The figures, in the order of `COLUMNS`."""
        latency, memory = self.latency, self.latency.model_memory_bytes
        ratio = None
        if self.time_ratio:
            value, ends = self.time_ratio
            ratio = Cell(value=time_ratio(value), interval=time_ratio_range(ends))
        return [
            p50_cell(latency, None),
            None if latency.p90_ms is None else Cell(value=milliseconds(latency.p90_ms)),
            Cell(value=three_digits(latency.images_per_second)),
            None if memory is None else Cell(value=file_size(memory)),
            ratio,
        ]


COLUMNS = ("Median", "p90", "Images/s", "Peak memory", "Time relative to fp32")


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicesSection:
    """What the files cost on every machine."""

    LINK: ClassVar = "Devices"

    figure: Drawing
    setting: str  # in which the machines of the figure are compared
    columns: tuple[str, ...]
    rows: list[Measured]
    noise: list[str]
    machines: list[tuple[str, str]]  # label, description


def section(results: Results) -> DevicesSection | None:
    """Return the figures of all machines; None if no device was measured."""
    rows = measured(results) if results.devices else []
    if not rows:
        return None
    machines = side_by_side(rows)
    return DevicesSection(
        figure=drawing(
            "devices",
            "Median latency of the files on every machine",
            lambda width: device_bars(machines, min(width, 640)),
        ),
        setting=rows[0].setting,
        columns=COLUMNS,
        rows=rows,
        noise=noise_sentences(rows),
        machines=machine_descriptions(results),
    )


def measured(results: Results) -> list[Measured]:
    """Return every measurement: first on the machine that made the study, then elsewhere."""
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
        for role, precision, file in results.files
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
            for role, precision, file in results.files
            for timing in timings.get((role, precision), [])
        ]
    return rows


def machine_labels(results: Results) -> list[str]:
    """Name the machine that made the study and every device; other software, other label."""
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
    """List the figures that should not be trusted, and why."""
    return [
        f"Noisy: {row.file.path} on {row.machine}, {row.setting}: {row.latency.noise}."
        for row in rows
        if row.latency.noise
    ]


def side_by_side(rows: list[Measured]) -> dict[str, list[Measured]]:
    """Return the rows of every machine in one setting, so that machines can be compared.

    The setting is that of the first row; machines without figures in it are left out.
    """
    machines: dict[str, list[Measured]] = {}
    for row in rows:
        known = machines.get(row.machine, [])
        if setting(row.latency) == setting(rows[0].latency) and all(
            row.file is not other.file for other in known
        ):
            machines[row.machine] = [*known, row]
    return machines


def _cores(environment: Environment) -> str:
    return plural(environment.num_cores, "core")


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
