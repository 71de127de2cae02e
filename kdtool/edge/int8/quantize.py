"""Make a file with 8-bit weights and activations from an fp32 ONNX file and ranges."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import onnx
from onnx import ModelProto, NodeProto

# Before onnxruntime.quantization, which imports onnxruntime: this module switches telemetry off.
import kdtool.edge.session  # noqa: F401
from kdtool.edge.common_form import raise_opset
from kdtool.edge.converted import as_ours, copied, front_end, quiet
from kdtool.edge.int8.fp32_layers import keep_in_fp32
from kdtool.edge.rewrite import (
    ACTIVATIONS,
    fold_constants,
    fold_sixths,
    split_hard_activations,
    stem_nodes,
)
from kdtool.errors import KdtoolError
from kdtool.files import scratch_folder

Target = Literal["x86", "arm", "portable"]
Ranges = dict[str, tuple[float, float]]  # lowest and highest value of each activation, by tensor

LAYERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))  # what 8 bits make faster


def prepared(model: ModelProto, target: Target) -> ModelProto:
    """Return `model` in the form that is quantized: it computes the same, with other operators.

    Ranges are those of this graph's tensors, and layers have the names of its nodes.

    Raises:
        KdtoolError: The model has no layer to quantize.
    """
    source = copied(model)
    fold_constants(source)
    for node in source.graph.node:
        node.name = node.name or f"{node.op_type}_{node.output[0]}"
    if not any(node.op_type in LAYERS for node in source.graph.node):
        raise KdtoolError(
            "got a network without a convolution or linear layer, which int8 needs; remove "
            '"int8" from export.precisions'
        )
    if target != "arm":  # with signed activations nothing is gained
        split_hard_activations(source)
    return source


def to_int8(
    model: ModelProto, ranges: Ranges, target: Target, kept_fp32: Sequence[str] = ()
) -> ModelProto:
    """Return `model` with 8-bit weights, one scale per channel, and 8-bit activations (static QDQ).

    Args:
        model: fp32, with one input; is not changed.
        ranges: Of the activations of `prepared(model, target)`.
        target: x86: unsigned activations, signed weights (U8S8), the fast pair there. arm: S8S8.
            portable: U8S8 with 7-bit weights, as processors without VNNI saturate at int16.
        kept_fp32: Names of layers that stay in fp32, each with its activation function, as do the
            nodes that are faster there.

    Raises:
        KdtoolError: The model has no layer to quantize.

    Source: onnxruntime.ai/docs/performance/model-optimizations/quantization.html; U8S8 on x86 was
    measured: S8S8 took 1.9 times as long as U8S8 for MobileNetV2.
    """
    source = prepared(model, target)
    outside = [*fp32_nodes(source), *blocks(source, kept_fp32)]
    return as_ours(_quantized(source, ranges, target, outside), model)


def only_in_int8(model: ModelProto, ranges: Ranges, target: Target, layer: str) -> ModelProto:
    """Return `model` with one layer, its input and its output in 8 bits; the rest is fp32.

    Args:
        model: As in `to_int8`.
        ranges: As in `to_int8`.
        target: As in `to_int8`.
        layer: Name of the layer; its activation function is in 8 bits too.
    """
    source = prepared(model, target)
    inside = set(blocks(source, [layer]))
    outside = [node.name for node in source.graph.node if node.name not in inside]
    return as_ours(_quantized(source, ranges, target, outside), model)


def _quantized(
    source: ModelProto, ranges: Ranges, target: Target, outside: list[str]
) -> ModelProto:
    """Return the graph in 8 bits, but for the nodes with the names `outside`."""
    from onnxruntime.quantization import (  # type: ignore[import-untyped]
        CalibrationMethod,
        QuantType,
    )
    from onnxruntime.quantization.calibrate import TensorsData  # type: ignore[import-untyped]
    from onnxruntime.quantization.qdq_quantizer import (  # type: ignore[import-untyped]
        QDQQuantizer,
    )
    from onnxruntime.quantization.registry import (  # type: ignore[import-untyped]
        QDQRegistry,
        QLinearOpsRegistry,
    )

    # The method only says what kind of data these are: a lowest and a highest value.
    given = {name: (np.float32(low), np.float32(high)) for name, (low, high) in ranges.items()}
    with scratch_folder() as folder, quiet():
        path = folder / "int8.onnx"
        quantizer = QDQQuantizer(
            source,
            per_channel=True,
            reduce_range=target == "portable",
            weight_qType=QuantType.QInt8,
            activation_qType=QuantType.QInt8 if target == "arm" else QuantType.QUInt8,
            tensors_range=TensorsData(CalibrationMethod.MinMax, given),
            nodes_to_quantize=[],
            nodes_to_exclude=outside,
            op_types_to_quantize=sorted({*QDQRegistry, *QLinearOpsRegistry}),
            extra_options={},
        )
        quantizer.quantize_model()
        quantizer.model.save_model_to_file(path)
        quantized = onnx.load(path)
    fold_sixths(quantized)
    keep_in_fp32(quantized)
    raise_opset(quantized)
    return quantized


def fp32_nodes(source: ModelProto) -> list[str]:
    """Return the names of the nodes that always stay in fp32.

    Args:
        source: After `prepared`.
    """
    nodes = list(source.graph.node)
    last = max(at for at, node in enumerate(nodes) if node.op_type in LAYERS)
    after = [node.name for node in nodes[last + 1 :]]  # 8 bits would round the answer
    return [*front_end(source), *stem_nodes(source), *after]


def quantizable_layers(source: ModelProto) -> list[NodeProto]:
    """Return the layers with constant weights that become int8, in graph order.

    Args:
        source: After `prepared`.
    """
    outside = set(fp32_nodes(source))
    weights = {one.name for one in source.graph.initializer}
    return [
        node
        for node in source.graph.node
        if node.op_type in LAYERS and node.input[1] in weights and node.name not in outside
    ]


def blocks(source: ModelProto, layers: Sequence[str]) -> list[str]:
    """Return the names of layers and of the activation functions that only they feed.

    A layer in fp32 before an activation in 8 bits would round in between.

    Args:
        source: After `prepared`.
        layers: Names of layers.
    """
    weights = {one.name for one in source.graph.initializer}
    names = []
    for layer in source.graph.node:
        if layer.name in layers:
            names.append(layer.name)
            reached = set(layer.output)
            for node in source.graph.node:
                inputs = {name for name in node.input if name and name not in weights}
                if node.op_type in ACTIVATIONS and inputs and inputs <= reached:
                    names.append(node.name)
                    reached |= set(node.output)
    return names
