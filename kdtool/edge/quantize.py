"""Make a smaller file from an fp32 ONNX file: int8 by static quantization, or fp16."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto

# Before onnxruntime.quantization, which imports onnxruntime: this module switches telemetry off.
import kdtool.edge.session  # noqa: F401
from kdtool.edge.rewrite import fold_sixths, split_hard_activations, stem_nodes

Target = Literal["x86", "arm", "portable"]

# Layers that can be sensitive to 8 bits because of their place in the graph.
LAYERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
# Name prefix of the nodes that resize an image: they compute with sizes.
FRONT_END = "resize_"


def to_int8(
    model: ModelProto,
    images: NDArray[np.generic],
    target: Target,
    kept_fp32: Sequence[str] = (),
) -> ModelProto:
    """Return `model` with 8-bit weights, one scale per channel, and 8-bit activations (static QDQ).

    Args:
        model: fp32, with one input; is not changed.
        images: `(N, ...)`, inputs of the model; their least and greatest values set the range of
            each activation.
        target: x86: unsigned activations, signed weights (U8S8), the fast pair there. arm: S8S8.
            portable: U8S8 with 7-bit weights, as processors without VNNI saturate at int16.
        kept_fp32: Names of nodes that stay in fp32, as do those that are faster there.

    Source: onnxruntime.ai/docs/performance/model-optimizations/quantization.html; U8S8 on x86 and
    MinMax were measured: S8S8 took 1.9 times as long as U8S8 for MobileNetV2.
    """
    from onnxruntime.quantization import (  # type: ignore[import-untyped]
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )

    name = model.graph.input[0].name

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = ({name: image[None]} for image in images)

        def get_next(self) -> dict[str, NDArray[np.generic]] | None:
            return next(self.feeds, None)

    source = onnx.ModelProto()
    source.CopyFrom(model)
    if target != "arm":  # with signed activations nothing is gained
        split_hard_activations(source)
    outside = [*_front_end(source), *stem_nodes(source), *_after_the_layers(source)]
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            source,
            path,
            Images(),
            quant_format=QuantFormat.QDQ,
            calibrate_method=CalibrationMethod.MinMax,
            per_channel=True,
            reduce_range=target == "portable",
            activation_type=QuantType.QInt8 if target == "arm" else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*outside, *kept_fp32],
        )
        quantized = onnx.load(path)
    fold_sixths(quantized)
    return _as_ours(quantized, model)


def to_fp16(model: ModelProto) -> ModelProto:
    """Return `model` with 16-bit weights and arithmetic; inputs and outputs are unchanged.

    The file has half the size; on CPUs without fp16 arithmetic it is slower than fp32.
    """
    from onnxruntime.transformers.float16 import (  # type: ignore[import-untyped]
        convert_float_to_float16,
    )

    source = onnx.ModelProto()
    source.CopyFrom(model)
    front = _cut_off(source.graph, set(_front_end(model)))  # sizes need more than 11 bits
    with _quiet():
        half = convert_float_to_float16(source, keep_io_types=True)
    rest = list(half.graph.node)
    del half.graph.node[:]
    half.graph.node.extend([*front.node, *rest])
    half.graph.initializer.extend(front.initializer)
    half.graph.input[0].CopyFrom(model.graph.input[0])
    return _as_ours(half, model)


def first_and_last_layer(model: ModelProto) -> list[str]:
    """Return the names of the nodes that are most sensitive to 8 bits."""
    layers = [node.name for node in model.graph.node if node.op_type in LAYERS]
    return list(dict.fromkeys([layers[0], layers[-1]])) if layers else []


def _front_end(model: ModelProto) -> list[str]:
    return [node.name for node in model.graph.node if node.name.startswith(FRONT_END)]


def _after_the_layers(model: ModelProto) -> list[str]:
    """Return the names of the nodes after the last layer, which 8 bits would round."""
    nodes = list(model.graph.node)
    last = max((at for at, node in enumerate(nodes) if node.op_type in LAYERS), default=len(nodes))
    return [node.name for node in nodes[last + 1 :]]


def _cut_off(graph: GraphProto, names: set[str]) -> GraphProto:
    """Remove the nodes with these names, the first ones, and their constants from `graph`."""
    front = GraphProto()
    front.node.extend(node for node in graph.node if node.name in names)
    if not names:
        return front
    used = {name for node in front.node for name in node.input}
    front.initializer.extend(tensor for tensor in graph.initializer if tensor.name in used)
    kept = [tensor for tensor in graph.initializer if tensor.name not in used]
    rest = [node for node in graph.node if node.name not in names]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(rest)
    graph.initializer.extend(kept)
    graph.input[0].name = front.node[-1].output[0]
    return front


def _as_ours(smaller: ModelProto, model: ModelProto) -> ModelProto:
    """Remove leftovers of the tools from the file, and copy the metadata of `model`."""
    used = {node.domain for node in smaller.graph.node} | {""}
    opsets = {entry.domain: entry.version for entry in smaller.opset_import if entry.domain in used}
    del smaller.opset_import[:], smaller.metadata_props[:], smaller.graph.value_info[:]
    smaller.opset_import.extend(onnx.helper.make_opsetid(*pair) for pair in sorted(opsets.items()))
    smaller.metadata_props.extend(model.metadata_props)
    smaller.producer_name, smaller.producer_version = model.producer_name, model.producer_version
    smaller.graph.name, smaller.graph.doc_string = model.graph.name, ""
    onnx.checker.check_model(smaller, full_check=True)
    return smaller


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the tools' advice, which does not apply to these graphs."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # every error is raised as well
    try:
        yield
    finally:
        logging.disable(level)
