"""Other forms of a graph that compute the same and run faster, above all in 8 bits.

onnxruntime's quantize_static knows neither ReduceMean nor HardSwish nor HardSigmoid: it leaves a
pair of QuantizeLinear and DequantizeLinear around each of them, and they are computed in fp32.
"""

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from kdtool.edge.session import InferenceSession

STEM_CHANNELS = 4  # of the images, at most; int8 convolutions of so few channels are slow
SIXTH = "_sixth"  # ends the name of the Mul by 1/6 that `fold_sixths` removes again
ACTIVATIONS = frozenset(("Relu", "Clip", "Sigmoid", "Mul", "Add"))
SLOW_IN_INT8 = frozenset(("Sigmoid", "Mul"))  # of the stem's activation: hard-swish and SiLU


RANDOM = frozenset(
    ("RandomNormal", "RandomUniform", "RandomNormalLike", "RandomUniformLike", "Bernoulli")
)


def fold_constants(model: ModelProto) -> None:
    """Compute once, by onnxruntime, what depends on stored tensors alone, in place.

    Such are standardized or normalized weights, and weights that are reshaped where they are used.
    quantize_static refuses them.
    """
    graph = model.graph
    known = {one.name for one in graph.initializer} | {""}
    folded: list[NodeProto] = []
    for node in graph.node:
        has_graph = any(one.HasField("g") or one.graphs for one in node.attribute)
        if not has_graph and node.op_type not in RANDOM and known.issuperset(node.input):
            folded.append(node)
            known.update(node.output)
    rest = [node for node in graph.node if node not in folded]
    used = {name for node in rest for name in node.input} | {one.name for one in graph.output}
    names = [name for node in folded for name in node.output if name in used]
    if not names:
        return
    outputs = [helper.make_empty_tensor_value_info(name) for name in names]
    part = helper.make_graph(folded, "constants", [], outputs, list(graph.initializer))
    alone = helper.make_model(part, opset_imports=list(model.opset_import))
    alone.ir_version = model.ir_version
    session = InferenceSession(alone.SerializeToString(), providers=["CPUExecutionProvider"])
    values = session.run(names, {})
    del graph.node[:]
    graph.node.extend(rest)
    kept = [one for one in graph.initializer if one.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name)
        for name, value in zip(names, values, strict=True)
    )


def pool_globally(model: ModelProto) -> None:
    """Write each mean over height and width as GlobalAveragePool, in place.

    They compute the same; only the second is fused with its neighbours.
    """
    constants = {one.name: one for one in model.graph.initializer}
    ranks = _ranks(model)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        axes = constants.get(node.input[1]) if len(node.input) > 1 else None
        if (
            node.op_type == "ReduceMean"
            and axes is not None
            and ranks.get(node.input[0]) == 4
            and sorted(axis % 4 for axis in numpy_helper.to_array(axes).ravel()) == [2, 3]
        ):
            nodes += _pooled(node, constants, model)
        else:
            nodes.append(node)
    _set_nodes(model, nodes)


def _pooled(
    node: NodeProto, constants: dict[str, TensorProto], model: ModelProto
) -> Iterator[NodeProto]:
    keeps = all(one.i for one in node.attribute if one.name == "keepdims")
    name = node.name or node.output[0]
    pooled = node.output[0] if keeps else f"{node.output[0]}_pooled"
    yield helper.make_node("GlobalAveragePool", [node.input[0]], [pooled], name)
    if not keeps:
        yield helper.make_node("Flatten", [pooled], list(node.output), f"{name}_flat", axis=1)


def split_hard_activations(model: ModelProto) -> None:
    """Write HardSwish and HardSigmoid as operators that quantization knows, in place.

    x * clip(x + 3, 0, 6) / 6, and clip(x + 3, 0, 6) / 6. The division is a node of its own, which
    `fold_sixths` moves into the scales.
    """
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "HardSwish" or _is_usual_hard_sigmoid(node):
            nodes += _split(node)
        else:
            nodes.append(node)
    if len(nodes) > len(model.graph.node):
        for name, value in (("three", 3.0), ("zero", 0.0), ("six", 6.0), ("sixth", 1 / 6)):
            array = np.array(value, np.float32)
            model.graph.initializer.append(numpy_helper.from_array(array, f"hard_{name}"))
    _set_nodes(model, nodes)


