"""The files of a study: which exist, how fast they are, and which one to ship."""

import math
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import get_args

from kdtool.edge.latency.measure import measure, ratio_of
from kdtool.environment import collect_environment
from kdtool.format import keyboard_text, points, points_range
from kdtool.results.base import ROLES, TEACHER_OF, Interval, Precision, Role
from kdtool.results.evidence import PairedDifference
from kdtool.results.quantization import Ladder
from kdtool.results.study import FileResult, Gate, SpeedResult
from kdtool.stats import intervals
from kdtool.stats.speed import is_faster
from kdtool.study.keys import key_of
from kdtool.train.evaluation.evaluate import Evaluated, split_labels
from kdtool.train.export.accuracy import (
    AccuracyDifference,
    accuracy_difference,
    calls_of_file,
    calls_of_model,
    decision,
    probabilities_on_test,
)
from kdtool.train.export.fp32 import decision_of, export
from kdtool.train.export.int8_fp16 import Smaller, make_smaller
from kdtool.train.export.onnx_file import given_shape
from kdtool.train.run import Run

# Roles with files to ship; those of teacher and control are for comparison only.
SHIPPED: tuple[Role, ...] = ("student", "subclass-student")


@dataclass(frozen=True)
class Shipment:
    """The files of one model."""

    files: dict[Precision, FileResult]
    refused: dict[Precision, str]  # precision that the recipe asks for -> why it has no file
    recommended: Precision
    int8_ladder: Ladder | None  # what was tried for the int8 file; None: none was asked for


def ship(run: Run, chosen: dict[Role, Evaluated]) -> dict[Role, Shipment]:
    """Write, check and time the ONNX files of the models, and choose which file to ship.

    Raises:
        GateError: A file does not give the same outputs as PyTorch.
    """
    # The user already has the ONNX file of a teacher that is one.
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
        if role not in written:  # of an earlier study in this folder
            (run.study.folder / f"{role}.onnx").unlink(missing_ok=True)
    kept = [one.file for made in smaller.values() for one in made.values() if one.file]
    pairs = {
        one.file.path: fp32[role].path
        for role, made in smaller.items()
        for one in made.values()
        if one.file
    }
    speed = time_files(run, [*fp32.values(), *kept], pairs)
    found = {role: shipment(run, fp32[role], smaller[role], speed) for role in written}
    return {role: with_teacher(run, chosen, role, one) for role, one in found.items()}


def with_teacher(
    run: Run, chosen: dict[Role, Evaluated], role: Role, shipment: Shipment
) -> Shipment:
    """Compare the files of a student with its teacher, on the test images."""
    teacher = chosen.get(TEACHER_OF[role]) if role in SHIPPED else None
    if teacher is None:
        return shipment
    files = {
        precision: file.model_copy(
            update={"against_teacher": against_teacher(run, chosen[role], teacher, file)}
        )
        for precision, file in shipment.files.items()
    }
    return replace(shipment, files=files)


def against_teacher(
    run: Run, student: Evaluated, teacher: Evaluated, file: FileResult
) -> PairedDifference:
    """Compare the classes that a file calls with those of the teacher, each at its threshold."""
    path, test = run.study.folder / file.path, run.splits.test

    def make() -> tuple[PairedDifference, list[Path]]:
        calls = calls_of_file(run, student, probabilities_on_test(run, path))
        reference = calls_of_model(run, teacher, teacher.test_logits)
        found = accuracy_difference(calls, reference, split_labels(test))
        return PairedDifference(difference=found.difference, ci95=found.ci95), []

    at = [decision_of(decision(run, one)) for one in (student, teacher)]
    key = key_of("against-teacher", file.sha256, teacher.trained.key, at, run.recipe.export.input)
    return run.study.stage(f"against-teacher-{path.stem}", key, PairedDifference, make)


