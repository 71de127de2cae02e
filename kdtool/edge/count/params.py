"""The learned numbers of a graph: what it stores and uses as the weight or bias of a layer."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import prod

from onnx import NodeProto, TensorProto, numpy_helper

from kdtool.edge.count.branches import bodies, captured
from kdtool.edge.count.infer import Inferred
from kdtool.edge.count.macs import MAC_RULES, attributes, is_known, name_of
from kdtool.edge.count.tables import FLOATS, learned_elements

# Input positions of learned tensors. Scales and zero points of quantization are not learned.
WEIGHT_INPUTS: dict[str, tuple[int, ...]] = {
    "BatchNormalization": (1, 2),
    "Conv": (1, 2),
    "ConvInteger": (1,),
    "ConvTranspose": (1, 2),
    "DeformConv": (1, 3),
    "Einsum": (0, 1),
    "GRU": (1, 2, 3),
    "Gemm": (0, 1, 2),
    "GroupNormalization": (1, 2),
    "InstanceNormalization": (1, 2),
    "LSTM": (1, 2, 3, 7),
    "LayerNormalization": (1, 2),
    "MatMul": (0, 1),
    "MatMulInteger": (0, 1),
    "PRelu": (1,),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
    "RMSNormalization": (1,),
    "RNN": (1, 2, 3),
}
STATISTICS_INPUTS: dict[str, tuple[int, ...]] = {"BatchNormalization": (3, 4)}

# What combines a result of a layer with a stored tensor that was learned: the bias of a MatMul, a
# layer scale, a position embedding, a class token.
COMBINING = frozenset(("Add", "Concat", "Div", "Mul", "Sub", "Sum", "Where"))

# Operators whose result holds the elements of their first input, so one element may be learned.
MOVING = frozenset(
    (
        "Cast", "DequantizeLinear", "Flatten", "Gather", "Identity", "QuantizeLinear", "Reshape",
        "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze",
    )
)  # fmt: skip

# Never learned: positions, shapes, conditions and texts.
NOT_LEARNED = frozenset((TensorProto.BOOL, TensorProto.INT64, TensorProto.STRING))

Names = frozenset[str]
NONE: Names = frozenset()


@dataclass(frozen=True, kw_only=True, slots=True)
class Params:
    """The learned numbers of a graph, each stored tensor once."""

    num_params: int
    num_statistics: int  # running means and variances of BatchNorm, not in num_params
    uncounted: set[str]  # operators with parameters that are not counted


Origins = dict[str, Names]  # tensor without images -> stored tensors that it is computed from


@dataclass(frozen=True, kw_only=True, slots=True)
class _Results:
    """The tensors that depend on a convolution or matrix product."""

    layered: set[str]  # all of them
    direct: set[str]  # the result itself, perhaps in another layout
    products: set[str]  # of integers, before they are scaled


def count_params(graph: Inferred) -> Params:
    """Count the learned numbers of `graph`.

    Learned is what reaches the weight or bias of a layer, also through a computation of its own,
    such as a weight norm; and what is combined with the result of a layer, if it is floating. So
    the scaling and normalization of pixels in front of the first layer are not, nor are shapes,
    constant factors, masks, or the scales of quantization.
    """
    origins, uncounted = _origins(graph)
    results = _results(graph)
    replaced = _replaced_norms(graph, origins)
    weights: set[str] = set()
    tables: set[str] = set()  # combined with the result of a layer
    statistics: set[str] = set()
    for node in filter(is_known, graph.nodes):
        constant = not origins.keys().isdisjoint(node.output)
        if constant and node.op_type in STATISTICS_INPUTS:
            continue  # a standardized weight: its scales are 1, its shifts 0
        if replaced.isdisjoint(node.output):
            weights.update(*(origins.get(name, NONE) for name in _at(node, WEIGHT_INPUTS)))
        statistics.update(*(origins.get(name, NONE) for name in _at(node, STATISTICS_INPUTS)))
        if not constant:
            combined = _combined(node, graph, origins, results)
            tables.update(*(origins[name] for name in combined))
    sizes = {name: _size(name, graph) for name in weights | statistics | tables}
    sizes |= {
        name: learned_elements(graph.stored[name])
        for name in tables - weights
        if name in graph.stored
    }
    # A table that a ConstantOfShape fills is the value of a mask.
    sizes |= {
        name: 0
        for name in tables - weights - graph.stored.keys()
        if sum(dim > 1 for dim in graph.shapes.get(name, ())) > 1
    }
    return Params(
        num_params=sum(sizes[name] or 0 for name in weights | tables),
        num_statistics=sum(sizes[name] or 0 for name in statistics - weights - tables),
        uncounted=uncounted | ({"ConstantOfShape"} if None in sizes.values() else set()),
    )


def _at(node: NodeProto, positions: dict[str, tuple[int, ...]]) -> Iterator[str]:
    """Yield the inputs of `node` at the positions listed for its operator."""
    for position in positions.get(node.op_type, ()):
        if position < len(node.input):  # trailing inputs are optional
            yield node.input[position]


def _size(name: str, graph: Inferred) -> int | None:
    return prod(graph.shapes[name]) if name in graph.shapes else None


def _origins(graph: Inferred) -> tuple[Origins, set[str]]:
    """Follow all stored tensors, and return the operators where they get lost as well."""
    origins: Origins = {
        name: NONE if tensor.data_type in NOT_LEARNED else frozenset((name,))
        for name, tensor in graph.stored.items()
    }
    lost: set[str] = set()
    for node in graph.nodes:
        inputs = [name for name in node.input if name]
        if not is_known(node):
            if _holds_weights(node, graph, origins):
                lost.add(name_of(node))
        elif node.op_type in ("Shape", "Size"):
            origins.update(dict.fromkeys(node.output, NONE))
        elif node.op_type == "ConstantOfShape":
            filled = frozenset(node.output) if _fill(node) else NONE
            origins.update(dict.fromkeys(node.output, filled))
        elif inputs and origins.keys() >= set(inputs):
            origins.update(dict.fromkeys(node.output, _through(node, graph, origins)))
    return origins, lost


def _fill(node: NodeProto) -> float:
    value = attributes(node).get("value")
    return 0.0 if value is None else float(numpy_helper.to_array(value).ravel()[0])


def _results(graph: Inferred) -> _Results:
    found = _Results(layered=set(), direct=set(), products=set())
    for node in graph.nodes:
        if is_known(node) and node.op_type in MAC_RULES:
            found.layered.update(node.output)
            found.direct.update(node.output)
            if node.op_type.endswith("Integer"):
                found.products.update(node.output)
        elif not found.layered.isdisjoint(node.input):
            # The scale that quantization at run time computes is no result of a layer: what
            # multiplies it is no layer scale.
            last = 1 if node.op_type == "DynamicQuantizeLinear" else len(node.output)
            found.layered.update(node.output[:last])
            if node.op_type in MOVING and node.input[0] in found.direct:
                found.direct.update(node.output)
            if node.op_type == "Cast" and node.input[0] in found.products:
                found.products.update(node.output)
    return found


def _holds_weights(node: NodeProto, graph: Inferred, origins: Origins) -> bool:
    """Return whether a node of unknown meaning gets, or has inside, stored tensors."""
    names = {*node.input, *captured(node)}
    given = [origin for name in names for origin in origins.get(name, NONE)]
    inside = [
        prod(tensor.dims)
        for body in bodies(node)
        for tensor in _stored_in(body.node, body.initializer)
        if tensor.data_type in FLOATS
    ]
    return any((_size(name, graph) or 2) > 1 for name in given) or any(n > 1 for n in inside)


def _stored_in(nodes: Iterable[NodeProto], stored: Iterable[TensorProto]) -> Iterator[TensorProto]:
    yield from stored
    for node in nodes:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
        for body in bodies(node):
            yield from _stored_in(body.node, body.initializer)


def _through(node: NodeProto, graph: Inferred, origins: Origins) -> Names:
    """Return the learned tensors in the result of a node without images."""
    if node.op_type in MAC_RULES:
        return NONE  # what it gets has been counted, or is a table that nothing has learned
    if node.op_type in MOVING:
        return origins.get(node.input[0], NONE)
    floating = _is_float(node.output[0], graph)
    names = [name for name in node.input if name and _is_float(name, graph) == floating]
    if node.op_type in STATISTICS_INPUTS:  # a standardized weight: its scales are 1, its shifts 0
        names = names[:1]
    rank = len(graph.shapes.get(node.output[0], ()))
    return frozenset(
        origin
        for name in names
        for origin in origins[name]
        # A factor or an epsilon is not learned; the gain of a layer with one output is.
        if _size(origin, graph) != 1 or len(graph.shapes[origin]) == rank > 1
    )


def _is_float(name: str, graph: Inferred) -> bool:
    return graph.elem_types.get(name, TensorProto.FLOAT) in FLOATS


def _combined(
    node: NodeProto, graph: Inferred, origins: Origins, results: _Results
) -> Iterator[str]:
    """Yield the inputs of `node` that are learned because a result of a layer meets them."""
    if node.op_type == "Gather" and not origins.keys() >= set(node.input[1:]):  # an embedding
        candidates = node.input[:1]
    elif (
        node.op_type not in COMBINING
        or results.layered.isdisjoint(node.input)
        # The scales of quantization
        or (node.op_type == "Mul" and not results.products.isdisjoint(node.input))
    ):
        candidates = []
    else:
        candidates = node.input
    for name in candidates:
        if name in origins and _is_float(name, graph):
            shape = graph.shapes.get(name, (0,))
            if prod(shape) != 1 or (shape == (1,) and _is_bias(node, graph, results)):
                yield name


def _is_bias(node: NodeProto, graph: Inferred, results: _Results) -> bool:
    """Return whether an Add of one element adds the bias of a layer with one output."""
    return (
        node.op_type == "Add"
        and not results.direct.isdisjoint(node.input)
        and graph.shapes.get(node.output[0], (0,))[-1:] == (1,)
    )


def _replaced_norms(graph: Inferred, origins: Origins) -> set[str]:
    """Return the results of norms that a stored scale and shift follow.

    Caffe's BatchNorm learns neither; its Scale layer does, and is exported as Mul and Add. PyTorch
    writes a GroupNorm as an InstanceNormalization of groups, and Mul and Add of channels.
    """
    users: dict[str, list[NodeProto]] = defaultdict(list)
    for node in graph.nodes:
        for name in set(node.input):
            users[name].append(node)

    def after(name: str, op_type: str) -> str:
        """Return the result of the only user of `name`, if it combines it with stored numbers."""
        seen: set[str] = set()
        while name and len(users[name]) == 1 and name not in seen:
            seen.add(name)  # the branches of an If may form a circle
            (node,) = users[name]
            result = str(node.output[0]) if node.output else ""
            if node.op_type == op_type and any(origins.get(other) for other in node.input):
                return result
            name = result if node.op_type in MOVING else ""
        return ""

    return {
        node.output[0]
        for node in graph.nodes
        if node.op_type in ("BatchNormalization", "InstanceNormalization")
        and node.output
        and after(after(node.output[0], "Mul"), "Add")
    }
