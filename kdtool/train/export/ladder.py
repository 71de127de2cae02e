"""The ladder to an int8 file: ways to make it, from the cheapest on, until one keeps its accuracy.

Each rung adds to what those before it found, and is judged on validation images.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto

from kdtool.edge.int8.bias_correction import correct_biases
from kdtool.edge.int8.quantize import (
    Ranges,
    Target,
    prepared,
    quantizable_layers,
    to_int8,
)
from kdtool.edge.int8.ranges import Histogram, measure_activations, min_max, percentile
from kdtool.edge.int8.sensitivity import LayerNoise, layer_noise
from kdtool.edge.latency.measure import measure, ratio_of
from kdtool.edge.metadata import write_metadata
from kdtool.errors import KdtoolError
from kdtool.format import keyboard_text, points
from kdtool.results.base import Interval
from kdtool.results.quantization import Ladder, Quantization, Rung, SensitiveLayer
from kdtool.stats.speed import is_faster
from kdtool.train.evaluation.evaluate import Evaluated
from kdtool.train.export.accuracy import AccuracyDifference, keeps_accuracy, on_validation
from kdtool.train.export.onnx_file import as_given, given_shape
from kdtool.train.export.qat import Arithmetic, learn_on
from kdtool.train.run import Run

PERCENT = 99.99  # of the values of an activation, that the range of the second rung holds
MOST_KEPT = 16  # layers in fp32, and at most half of all
NUM_WORST = 5  # layers that are recorded
MIN_MAX, PERCENTILE = "min-max", f"percentile {PERCENT:g}"  # calibrations

TimeRatio = tuple[float, Interval]  # time of a file / time of the fp32 file


@dataclass(frozen=True, kw_only=True)
class Network:
    """What every rung starts from."""

    source: ModelProto  # fp32, after `prepared`
    activations: dict[str, Histogram]  # of the source, on the images
    images: NDArray[np.generic]  # `(N, ...)`, that calibrate
    target: Target


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An int8 file to judge, and how it was made."""

    name: str  # what this rung adds, in words
    model: ModelProto
    network: Network  # that it was made from
    calibration: str
    ranges: Ranges
    bias_corrected: bool = False
    kept_fp32: list[str] = field(default_factory=list)
    learned_in: Arithmetic | None = None  # after the training of the model

    @property
    def quantization(self) -> Quantization:
        """How it was made, for its metadata and the results."""
        return Quantization(
            target=self.network.target,
            num_calibration=len(self.network.images),
            calibration=self.calibration,
            bias_corrected=self.bias_corrected,
            kept_fp32=self.kept_fp32,
            learned_in=self.learned_in,
        )


@dataclass(frozen=True)
class Tried:
    """A file that was judged on validation."""

    candidate: Candidate
    validation: AccuracyDifference
    size_bytes: int


Judge = Callable[[Candidate], Tried]
Timer = Callable[[Candidate], TimeRatio]
# Yields files to judge, given the network and the files that were judged so far, none of which
# passed; it may yield several, and then finds those before in the list.
Step = Callable[[Network, Sequence[Tried], Timer], Iterator[Candidate]]


def with_min_max(network: Network, tried: Sequence[Tried], timer: Timer) -> Iterator[Candidate]:
    """All layers in int8; ranges from the least to the greatest value of each activation."""
    ranges = min_max(network.activations)
    yield Candidate(
        name=MIN_MAX,
        model=to_int8(network.source, ranges, network.target),
        network=network,
        calibration=MIN_MAX,
        ranges=ranges,
    )


def with_percentile(network: Network, tried: Sequence[Tried], timer: Timer) -> Iterator[Candidate]:
    """Ranges without the most extreme values: the others get finer steps."""
    ranges = percentile(network.activations, PERCENT)
    yield Candidate(
        name=PERCENTILE,
        model=to_int8(network.source, ranges, network.target),
        network=network,
        calibration=PERCENTILE,
        ranges=ranges,
    )


def with_corrected_biases(
    network: Network, tried: Sequence[Tried], timer: Timer
) -> Iterator[Candidate]:
    """The better ranges, with biases that make up for the mean error of each channel."""
    base = best(tried).candidate
    yield Candidate(
        name="bias correction",
        model=correct_biases(network.source, base.model, network.images),
        network=network,
        calibration=base.calibration,
        ranges=base.ranges,
        bias_corrected=True,
    )


