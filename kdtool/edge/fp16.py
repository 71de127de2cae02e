"""Make a file with 16-bit weights and arithmetic from an fp32 ONNX file."""

from onnx import GraphProto, ModelProto

# Before onnxruntime.transformers, which imports onnxruntime: this module switches telemetry off.
import kdtool.edge.session  # noqa: F401
from kdtool.edge.converted import as_ours, copied, front_end, quiet


def to_fp16(model: ModelProto) -> ModelProto:
    """Return `model` with 16-bit weights and arithmetic; inputs and outputs are unchanged.

    The file has half the size; on CPUs without fp16 arithmetic it is slower than fp32.
    """
    from onnxruntime.transformers.float16 import (  # type: ignore[import-untyped]
        convert_float_to_float16,
    )

    source = copied(model)
    front = _cut_off(source.graph, set(front_end(model)))  # sizes need more than 11 bits
    with quiet():
        half = convert_float_to_float16(source, keep_io_types=True)
    rest = list(half.graph.node)
    del half.graph.node[:]
    half.graph.node.extend([*front.node, *rest])
    half.graph.initializer.extend(front.initializer)
    half.graph.input[0].CopyFrom(model.graph.input[0])
    return as_ours(half, model)


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
