"""What the files cost on every machine that measured them."""

from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, ClassVar

from kdtool.format import (
    file_size,
    listed,
    printable,
    role_name,
)
from kdtool.report.decision import decision_of
from kdtool.report.device_choice import same_choices
from kdtool.report.parts.canvas import (
    LIGHT,
    Bar,
    Drawing,
    draw_bars,
    drawing,
    latency_bar,
    new_figure,
    quiet_axes,
)
from kdtool.report.parts.measured import (
    RUNTIMES,
    Measured,
    machine_labels,
    measured,
    runtimes,
)
from kdtool.results.machines import setting
from kdtool.results.study import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure


COLUMNS = ("Median", "p90", "Images/s", "Peak memory", "Time relative to fp32")


@dataclass(frozen=True, kw_only=True, slots=True)
class DevicesSection:
    """What the files cost on every machine."""

    LINK: ClassVar = "Devices"

    choices: list[str]  # what to ship on which machine
    figure: Drawing
    setting: str  # in which the machines of the figure are compared
    columns: tuple[str, ...]
    rows: list[Measured]
    noise: list[str]
    answers: list[str]  # which runtimes do not answer as ONNX Runtime does
    own: str | None  # that the machine of the study is among the devices; None: it is not
    machines: list[tuple[str, str]]  # label, description


def section(results: Results) -> DevicesSection | None:
    """Return the figures of all machines; None if no device was measured."""
    rows = measured(results) if results.devices else []
    if not rows:
        return None
    machines = side_by_side(rows)
    labels = machine_labels(results)
    return DevicesSection(
        choices=choice_sentences(results),
        figure=drawing(
            "devices",
            "Median latency of the files on every machine",
            lambda width: device_bars(machines, min(width, 640)),
        ),
        setting=rows[0].setting,
        columns=COLUMNS,
        rows=rows,
        noise=noise_sentences(rows),
        answers=answer_sentences(rows),
        own=own_machine_sentence(labels[0]) if labels[0] in labels[1:] else None,
        machines=machine_descriptions(results),
    )


def machine_descriptions(results: Results) -> list[tuple[str, str]]:
    """Return `(label, description)` of every machine, each once."""
    environments = [results.environment, *(device.environment for device in results.devices)]
    described: dict[str, str] = {}
    for label, environment in zip(machine_labels(results), environments, strict=True):
        parts = [environment.os, runtimes(environment), f"kdtool {environment.kdtool}"]
        if environment.memory_bytes:
            parts.append(f"{file_size(environment.memory_bytes)} of memory")
        if environment.cpu_features:
            parts.append(" ".join(environment.cpu_features))
        if environment is results.environment:
            parts.append("made this study")
        described.setdefault(label, ", ".join(part for part in parts if part))
    return list(described.items())


def noise_sentences(rows: list[Measured]) -> list[str]:
    """List the figures that should not be trusted, and why: a sentence for each machine."""
    found: dict[str, dict[str, list[Measured]]] = {}  # by machine, then by reason
    for row in rows:
        if row.latency.noise:
            found.setdefault(row.machine, {}).setdefault(row.latency.noise, []).append(row)
    settings = {row.setting for row in rows}
    sentences = []
    for machine, reasons in found.items():
        texts = [_noise(reason, disturbed, settings) for reason, disturbed in reasons.items()]
        sentences.append(f"*: on {machine}: {'; '.join(texts)}.")
    return sentences


def _noise(reason: str, rows: list[Measured], settings: set[str]) -> str:
    """Return which files were disturbed; in which setting, if there are several."""
    files: dict[str, list[str]] = {}
    for row in rows:
        files.setdefault(row.setting if len(settings) > 1 else "", []).append(row.file.path)
    names = [listed(paths) + (f" ({one})" if one else "") for one, paths in files.items()]
    return f"{listed(names)}: {reason}"


def answer_sentences(rows: list[Measured]) -> list[str]:
    """List which runtimes do not give ONNX Runtime's answers: these times are not for use."""
    found = [
        f"In {RUNTIMES[row.latency.runtime]} on {row.machine} {row.file.path} gives other answers "
        f"than in ONNX Runtime: {row.other_answers}."
        for row in rows
        if row.other_answers
    ]
    return list(dict.fromkeys(found))


def own_machine_sentence(label: str) -> str:
    """Return what a merged profile of the study's own machine replaces.

    Args:
        label: Of the machine.
    """
    return (
        f"{label} made this study: what it measured again replaces what it measured then. Another "
        "board of the same model, memory and system cannot be distinguished from it."
    )


def choice_sentences(results: Results) -> list[str]:
    """Return which file to ship on each device; machines with the same answer in one sentence."""
    return [
        f"On {listed(machines)} "
        + (f"ship {one.ship or 'nothing'}" if one.is_known else "it is not known what to ship")
        + f". {one.because}"
        for one, machines in same_choices(decision_of(results).devices)
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


def device_bars(machines: dict[str, list[Measured]], width: int) -> "Figure":
    """Draw the median latency of every file, machine after machine, on one scale."""
    num_rows = sum(1 + len(rows) for rows in machines.values())
    figure = new_figure(width, 16 + 26 * num_rows)
    axes = figure.add_subplot()
    quiet_axes(axes, grid="")
    bars: dict[int, Bar] = {}
    row = 0
    for title, rows in machines.items():
        name = shorten(printable(title), (width - 100) // 7, placeholder="...")
        axes.annotate(name, (0, row), color=LIGHT["ink"], va="center", annotation_clip=False)
        for one in rows:
            row += 1
            of = role_name(one.role) + ("" if one.precision == "fp32" else f" {one.precision}")
            bars[row] = latency_bar(of, one.role, one.latency)
        row += 1
    draw_bars(axes, bars)
    axes.set_ylim(num_rows - 0.5, -0.5)
    return figure
