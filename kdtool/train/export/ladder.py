"""The ladder to an int8 file: ways to make it, from the cheapest on, until one keeps its accuracy.

Each rung is judged on validation images.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from kdtool.edge.latency.measure import measure, ratio_of
from kdtool.edge.metadata import write_metadata
from kdtool.files import scratch_folder
from kdtool.format import keyboard_text, points
from kdtool.results.quantization import Ladder, Quantization, Rung, SensitiveLayer
from kdtool.train.evaluation.evaluate import Evaluated
from kdtool.train.export.accuracy import AccuracyDifference, keeps_accuracy, on_validation
from kdtool.train.export.onnx_file import as_given, given_shape
from kdtool.train.export.rungs import (
    Candidate,
    Network,
    Step,
    Timer,
    TimeRatio,
    Tried,
    best,
    network_of,
    noise_of,
    steps,
    with_fine_tuning,
)
from kdtool.train.run import Run

NUM_WORST = 5  # layers that are recorded

Judge = Callable[[Candidate], Tried]


def climb(
    network: Network, rungs: Sequence[Step], judge: Judge, timer: Timer, max_drop: float
) -> list[Tried]:
    """Try rung after rung, and stop at the first file that keeps its accuracy.

    Returns:
        All files that were judged, in order, at least one. The last one passed, or none did.
    """
    tried: list[Tried] = []
    for rung in rungs:
        for candidate in rung(network, tried, timer):
            tried.append(judge(candidate))
            if keeps_accuracy(tried[-1].validation, max_drop):
                return tried
    return tried


def int8_on_validation(
    run: Run, evaluated: Evaluated, fp32: Path, trial: Path
) -> tuple[AccuracyDifference, Quantization, Ladder]:
    """Write to `trial` the first int8 file that keeps its accuracy on validation, or the best one.

    Args:
        run: The study.
        evaluated: The model.
        fp32: Its fp32 file.
        trial: Path to write.

    Returns:
        What the written file costs on validation, how it was made, and all that was tried.
    """
    table = run.recipe.export
    source = onnx.load(fp32)
    times: dict[tuple[str, ...], TimeRatio] = {}

    def write(candidate: Candidate) -> None:
        write_metadata(candidate.model, {"quantization": candidate.quantization.model_dump()})
        onnx.save(candidate.model, trial)

    def judge(candidate: Candidate) -> Tried:
        write(candidate)
        found = on_validation(run, evaluated, trial)
        run.reporter.say(
            f"{trial.name}, {candidate.name}: {keyboard_text(points(found.difference))} points of "
            "accuracy on validation images"
        )
        return Tried(candidate, found, trial.stat().st_size)

    def timer(candidate: Candidate) -> TimeRatio:
        kept = tuple(candidate.kept_fp32)
        if kept not in times:
            times[kept] = time_against(fp32, candidate.model, run)
        return times[kept]

    network = network_of(source, calibration_images(run), table.target)
    rungs, left_out = steps(table.max_fp32_layers), list[str]()
    if table.qat.epochs:
        rungs.append(with_fine_tuning(run, evaluated, left_out))
    tried = climb(network, rungs, judge, timer, table.max_drop)
    chosen = best(tried)
    if keeps_accuracy(tried[-1].validation, table.max_drop):
        chosen = tried[-1]
    write(chosen.candidate)
    ladder = record(tried, times, table.max_drop)
    if left_out:
        ladder = ladder.model_copy(update={"left_out": left_out[0]})
    return chosen.validation, chosen.candidate.quantization, ladder


def time_against(fp32: Path, model: ModelProto, run: Run) -> TimeRatio:
    """Return the time of a model / the time of the fp32 file, measured in turn."""
    table = run.recipe.profile
    with scratch_folder() as folder:
        path = folder / "model.onnx"
        onnx.save(model, path)
        of, against = measure(
            [path, fp32],
            threads=table.threads,
            seconds=table.seconds,
            shapes={"image": given_shape(run.image_shape, run.recipe.export.input)},
        )
    return ratio_of(of, against)


def record(
    tried: Sequence[Tried], times: dict[tuple[str, ...], TimeRatio], max_drop: float
) -> Ladder:
    """Return what was tried, for results.json.

    Args:
        tried: Files in order.
        times: Time ratio by the layers that a file keeps in fp32, as far as it was measured.
        max_drop: Largest loss of accuracy that the recipe allows.
    """
    rungs = []
    for one in tried:
        ratio, interval = times.get(tuple(one.candidate.kept_fp32), (None, None))
        rungs.append(
            Rung(
                name=one.candidate.name,
                calibration=one.candidate.calibration,
                bias_corrected=one.candidate.bias_corrected,
                kept_fp32=one.candidate.kept_fp32,
                fine_tuned=one.candidate.fine_tuned,
                difference=one.validation.difference,
                ci95=one.validation.ci95,
                num_validation=one.validation.num_images,
                size_bytes=one.size_bytes,
                time_ratio=ratio,
                time_ratio_ci95=interval,
                passed=keeps_accuracy(one.validation, max_drop),
            )
        )
    if len(tried) == 1:
        return Ladder(rungs=rungs)
    measured = next((one.candidate.noise for one in tried if one.candidate.noise), None)
    worst = (measured or noise_of(best(tried).candidate))[:NUM_WORST]
    return Ladder(
        rungs=rungs,
        worst_layers=[
            SensitiveLayer(
                name=one.name,
                operator=one.operator,
                snr_db=one.snr_db,
                input_outliers=one.input_outliers,
                output_outliers=one.output_outliers,
                weight_spread=one.weight_spread,
            )
            for one in worst
        ],
    )


def calibration_images(run: Run) -> NDArray[np.generic]:
    """Return training images, evenly spread over the split, in the input form of the file."""
    train, table = run.splits.train, run.recipe.export
    num_images = min(table.calibration_images, len(train))
    chosen = np.linspace(0, len(train) - 1, num_images).round().astype(int)
    return as_given(train.pixels[chosen], table.input)
