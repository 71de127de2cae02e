"""The files of a study: which there are, how fast they are, and which one to ship."""

import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import get_args

from kdtool.edge.latency.measure import measure, ratio_of
from kdtool.environment import collect_environment
from kdtool.results.base import ROLES, Interval, Role
from kdtool.results.study import FileResult, Gate, Precision, SpeedResult
from kdtool.stats import intervals
from kdtool.stats.speed import is_faster
from kdtool.study.folder import key_of
from kdtool.train.evaluation.evaluate import Evaluated
from kdtool.train.export.fp32 import export
from kdtool.train.export.int8_fp16 import Smaller, make_smaller
from kdtool.train.export.onnx_file import given_shape
from kdtool.train.run import Run

# Whose files are shipped; teacher and control are there to be compared with.
SHIPPED: tuple[Role, ...] = ("student", "subclass-student")


@dataclass(frozen=True)
class Shipment:
    """The files of one model."""

    files: dict[Precision, FileResult]
    refused: dict[Precision, str]  # why a file that was asked for is not there
    recommended: Precision


def ship(run: Run, chosen: dict[Role, Evaluated]) -> dict[Role, Shipment]:
    """Write, check and time the ONNX files of the models, and choose which to ship.

    Raises:
        GateError: A file does not give what PyTorch gives.
    """
    # A teacher that is an ONNX file is the user's own.
    written = {role: one for role, one in chosen.items() if not run.table(role).is_onnx}
    fp32 = {role: export(run, evaluated) for role, evaluated in written.items()}
    smaller: dict[Role, dict[Precision, Smaller]] = {
        role: {
            precision: make_smaller(run, chosen[role], file, precision)
            for precision in run.recipe.export.precisions
            if precision != "fp32" and role in SHIPPED
        }
        for role, file in fp32.items()
    }
    for role, precision in product(SHIPPED, get_args(Precision)):
        if role not in chosen or precision not in run.recipe.export.precisions:
            (run.study.folder / f"{role}.{precision}.onnx").unlink(missing_ok=True)
    for role in ROLES:
        if role not in written:  # of a study that stood here before
            (run.study.folder / f"{role}.onnx").unlink(missing_ok=True)
    kept = [one.file for made in smaller.values() for one in made.values() if one.file]
    pairs = {
        one.file.path: fp32[role].path
        for role, made in smaller.items()
        for one in made.values()
        if one.file
    }
    speed = time_files(run, [*fp32.values(), *kept], pairs)
    return {role: shipment(run, fp32[role], smaller[role], speed) for role in written}


def time_files(run: Run, files: list[FileResult], pairs: dict[str, str]) -> SpeedResult:
    """Time files on this machine, in turn, so that its drift hits all alike.

    Args:
        run: The study.
        files: Which.
        pairs: Path of a file -> path of the one that it is compared with.
    """
    table, environment = run.recipe.profile, collect_environment()

    def make() -> tuple[SpeedResult, list[Path]]:
        run.terminal.say(f"measuring latency, {len(files)} x {table.seconds:g} s")
        measured = measure(
            [run.study.folder / file.path for file in files],
            threads=table.threads,
            seconds=table.seconds,
            shapes={"image": given_shape(run.image_shape, run.recipe.export.input)},
        )
        by_path = {file.path: one for file, one in zip(files, measured, strict=True)}
        ratios = {of: ratio_of(by_path[of], by_path[against]) for of, against in pairs.items()}
        latency = {path: one.latency for path, one in by_path.items()}
        return SpeedResult(latency=latency, ratios=ratios), []

    hashes = {file.path: file.sha256 for file in files}
    machine = [environment.cpu, environment.num_cores, environment.packages]
    key = key_of("latency", hashes, table, machine)
    return run.study.stage("latency", key, SpeedResult, make)


def shipment(
    run: Run, fp32: FileResult, smaller: dict[Precision, Smaller], speed: SpeedResult
) -> Shipment:
    """Put together what is known of the files of one model; ship the fastest that may be."""
    files: dict[Precision, FileResult] = {"fp32": fp32}
    refused: dict[Precision, str] = {}
    for precision, one in smaller.items():
        if one.file is None:
            refused[precision] = one.refused or ""
            continue
        num_images, ratio = len(run.splits.test), speed.ratios[one.file.path]
        gate = judge(one, num_images, *ratio, run.recipe.export.max_drop)
        files[precision] = one.file.model_copy(update={"gate": gate})
    files = {
        precision: file.model_copy(update={"latency": speed.latency[file.path]})
        for precision, file in files.items()
    }
    good = {p: f.gate.time_ratio for p, f in files.items() if f.gate and f.gate.recommended}
    recommended: Precision = min(good, key=lambda p: good[p]) if good else "fp32"
    return Shipment(files=files, refused=refused, recommended=recommended)


def least_images(max_drop: float) -> int:
    """Return on how many images a file that never differs is shown to lose less than `max_drop`.

    It is where the lower end of `stats.no_difference_interval` comes to lie above minus that.
    """
    return math.floor(intervals.Z95 * math.sqrt(2) / max_drop) - 1


def judge(
    one: Smaller, num_images: int, ratio: float, ratio_ci95: Interval, max_drop: float
) -> Gate:
    """Recommend a smaller file if it is faster, and shown to lose less than `max_drop`.

    Args:
        one: The file and what it costs in accuracy.
        num_images: Of the test split.
        ratio: Its time / the time of the fp32 file.
        ratio_ci95: Of `ratio`.
        max_drop: Of accuracy; the lower end of the paired interval must lie above minus this.
    """
    faster = is_faster(ratio_ci95)
    keeps = one.ci95[0] > -max_drop
    lower, upper = (100 * end for end in one.ci95)
    speed = f"{ratio:.2f} of the time of fp32 ({ratio_ci95[0]:.2f} to {ratio_ci95[1]:.2f})"
    accuracy = f"{100 * one.difference:+.2f} points of accuracy ({lower:+.2f} to {upper:+.2f})"
    allowed = f"{100 * max_drop:g} point{'' if max_drop == 0.01 else 's'}"
    least = least_images(max_drop)
    reasons = [f"it takes {speed}" if faster else f"it is not faster: it takes {speed}"]
    reasons.append(
        f"{accuracy}, shown to lose less than {allowed}"
        if keeps
        else f"{accuracy}, not shown to lose less than {allowed}"
        + (f", which takes {least:,} test images or more" if num_images < least else "")
    )
    return Gate(
        difference=one.difference,
        ci95=one.ci95,
        mcnemar_p=one.mcnemar_p,
        max_drop=max_drop,
        time_ratio=ratio,
        time_ratio_ci95=ratio_ci95,
        recommended=faster and keeps,
        reason="; ".join(reasons),
    )
