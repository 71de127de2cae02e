"""The runtimes that got a file of their own, and those that were refused one."""

from dataclasses import dataclass
from typing import ClassVar

from kdtool.format import count, file_size, listed, plural, printable, time_ratio, time_ratio_range
from kdtool.results.study import Results
from kdtool.results.targets import TargetCheck, TargetResult

EXPLAINED = (
    "The files are in targets/NAME. Each was run in its runtime, with the script next to it, on "
    "every test image, and compared with ONNX Runtime. It is written only where the class is the "
    "same on all of them and no probability differs by more than is allowed. Difference: the "
    "largest of a probability."
)
TIMED = (
    "Time: of one image in one thread, relative to the study's file in ONNX Runtime, measured in "
    "turn."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetRow:
    """One target."""

    name: str
    runtime: str  # its name in `--for`, and the version of its package
    precision: str  # "-": refused
    agreement: str  # such as "1,000 of 1,000"; "-": it did not run
    ties: str  # such as "1 tie"; empty: none
    difference: str  # the largest of a probability; "-": it did not run
    size: str
    time: str
    time_interval: str
    path: str  # folder; empty: refused


@dataclass(frozen=True, kw_only=True, slots=True)
class TargetsSection:
    """The targets of a study."""

    LINK: ClassVar = "Other runtimes"

    rows: list[TargetRow]
    refusals: list[str]
    explained: str


def section(results: Results) -> TargetsSection | None:
    """Return the targets of a study; None if it has none."""
    if not results.targets:
        return None
    return TargetsSection(
        rows=[_row(one) for one in results.targets],
        refusals=refusals(results),
        explained=f"{EXPLAINED} {TIMED}",
    )


def refusals(results: Results) -> list[str]:
    """Say why files were refused, and what is written instead."""
    return [
        printable(f"{one.name}, {check.precision}: {check.refused}; {_instead(one, results)}.")
        for one in results.targets
        for check in one.checks
        if check.refused
    ]


def _instead(one: TargetResult, results: Results) -> str:
    """Name the nearest thing that works."""
    if one.path is not None:
        return f"{one.path} has the {one.last.precision} file, which is right there"
    works = [other.name for other in results.targets if other.path is not None]
    if works:
        return f"{listed(works)} answered rightly"
    return "the study's own ONNX file in ONNX Runtime is right"


def _row(one: TargetResult) -> TargetRow:
    check, is_written = one.last, one.path is not None
    interval = one.time_ratio_ci95
    ratio = "-" if one.time_ratio is None else time_ratio(one.time_ratio)
    return TargetRow(
        name=one.name,
        runtime=printable(f"{one.name} {one.version}"),
        precision=check.precision if is_written else "refused",
        agreement=_agreement(check),
        ties=plural(len(check.ties), "tie") if check.ties else "",
        difference="-" if check.max_difference is None else f"{check.max_difference:.1g}",
        size="-" if one.size_bytes is None else file_size(one.size_bytes),
        time=f"{ratio}{' (noisy)' if one.noise else ''}",
        time_interval="" if interval is None else time_ratio_range(interval),
        path=printable(one.path or ""),
    )


def _agreement(check: TargetCheck) -> str:
    if check.agreement is None:
        return "-"
    same = check.num_images - len(check.flipped)
    return f"{count(same)} of {count(check.num_images)}"