def _is_usual_hard_sigmoid(node: NodeProto) -> bool:
    """Return whether a node is clip(x / 6 + 1 / 2, 0, 1)."""
    if node.op_type != "HardSigmoid":
        return False
    given = {one.name: one.f for one in node.attribute}
    return bool(abs(given.get("alpha", 0.2) - 1 / 6) < 1e-6 and given.get("beta", 0.5) == 0.5)


def _split(node: NodeProto) -> Iterator[NodeProto]:
    name, given, result = node.name or node.output[0], node.input[0], node.output[0]
    shifted, clipped, product = (f"{result}_{part}" for part in ("shifted", "clipped", "product"))
    yield helper.make_node("Add", [given, "hard_three"], [shifted], f"{name}_add")
    yield helper.make_node("Clip", [shifted, "hard_zero", "hard_six"], [clipped], f"{name}_clip")
    last = clipped
    if node.op_type == "HardSwish":
        yield helper.make_node("Mul", [given, clipped], [product], f"{name}_mul")
        last = product
    yield helper.make_node("Mul", [last, "hard_sixth"], [result], f"{name}{SIXTH}")


def fold_sixths(model: ModelProto) -> None:
    """Move the divisions of `split_hard_activations` into scales, in place, bit for bit equal.

    To quantize y / 6 with scale s is to quantize y with 6 s; the integers are the same.
    """
    graph = model.graph
    producer = {name: node for node in graph.node for name in node.output}
    values = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    users: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)
    for node in list(graph.node):
        if not node.name.endswith(SIXTH):
            continue
        back = producer.get(node.input[0])
        quantize = users.get(node.output[0], [])
        if back is None or back.op_type != "DequantizeLinear" or len(quantize) != 1:
            continue
        before = producer[back.input[0]]
        if before.op_type != "QuantizeLinear" or quantize[0].op_type != "QuantizeLinear":
            continue
        scale = quantize[0].input[1]
        wider = f"{scale}_of_six"
        array = np.asarray(values[scale] * np.float32(6), np.float32)
        graph.initializer.append(numpy_helper.from_array(array, wider))
        quantize[0].input[0], quantize[0].input[1] = before.input[0], wider
        graph.node.remove(node)
    _remove_unused(model)


def stem_nodes(model: ModelProto) -> list[str]:
    """Return the first convolution and its activation, by name, where fp32 is faster.

    That is so for hard-swish and SiLU on an image: few channels are slow in 8 bits, and the
    activation costs more than the convolution saves. With ReLU, int8 is faster by far.

    Args:
        model: After `split_hard_activations`.
    """
    first = next((node for node in model.graph.node if node.op_type == "Conv"), None)
    weights = {one.name: one for one in model.graph.initializer}
    if first is None or first.input[1] not in weights:
        return []
    if weights[first.input[1]].dims[1] > STEM_CHANNELS:
        return []
    names, kinds, reached = [first.name], set(), set(first.output)
    for node in model.graph.node:
        inputs = {name for name in node.input if name not in weights}
        if node.op_type in ACTIVATIONS and inputs and inputs <= reached:
            names.append(node.name)
            kinds.add(node.op_type)
            reached |= set(node.output)
    return names if kinds & SLOW_IN_INT8 else []


def _set_nodes(model: ModelProto, nodes: list[NodeProto]) -> None:
    copied = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copied)
    _remove_unused(model)


def _remove_unused(model: ModelProto) -> None:
    """Remove nodes and constants that nothing reads."""
    graph = model.graph
    while True:
        read = {name for node in graph.node for name in node.input}
        read |= {one.name for one in graph.output}
        unused = [node for node in graph.node if not read & set(node.output)]
        if not unused:
            break
        for node in unused:
            graph.node.remove(node)
    kept = [one for one in graph.initializer if one.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _ranks(model: ModelProto) -> dict[str, int]:
    inferred = onnx.shape_inference.infer_shapes(model)
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in [*inferred.graph.value_info, *inferred.graph.input]
    }