def with_worst_in_fp32(
    network: Network, tried: Sequence[Tried], timer: Timer
) -> Iterator[Candidate]:
    """The best file so far with its 1, 2, 4, ... noisiest layers in fp32, while it is faster.

    On a machine where int8 is not faster at all, as with a file for another processor, only the
    number of layers ends this.
    """
    base = best(tried).candidate
    worst = [one.name for one in noise_of(base)]
    most = min(MOST_KEPT, len(quantizable_layers(network.source)) // 2)
    was_faster = is_faster(timer(base)[1])
    num_kept = 1
    while num_kept <= most:
        kept = worst[:num_kept]
        model = to_int8(network.source, base.ranges, network.target, kept)
        if base.bias_corrected:
            model = correct_biases(network.source, model, network.images)
        candidate = Candidate(
            name=f"{num_kept} layer{'' if num_kept == 1 else 's'} in fp32",
            model=model,
            network=network,
            calibration=base.calibration,
            ranges=base.ranges,
            bias_corrected=base.bias_corrected,
            kept_fp32=kept,
        )
        yield candidate
        if was_faster and not is_faster(timer(candidate)[1]):
            return
        num_kept *= 2


def with_learning(run: Run, evaluated: Evaluated, left_out: list[str]) -> Step:
    """Return the rung in which the student learns to compute in 8 bits, after its control.

    Both start from the best file with all layers in int8, and are quantized as it is. The control
    learns the same batches in fp32; its ranges are measured again, and its biases corrected if
    those of that file are. The other keeps the ranges that it learned with.

    Args:
        run: The study.
        evaluated: The model.
        left_out: Gets the reason if the network cannot learn so.
    """

    def step(network: Network, tried: Sequence[Tried], timer: Timer) -> Iterator[Candidate]:
        base = best([one for one in tried if not one.candidate.kept_fp32]).candidate
        # Without corrected biases: biases learn as well
        plain = to_int8(network.source, base.ranges, network.target)
        arithmetic: Arithmetic
        for arithmetic in ("fp32", "int8"):
            try:
                source = learn_on(run, evaluated, network.source, plain, arithmetic)
            except KdtoolError as error:
                left_out.append(str(error))
                run.reporter.warn(f"quantization-aware distillation is left out: {error}")
                return
            learned = network_of(source, network.images, network.target)
            in_fp32 = arithmetic == "fp32"
            ranges = ranges_of(learned, base.calibration) if in_fp32 else base.ranges
            model = to_int8(learned.source, ranges, learned.target)
            is_corrected = in_fp32 and base.bias_corrected
            if is_corrected:
                model = correct_biases(learned.source, model, learned.images)
            yield Candidate(
                name="learning in fp32" if in_fp32 else "learning in int8",
                model=model,
                network=learned,
                calibration=base.calibration,
                ranges=ranges,
                bias_corrected=is_corrected,
                learned_in=arithmetic,
            )

    return step


def ranges_of(network: Network, calibration: str) -> Ranges:
    """Return the ranges of a network's activations by a calibration of a `Candidate`."""
    if calibration == MIN_MAX:
        return min_max(network.activations)
    return percentile(network.activations, PERCENT)


STEPS: tuple[Step, ...] = (
    with_min_max,
    with_percentile,
    with_corrected_biases,
    with_worst_in_fp32,
)


def best(tried: Sequence[Tried]) -> Tried:
    """Return the file that loses least; of equals the first."""
    return max(tried, key=lambda one: one.validation.difference)


def noise_of(candidate: Candidate) -> list[LayerNoise]:
    """Return the noise of the layers of a file, the worst first."""
    network = candidate.network
    return layer_noise(network.source, candidate.model, network.activations, network.images)


def network_of(model: ModelProto, images: NDArray[np.generic], target: Target) -> Network:
    """Measure the activations of a network.

    Args:
        model: fp32.
        images: `(N, ...)`, inputs of the model.
        target: As in `to_int8`.

    Raises:
        KdtoolError: It has no layer to quantize, or its activations are not finite.
    """
    source = prepared(model, target)
    return Network(
        source=source,
        activations=measure_activations(source, images),
        images=images,
        target=target,
    )


def climb(
    network: Network, steps: Sequence[Step], judge: Judge, timer: Timer, max_drop: float
) -> list[Tried]:
    """Try rung after rung, and stop at the first file that keeps its accuracy.

    Returns:
        All files that were judged, in order, at least one. The last one passed, or none did.
    """
    tried: list[Tried] = []
    for step in steps:
        for candidate in step(network, tried, timer):
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
    steps, left_out = list(STEPS), list[str]()
    if table.qat.epochs:
        steps.append(with_learning(run, evaluated, left_out))
    tried = climb(network, steps, judge, timer, table.max_drop)
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
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
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
                learned_in=one.candidate.learned_in,
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
    worst = noise_of(tried[0].candidate)[:NUM_WORST]
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
    return as_given(train.images.cpu().numpy()[chosen], table.input)