def time_files(run: Run, files: list[FileResult], pairs: dict[str, str]) -> SpeedResult:
    """Time files on this machine, in turn, so that its drift affects all of them alike.

    Args:
        run: The study.
        files: To measure.
        pairs: Path of a file -> path of the file that it is compared with.

    Raises:
        KdtoolError: A file cannot be run, or the process that timed it died.
    """
    table, environment = run.recipe.profile, collect_environment()

    def make() -> tuple[SpeedResult, list[Path]]:
        run.reporter.say(f"measuring latency, {len(files)} x {table.seconds:g} s")
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
    """Collect the files of one model; the fastest of those that passed their gate is shipped."""
    files: dict[Precision, FileResult] = {"fp32": fp32}
    refused: dict[Precision, str] = {}
    for precision, one in smaller.items():
        if one.file is None or one.test is None:
            refused[precision] = one.refused or ""
            continue
        ratio, ratio_ci95 = speed.ratios[one.file.path]
        times = [speed.latency[path] for path in (one.file.path, fp32.path)]
        gate = judge(
            one.validation,
            one.test,
            ratio,
            ratio_ci95,
            run.recipe.export.max_drop,
            next((time.noise for time in times if time.noise), None),
        )
        files[precision] = one.file.model_copy(update={"gate": gate})
    files = {
        precision: file.model_copy(update={"latency": speed.latency[file.path]})
        for precision, file in files.items()
    }
    good = {p: f.gate.time_ratio for p, f in files.items() if f.gate and f.gate.recommended}
    recommended: Precision = min(good, key=lambda p: good[p]) if good else "fp32"
    int8 = smaller.get("int8")
    return Shipment(
        files=files,
        refused=refused,
        recommended=recommended,
        int8_ladder=int8.ladder if int8 else None,
    )


def least_images(max_drop: float) -> int:
    """Return on how many images a file that never differs is shown to lose less than `max_drop`.

    From there on the lower end of `intervals.no_difference_interval` is above -`max_drop`.
    """
    return math.floor(intervals.Z95 * math.sqrt(2) / max_drop) - 1


def judge(
    validation: AccuracyDifference,
    test: AccuracyDifference,
    ratio: float,
    ratio_ci95: Interval,
    max_drop: float,
    noise: str | None = None,
) -> Gate:
    """Recommend a chosen file if it is faster and the test images confirm its accuracy.

    Args:
        validation: What it costs on validation, at most `max_drop`: by this it was chosen.
        test: What it costs on test. The lower end of its paired interval must be above -`max_drop`;
            this can only withdraw the recommendation of a file, never choose another one.
        ratio: Time of the file / time of the fp32 file, measured in turn.
        ratio_ci95: Its 95 % interval; see `kdtool.stats.speed` for what counts as faster.
        max_drop: Largest loss of accuracy that the recipe allows, in (0, 1).
        noise: Why the times should not be trusted: no recommendation rests on them. None: no sign.
    """
    faster = is_faster(ratio_ci95)
    confirmed = test.ci95[0] > -max_drop
    low, high = ratio_ci95
    speed = f"{ratio:.2f} of the time of fp32 ({low:.2f} to {high:.2f})"
    allowed = f"{100 * max_drop:g} point{'' if max_drop == 0.01 else 's'}"
    least = least_images(max_drop)
    reasons = [
        f"it takes {speed}" if faster else f"it is not measurably faster: it takes {speed}",
        f"chosen on {validation.num_images:,} validation images with "
        f"{keyboard_text(points(validation.difference))} points of accuracy",
        f"{'confirmed' if confirmed else 'not confirmed'} on {test.num_images:,} test images to "
        f"lose less than {allowed}: {keyboard_text(points(test.difference))} points "
        f"({keyboard_text(points_range(test.ci95))})",
    ]
    if noise:
        reasons.append(f"but its time was measured on a busy machine ({noise})")
    if not confirmed and test.num_images < least:
        reasons.append(f"that takes {least:,} test images or more")
    elif not confirmed and test.difference > -max_drop:
        reasons.append("more test images would settle it")
    return Gate(
        validation_difference=validation.difference,
        validation_ci95=validation.ci95,
        num_validation=validation.num_images,
        difference=test.difference,
        ci95=test.ci95,
        mcnemar_p=test.mcnemar_p,
        max_drop=max_drop,
        time_ratio=ratio,
        time_ratio_ci95=ratio_ci95,
        recommended=faster and confirmed and noise is None,
        reason="; ".join(reasons),
    )
