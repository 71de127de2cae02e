"""Which layers of a network lose most by 8 bits, and what is known of the reason."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from kdtool.edge.converted import copied
from kdtool.edge.int8.quantize import quantizable_layers
from kdtool.edge.int8.ranges import Histogram, min_max, percentile
from kdtool.edge.int8.values import each_image

USUAL = 99.99  # percent of the values of an activation that are not its outliers


@dataclass(frozen=True, kw_only=True, slots=True)
class LayerNoise:
    """What 8 bits do to one layer, on the inputs that it gets in fp32."""

    name: str  # of its node
    operator: str
    snr_db: float  # signal to noise of its output; 6 dB are one bit
    # Range of all values / range of the usual ones, at least 1; 1: there are no outliers
    input_outliers: float
    output_outliers: float
    weight_spread: float  # largest weight of a channel: the greatest / the median over channels


def layer_noise(
    source: ModelProto,
    quantized: ModelProto,
    activations: dict[str, Histogram],
    images: NDArray[np.generic],
) -> list[LayerNoise]:
    """Return the noise of each int8 layer alone, the worst first; those without noise are left out.

    A layer alone: its inputs are fp32's, rounded to 8 bits, as are its weights and its output.
    So errors of layers before it do not count as its own. Noise to signal of a channel is
    sum((y - y_int8)^2) / sum(y^2) over images and positions, at most 1, which is a channel that is
    lost; of a layer it is the mean over channels that have a signal. Summed over channels first, a
    loud channel would hide that 8 bits lose the quiet ones.

    Args:
        source: The fp32 graph that was quantized, after `prepared`.
        quantized: From `to_int8`.
        activations: Of the source, as measured.
        images: `(N, ...)`, inputs of the model, at least one.
    """
    graph, layers, outputs = _alone(source, quantized)
    names = [name for pair in outputs for name in pair]
    sums: list[NDArray[np.float64]] = []
    for values in each_image(graph, names, images):
        squares = [_by_channel(value) for value in values]
        sums = [a + b for a, b in zip(sums, squares, strict=True)] if sums else squares
    ratios = [_noise_to_signal(*pair) for pair in zip(sums[::2], sums[1::2], strict=True)]
    weights = {one.name: one for one in source.graph.initializer}
    whole, usual = min_max(activations), percentile(activations, USUAL)

    def outliers(tensor: str) -> float:
        (low, high), (usual_low, usual_high) = whole[tensor], usual[tensor]
        return (high - low) / (usual_high - usual_low) if usual_high > usual_low else 1.0

    found = [
        LayerNoise(
            name=layer.name,
            operator=layer.op_type,
            snr_db=-10 * math.log10(ratio),
            input_outliers=outliers(layer.input[0]),
            output_outliers=outliers(layer.output[0]),
            weight_spread=_weight_spread(layer, numpy_helper.to_array(weights[layer.input[1]])),
        )
        for layer, ratio in zip(layers, ratios, strict=True)
        if ratio > 0
    ]
    return sorted(found, key=lambda one: one.snr_db)


def _by_channel(squares: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the sums `(C,)` of squares: `(1, C, 1, 1)` of feature maps, else `(1, ..., C)`."""
    if squares.size == squares.shape[1]:
        return squares.ravel().astype(np.float64)
    rows = squares.reshape(-1, squares.shape[-1]).astype(np.float64)
    sums: NDArray[np.float64] = rows.sum(axis=0)
    return sums


def _noise_to_signal(signal: NDArray[np.float64], noise: NDArray[np.float64]) -> float:
    """Return the mean over channels that have a signal.

    Args:
        signal: `(C,)`, sums of squares.
        noise: `(C,)`, the same of the error.
    """
    has_signal = signal > 0
    if not has_signal.any():
        return 0.0
    return float(np.minimum(noise[has_signal] / signal[has_signal], 1).mean())


def _weight_spread(layer: NodeProto, weights: NDArray[np.float32]) -> float:
    """Return the largest magnitude of a channel's weights: the greatest / the median channel's."""
    transposed = any(one.name == "transB" and one.i for one in layer.attribute)
    axis = 0 if layer.op_type == "Conv" or transposed else 1  # of the output channels
    largest = np.abs(weights).max(axis=tuple(at for at in range(weights.ndim) if at != axis))
    middle = median(largest.ravel().tolist())
    return float(largest.max()) / middle if middle > 0 else 1.0


