"""Ranges of the activations of a network, measured on calibration images in one pass."""

import math
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from kdtool.edge.int8.quantize import Ranges, fp32_nodes
from kdtool.edge.int8.values import each_image
from kdtool.errors import KdtoolError

NUM_BINS = 8192  # of a histogram, over both signs; an 8-bit range has 256 steps


@dataclass(frozen=True, slots=True)
class Histogram:
    """How the values of one activation are distributed, in bounded memory.

    The width of a bin is a power of two, and so is the factor by which it grows. Values so fall
    into the bins that they would have been in from the beginning: the order does not matter.
    """

    lowest: float
    highest: float
    width: float  # of a bin
    counts: NDArray[np.int64]  # (NUM_BINS,); bin i starts at (i - NUM_BINS / 2) * width

    def __add__(self, other: "Histogram") -> "Histogram":
        """Return the distribution of the values of both."""
        width = max(self.width, other.width)
        return Histogram(
            min(self.lowest, other.lowest),
            max(self.highest, other.highest),
            width,
            _widened(self, width) + _widened(other, width),
        )


def histogram(values: NDArray[np.float32]) -> Histogram:
    """Return the distribution of some values, at least one, all finite."""
    lowest, highest = float(values.min()), float(values.max())
    _, exponent = math.frexp(max(-lowest, highest, float(np.finfo(np.float32).tiny)))
    width = math.ldexp(1.0, exponent) / (NUM_BINS // 2)  # the values are within the bins
    places = np.floor(values.ravel() / width).astype(np.int64) + NUM_BINS // 2
    return Histogram(lowest, highest, width, np.bincount(places, minlength=NUM_BINS))


def _widened(one: Histogram, width: float) -> NDArray[np.int64]:
    """Return the counts of a histogram in bins of another width, its own or more."""
    factor = int(min(width / one.width, NUM_BINS))
    if factor == 1:
        return one.counts
    places = (np.arange(NUM_BINS) - NUM_BINS // 2) // factor + NUM_BINS // 2
    counts = np.zeros(NUM_BINS, np.int64)
    np.add.at(counts, places, one.counts)
    return counts


def measure_activations(source: ModelProto, images: NDArray[np.generic]) -> dict[str, Histogram]:
    """Return the distribution of each activation that quantization needs the range of.

    Args:
        source: After `kdtool.edge.int8.quantize.prepared`.
        images: `(N, ...)`, inputs of the model, at least one.

    Raises:
        KdtoolError: An activation is not finite.
    """
    names = _activations(source)
    found: dict[str, Histogram] = {}
    for values in each_image(source, names, images):
        for name, array in zip(names, values, strict=True):
            if not np.isfinite(array).all():
                raise KdtoolError(
                    f"got values that are not finite in {name!r} of the network on a calibration "
                    "image, expected finite ones: int8 needs a range; check data and training"
                )
            one = histogram(array)
            found[name] = found[name] + one if name in found else one
    return found


def _activations(source: ModelProto) -> list[str]:
    """Return the float tensors that nodes read or write which may become int8."""
    outside = set(fp32_nodes(source))
    inferred = onnx.shape_inference.infer_shapes(source).graph
    floats = {
        one.name
        for one in [*inferred.value_info, *inferred.input, *inferred.output]
        if one.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    names = (
        name
        for node in source.graph.node
        if node.name not in outside
        for name in [*node.input, *node.output]
        if name in floats
    )
    return list(dict.fromkeys(names))


def min_max(activations: dict[str, Histogram]) -> Ranges:
    """Return the range from the least to the greatest value of each activation."""
    return {name: (one.lowest, one.highest) for name, one in activations.items()}


def percentile(activations: dict[str, Histogram], percent: float) -> Ranges:
    """Return ranges that leave out the most extreme values, as many at each end.

    Args:
        activations: As measured.
        percent: Of the values that are within the range, in (0, 100]. Its ends are exact to a bin,
            at most 1/2048 of the largest magnitude.

    Source: Wu et al. 2020, arXiv:2004.09602, section 4.1; both ends as in onnxruntime's
    PercentileCalibrater.
    """
    return {name: _middle(one, percent) for name, one in activations.items()}


def _middle(one: Histogram, percent: float) -> tuple[float, float]:
    below = np.cumsum(one.counts)
    outside = (100 - percent) / 200 * below[-1]  # values left out at each end, at most
    first = int(np.searchsorted(below, outside, side="right"))
    last = int(np.searchsorted(below, below[-1] - outside, side="left"))
    low, high = ((at - NUM_BINS // 2) * one.width for at in (first, last + 1))
    return max(low, one.lowest), min(high, one.highest)
