"""Which layers of a network lose most by 8 bits, and what is known of the reason."""

import math
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper

from kdtool.edge.int8.quantize import Ranges, Target, only_in_int8, quantizable_layers
from kdtool.edge.int8.ranges import Histogram, min_max, percentile
from kdtool.edge.int8.values import each_image

MOST_NOISE = 1e10  # relative to the signal: -100 dB
USUAL = 99.99  # percent of the values of an activation that are not its outliers
NUM_IMAGES = 32  # enough to order layers by; each layer has a file of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerNoise:
    """What one layer in 8 bits does to the answer of a network."""

    name: str  # of its node
    operator: str
    # Signal to noise of the logits where only this layer is in 8 bits; -100: they are not finite
    snr_db: float
    # Range of all values / range of the usual ones, at least 1; 1: there are no outliers
    input_outliers: float
    output_outliers: float
    weight_spread: float  # largest weight of a channel: the greatest / the median over channels


def layer_noise(
    source: ModelProto,
    ranges: Ranges,
    target: Target,
    activations: dict[str, Histogram],
    images: NDArray[np.generic],
) -> list[LayerNoise]:
    """Return the noise of each layer, the worst first; those without any are left out.

    Only that layer is in 8 bits, with its input, weights and output. Signal and noise are sums of
    squares of the logits and of their errors, each without its mean over the classes, which no
    class gains by.

    Noise of a layer's own output would not do: a loud channel hides that the quiet ones are lost.

    Args:
        source: fp32, after `prepared`; its first output are the logits.
        ranges: Of its activations.
        target: As in `to_int8`.
        activations: As measured.
        images: `(N, ...)`, inputs of the model, at least one.
    """
    chosen = np.linspace(0, len(images) - 1, min(NUM_IMAGES, len(images))).round().astype(int)
    expected = _logits(source, images[chosen])
    signal = float((expected**2).sum())
    weights = {one.name: one for one in source.graph.initializer}
    whole, usual = min_max(activations), percentile(activations, USUAL)

    def outliers(tensor: str) -> float:
        (low, high), (usual_low, usual_high) = whole[tensor], usual[tensor]
        return (high - low) / (usual_high - usual_low) if usual_high > usual_low else 1.0

    found = []
    for layer in quantizable_layers(source):
        given = _logits(only_in_int8(source, ranges, target, layer.name), images[chosen])
        noise = float(((given - expected) ** 2).sum())
        if not noise <= MOST_NOISE * signal:  # or not finite, where a constant was rounded to 0
            noise = MOST_NOISE * signal
        if signal > 0 and noise > 0:
            found.append(
                LayerNoise(
                    name=layer.name,
                    operator=layer.op_type,
                    snr_db=10 * math.log10(signal / noise),
                    input_outliers=outliers(layer.input[0]),
                    output_outliers=outliers(layer.output[0]),
                    weight_spread=_weight_spread(
                        layer, numpy_helper.to_array(weights[layer.input[1]])
                    ),
                )
            )
    return sorted(found, key=lambda one: one.snr_db)


def _logits(model: ModelProto, images: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the logits `(N, C)` without their mean over classes."""
    name = model.graph.output[0].name
    rows = [values[0].ravel() for values in each_image(model, [name], images)]
    logits = np.stack(rows).astype(np.float64)
    return np.asarray(logits - logits.mean(axis=1, keepdims=True))


def _weight_spread(layer: NodeProto, weights: NDArray[np.float32]) -> float:
    """Return the largest magnitude of a channel's weights: the greatest / the median channel's."""
    transposed = any(one.name == "transB" and one.i for one in layer.attribute)
    axis = 0 if layer.op_type == "Conv" or transposed else 1  # of the output channels
    largest = np.abs(weights).max(axis=tuple(at for at in range(weights.ndim) if at != axis))
    middle = median(largest.ravel().tolist())
    return float(largest.max()) / middle if middle > 0 else 1.0