def _alone(
    source: ModelProto, quantized: ModelProto
) -> tuple[ModelProto, list[NodeProto], list[tuple[str, str]]]:
    """Return the fp32 graph with a copy of each int8 layer next to it.

    Returns:
        The graph, the layers, and for each of them the tensors with its signal and its noise:
        squares over one image, for each channel.
    """
    graph = copied(source)
    int8 = {node.name: node for node in quantized.graph.node}
    producer = {node.output[0]: node for node in quantized.graph.node}
    layers, outputs = [], []
    for layer in quantizable_layers(source):
        twin = int8[layer.name]
        backs = [producer.get(name) for name in twin.input]
        if any(back is None or back.op_type != "DequantizeLinear" for back in backs):
            continue  # kept in fp32
        nodes, signal, noise = _twin(source, quantized, layer, twin)
        graph.graph.node.extend(nodes)
        layers.append(layer)
        outputs.append((signal, noise))
    graph.graph.initializer.extend(_constants_of(graph, quantized))
    return graph, layers, outputs


PREFIX = "int8_"  # of the names of the copies


def _twin(
    source: ModelProto, quantized: ModelProto, layer: NodeProto, twin: NodeProto
) -> tuple[list[NodeProto], str, str]:
    """Return nodes that compute an int8 layer from fp32's input, its signal and its noise."""
    producer = {node.output[0]: node for node in quantized.graph.node}
    own = f"{PREFIX}{layer.name}"
    constants = {one.name for one in quantized.graph.initializer}
    nodes: list[NodeProto] = []
    inputs = []
    for at, name in enumerate(twin.input):
        back = helper.make_node("DequantizeLinear", [], [f"{own}_input{at}"])
        back.attribute.extend(producer[name].attribute)
        integers, *scale = producer[name].input
        if integers not in constants:  # an activation: the scale is also that of QuantizeLinear
            scale = [f"{PREFIX}{one}" for one in scale]
            nodes += _rounded(layer.input[at], scale, f"{own}_input{at}")
        else:
            back.input.extend(f"{PREFIX}{one}" for one in (integers, *scale))
            nodes.append(back)
        inputs.append(f"{own}_input{at}")
    result = f"{own}_result"
    copy = helper.make_node(layer.op_type, inputs, [result])
    copy.attribute.extend(layer.attribute)
    nodes.append(copy)
    users = [node for node in quantized.graph.node if twin.output[0] in node.input]
    if len(users) == 1 and users[0].op_type == "QuantizeLinear":
        nodes += _rounded(result, [f"{PREFIX}{one}" for one in users[0].input[1:]], f"{own}_given")
        result = f"{own}_given"
    expected = _expected(source, quantized, layer)
    nodes.append(helper.make_node("Sub", [expected, result], [f"{own}_error"]))
    for given, sum_of in ((expected, f"{own}_signal"), (f"{own}_error", f"{own}_noise")):
        nodes += _squares(given, sum_of, layer.op_type)
    return nodes, f"{own}_signal", f"{own}_noise"


def _squares(tensor: str, result: str, operator: str) -> Iterator[NodeProto]:
    """Yield nodes that square a tensor, and take the mean over the positions of a feature map."""
    if not operator.startswith("Conv"):
        yield helper.make_node("Mul", [tensor, tensor], [result])
        return
    yield helper.make_node("Mul", [tensor, tensor], [f"{result}_map"])
    yield helper.make_node("GlobalAveragePool", [f"{result}_map"], [result])


def _rounded(tensor: str, scale: list[str], result: str) -> Iterator[NodeProto]:
    """Yield nodes that round a tensor to 8 bits and back."""
    yield helper.make_node("QuantizeLinear", [tensor, *scale], [f"{result}_8bit"])
    yield helper.make_node("DequantizeLinear", [f"{result}_8bit", *scale], [result])


def _expected(source: ModelProto, quantized: ModelProto, layer: NodeProto) -> str:
    """Return the fp32 tensor that an int8 layer computes.

    A Relu or Clip has no node in the int8 graph if the range of its output does its work.
    """
    kept = {node.name for node in quantized.graph.node}
    users = [node for node in source.graph.node if layer.output[0] in node.input]
    if len(users) == 1 and users[0].op_type in ("Relu", "Clip") and users[0].name not in kept:
        return str(users[0].output[0])
    return str(layer.output[0])


def _constants_of(graph: ModelProto, quantized: ModelProto) -> Iterator[TensorProto]:
    """Yield the constants of `quantized` that copies of its layers in `graph` read."""
    read = {name for node in graph.graph.node for name in node.input}
    for one in quantized.graph.initializer:
        if f"{PREFIX}{one.name}" in read:
            copy = TensorProto()
            copy.CopyFrom(one)
            copy.name = f"{PREFIX}{one.name}"
            yield copy
