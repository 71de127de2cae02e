"""Correct the biases of a quantized network, so that its layers answer the same on average."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from kdtool.edge.converted import copied
from kdtool.edge.int8.fp32_layers import WITH_BIAS, bias_of, set_bias
from kdtool.edge.int8.values import each_image

Means = dict[str, NDArray[np.float64]]  # name of a layer -> mean of each output channel (C,)


def correct_biases(
    source: ModelProto, quantized: ModelProto, images: NDArray[np.generic]
) -> ModelProto:
    """Return `quantized` with biases by which each layer's channels have the means of fp32.

    A layer gets E[y of fp32] - E[y of int8] for each output channel, over images and positions.
    Layers are corrected in graph order, each after all that it depends on: it makes up for
    rounding of its own weights and for what is left of the errors before it. The latter is so of
    layers in fp32 too.

    Args:
        source: The fp32 graph that was quantized, after `prepared`; layers have the same names.
        quantized: From `to_int8`; is not changed.
        images: `(N, ...)`, inputs of the model.

    Source: Nagel et al. 2019, arXiv:1906.04721, section 4.2, with the empirical expectation of its
    appendix D.
    """
    corrected = copied(quantized)
    layers = layers_with_bias(corrected)
    fp32 = {node.name: node.output[0] for node in source.graph.node}
    expected = channel_means(source, [fp32[layer.name] for layer in layers], images)
    for layer, mean in zip(layers, expected, strict=True):
        (given,) = channel_means(corrected, [layer.output[0]], images)
        _add_to_bias(corrected, layer, mean - given)
    return corrected


def layers_with_bias(quantized: ModelProto) -> list[NodeProto]:
    """Return the layers of a QDQ file that have constant weights and may have a bias, in order."""
    constants = {one.name for one in quantized.graph.initializer}
    constants |= {
        node.output[0]
        for node in quantized.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    return [
        node
        for node in quantized.graph.node
        if node.op_type in WITH_BIAS and node.input[1] in constants
    ]


def channel_means(
    model: ModelProto, names: Sequence[str], images: NDArray[np.generic]
) -> list[NDArray[np.float64]]:
    """Return the mean `(C,)` of each channel of some tensors `(1, C, ...)` over images.

    Args:
        model: With one input.
        names: Of tensors.
        images: `(N, ...)`, inputs of the model, at least one.
    """
    sums: list[NDArray[np.float64]] = []
    for values in each_image(model, names, images):
        means = [one.mean(axis=(0, *range(2, one.ndim)), dtype=np.float64) for one in values]
        sums = [a + b for a, b in zip(sums, means, strict=True)] if sums else means
    return [one / len(images) for one in sums]


def _add_to_bias(model: ModelProto, layer: NodeProto, shift: NDArray[np.float64]) -> None:
    """Add `shift` `(C,)` to the bias of a layer, in place."""
    producer = {node.output[0]: node for node in model.graph.node}
    constants = {one.name: one for one in model.graph.initializer}
    if layer.input[1] in constants:
        set_bias(model, layer, bias_of(model, layer) + shift)
        return
    if len(layer.input) < 3:
        _give_bias(model, layer, len(shift), producer, constants)
        producer = {node.output[0]: node for node in model.graph.node}
        constants = {one.name: one for one in model.graph.initializer}
    dequantize = producer[layer.input[2]]
    integers, scale = (numpy_helper.to_array(constants[one]) for one in dequantize.input[:2])
    limits = np.iinfo(np.int32)
    moved = np.rint(integers + (shift / scale.astype(np.float64)).reshape(integers.shape))
    array = moved.clip(limits.min, limits.max).astype(np.int32)
    constants[dequantize.input[0]].CopyFrom(numpy_helper.from_array(array, dequantize.input[0]))


def _give_bias(
    model: ModelProto,
    layer: NodeProto,
    num_channels: int,
    producer: dict[str, NodeProto],
    constants: dict[str, TensorProto],
) -> None:
    """Give a layer without a bias one of zeros, in place.

    The runtime adds its integers to products of the layer's integers, so its scale is theirs.
    """
    scales = [numpy_helper.to_array(constants[producer[name].input[1]]) for name in layer.input[:2]]
    scale = np.broadcast_to(scales[0] * scales[1], (num_channels,)).astype(np.float32)
    name = f"{layer.name}_bias"
    zeros = np.zeros(num_channels, np.int32)
    model.graph.initializer.extend(
        numpy_helper.from_array(array, f"{name}_{part}")
        for part, array in (("quantized", zeros), ("scale", scale), ("zero_point", zeros))
    )
    inputs = [f"{name}_{part}" for part in ("quantized", "scale", "zero_point")]
    node = helper.make_node("DequantizeLinear", inputs, [name], f"{name}_dequantize", axis=0)
    layer.input.append(name)
    model.graph.node.insert(list(model.graph.node).index(layer), node)
