"""The rungs of the ladder: each is a way to an int8 file, and adds to those before it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from numpy import generic
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
from kdtool.errors import KdtoolError
from kdtool.results.base import Interval
from kdtool.results.quantization import Quantization
from kdtool.stats.speed import is_faster
from kdtool.train.evaluation.evaluate import Evaluated
from kdtool.train.export.accuracy import AccuracyDifference
from kdtool.train.export.qat import Arithmetic, fine_tune
from kdtool.train.run import Run

PERCENT = 99.99  # of the values of an activation, that the range of the second rung holds
MIN_MAX, PERCENTILE = "min-max", f"percentile {PERCENT:g}"  # calibrations

TimeRatio = tuple[float, Interval]  # time of a file / time of the fp32 file


@dataclass(frozen=True, kw_only=True)
class Network:
    """What every rung starts from."""

    source: ModelProto  # fp32, after `prepared`
    activations: dict[str, Histogram]  # of the source, on the images
    images: NDArray[generic]  # `(N, ...)`, that calibrate
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
    fine_tuned: Arithmetic | None = None  # after the training of the model
    noise: list[LayerNoise] = field(default_factory=list)  # by which layers were kept in fp32

    @property
    def quantization(self) -> Quantization:
        """How it was made, for its metadata and the results."""
        return Quantization(
            target=self.network.target,
            num_calibration=len(self.network.images),
            calibration=self.calibration,
            bias_corrected=self.bias_corrected,
            kept_fp32=self.kept_fp32,
            fine_tuned=self.fine_tuned,
        )


@dataclass(frozen=True)
class Tried:
    """A file that was judged on validation."""

    candidate: Candidate
    validation: AccuracyDifference
    size_bytes: int


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
    network: Network, tried: Sequence[Tried], timer: Timer, *, most: int
) -> Iterator[Candidate]:
    """The best file so far with its 1, 2, 4, ... noisiest layers in fp32, while it is faster.

    On a machine where int8 is not faster at all, as with a file for another processor, only the
    number of layers ends this.

    Args:
        network: To quantize.
        tried: The files so far.
        timer: Measures a file against fp32.
        most: Layers in fp32; half of all layers are the most, too.
    """
    most = min(most, len(quantizable_layers(network.source)) // 2)
    if most == 0:
        return
    base = best(tried).candidate
    noise = noise_of(base)
    worst = [one.name for one in noise]
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
            noise=noise,
        )
        yield candidate
        if was_faster and not is_faster(timer(candidate)[1]):
            return
        num_kept *= 2


def with_fine_tuning(run: Run, evaluated: Evaluated, left_out: list[str]) -> Step:
    """Return the rung in which the student learns to compute in 8 bits, after its control.

    Both start from the best file with all layers in int8, and are quantized as it is. The control
    learns from the same batches in fp32; its ranges are measured again, and its biases corrected if
    those of that file are. The other keeps the ranges that it learned with: measured again, they
    were not those that its weights fit, and digits lost 20 points.

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
                source = fine_tune(run, evaluated, network.source, plain, arithmetic)
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
                name=f"fine-tuning in {arithmetic}",
                model=model,
                network=learned,
                calibration=base.calibration,
                ranges=ranges,
                bias_corrected=is_corrected,
                fine_tuned=arithmetic,
            )

    return step


def ranges_of(network: Network, calibration: str) -> Ranges:
    """Return the ranges of a network's activations by a calibration of a `Candidate`."""
    if calibration == MIN_MAX:
        return min_max(network.activations)
    return percentile(network.activations, PERCENT)


def steps(max_fp32_layers: int) -> list[Step]:
    """Return the rungs that need no training, from the cheapest on.

    Args:
        max_fp32_layers: Layers that may stay in fp32.
    """
    last = partial(with_worst_in_fp32, most=max_fp32_layers)
    return [with_min_max, with_percentile, with_corrected_biases, last]


def best(tried: Sequence[Tried]) -> Tried:
    """Return the file that loses least; of equals the first."""
    return max(tried, key=lambda one: one.validation.difference)


def noise_of(candidate: Candidate) -> list[LayerNoise]:
    """Return the noise of the layers of a file, the worst first."""
    network = candidate.network
    return layer_noise(
        network.source, candidate.ranges, network.target, network.activations, network.images
    )


def network_of(model: ModelProto, images: NDArray[generic], target: Target) -> Network:
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
