"""The shapes of all tensors of a graph whose inputs are fixed.

ONNX's own inference stops at sizes that a graph computes, such as the length of a Range or the
margins of a Pad. So the integer chains behind them are evaluated, and inference begins again.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import chain
from math import ceil, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    helper,
    inliner,
    numpy_helper,
    shape_inference,
)

from kdtool.edge.count.branches import branch_of, captured
from kdtool.edge.count.contrib_ops import without_fused
from kdtool.edge.count.macs import Shapes, is_standard
from kdtool.edge.model_file import EXTERNAL
from kdtool.edge.shapes import GivenShapes, input_shapes
from kdtool.errors import ModelFileError

Array = NDArray[Any]

# Shapes are inferred from the values of small tensors, such as the target of a Reshape. Larger ones
# are weights; their values are left out, as inference would copy them three times.
MAX_SHAPE_VALUES = 4096

# Operators that sizes are computed with. The first have no more elements than the product of their
# inputs' sizes.
_BOUNDED = """
Abs Add And Cast CastLike Ceil Clip Concat CumSum Div Equal Flatten Floor Gather GatherElements
GatherND Greater GreaterOrEqual Identity Less LessOrEqual Max Min Mod Mul Neg NonZero Not Or Pow
Reciprocal ReduceMax ReduceMin ReduceProd ReduceSum Reshape Round ScatterElements ScatterND Shape
Sign Size Slice Split Sqrt Squeeze Sub Transpose Trilu Unsqueeze Where Xor
"""
BOUNDED = frozenset(_BOUNDED.split())
GROWING = frozenset(("ConstantOfShape", "Expand", "Range", "Tile"))
MAX_PRODUCT = 2**22  # of the inputs' sizes of an operator that is evaluated
# What the evaluation of a node that breaks the rules of its operator raises.
EVALUATION_ERRORS = (
    ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError,
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class Inferred:
    """A graph whose inputs are fixed, and what is known of its tensors."""

    nodes: list[NodeProto]  # every producer before its consumers; no functions, no Constant
    stored: dict[str, TensorProto]  # initializers and constants
    shapes: Shapes
    elem_types: dict[str, int]  # TensorProto.DataType of every tensor with a known type


def infer_shapes(model: ModelProto, batch: int, given: GivenShapes | None = None) -> Inferred:
    """Infer the shapes in `model` for a fixed batch.

    Args:
        model: Is not changed. Its stored shapes, which are often stale after quantization, are
            ignored (onnxruntime issue 25890).
        batch: Size of a dynamic first dimension of an input.
        given: Shapes of inputs with dynamic dimensions.

    Raises:
        ModelFileError: An input has no fixed size, or another batch size; shapes contradict; or an
            operator needs its own result.
    """
    weights = model.graph.initializer
    model = _without_weights(model)
    if model.functions:  # what torch exports without optimization
        model = inliner.inline_local_functions(model)
    _fix_inputs(model.graph, batch, given)
    opsets = {entry.domain.removeprefix("ai.onnx"): entry.version for entry in model.opset_import}
    nodes, constants = _constants_apart(_in_order(without_fused(list(model.graph.node))))
    stored = [*model.graph.initializer, *constants]
    values = dict(_small_values(stored))
    computed: dict[str, list[TensorProto]] = {}  # first output of a node -> all its results
    while True:
        left = [node for node in nodes if _name(node) not in computed]
        graph = _inferred(model, left, chain(stored, *computed.values()))
        shapes = _known_shapes(graph)
        found = {
            _name(node): results
            for node in filter(is_standard, left)
            if (results := _evaluated(node, shapes, values, opsets))
        }
        computed |= found
        chosen = [node for node in left if node.op_type == "If" and node.input[0] in values]
        if not found and not chosen:
            return Inferred(
                nodes=nodes,
                stored={tensor.name: tensor for tensor in chain(stored, weights)},
                shapes=shapes,
                elem_types=_elem_types(graph),
            )
        for node in chosen:
            inside, tensors = branch_of(node, condition=bool(values[node.input[0]]))
            inside, constants = _constants_apart(without_fused(inside))
            place = nodes.index(node)
            nodes[place : place + 1] = inside
            stored += [*tensors, *constants]
            values |= dict(_small_values([*tensors, *constants]))


def _inferred(
    model: ModelProto, nodes: Iterable[NodeProto], stored: Iterable[TensorProto]
) -> GraphProto:
    """Return the graph of `model` with other nodes and stored tensors, and ONNX's inference.

    Raises:
        ModelFileError: Its shapes contradict each other.
    """
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    del model.graph.initializer[:]
    model.graph.initializer.extend(map(_without_large, stored))
    try:
        return shape_inference.infer_shapes(model, data_prop=True).graph
    # Of sizes that no computer has, its C++ raises whatever it meets first.
    except (shape_inference.InferenceError, ValueError, RuntimeError) as error:
        raise ModelFileError(f"its shapes contradict each other: {error}") from error


def _constants_apart(nodes: Iterable[NodeProto]) -> tuple[list[NodeProto], list[TensorProto]]:
    """Return the nodes that are no Constant, and the tensors of those that are."""
    others: list[NodeProto] = []
    constants: list[TensorProto] = []
    for node in nodes:
        tensors = list(_constant(node))
        constants += tensors
        others += [] if tensors else [node]
    return others, constants


def _elem_types(graph: GraphProto) -> dict[str, int]:
    values = (*graph.input, *graph.value_info, *graph.output)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _without_weights(model: ModelProto) -> ModelProto:
    """Return a copy without the values of large tensors, and without stored shapes."""
    # From IR 4 on, a stored tensor need not be an input, too.
    copy = ModelProto(ir_version=max(4, model.ir_version), functions=model.functions)
    copy.opset_import.extend(model.opset_import)
    copy.graph.name = model.graph.name
    copy.graph.node.extend(model.graph.node)
    copy.graph.input.extend(model.graph.input)
    copy.graph.output.extend(ValueInfoProto(name=value.name) for value in model.graph.output)
    copy.graph.initializer.extend(map(_without_large, model.graph.initializer))
    for sparse in model.graph.sparse_initializer:
        values = sparse.values
        copy.graph.initializer.append(
            TensorProto(name=values.name, data_type=values.data_type, dims=sparse.dims)
        )
    return copy


def _without_large(tensor: TensorProto) -> TensorProto:
    if prod(tensor.dims) <= MAX_SHAPE_VALUES:
        return tensor
    return TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)


def _constant(node: NodeProto) -> Iterator[TensorProto]:
    """Yield the tensor of a Constant, named like its output; nothing for all other nodes."""
    if node.op_type != "Constant" or not is_standard(node):
        return
    for attribute in node.attribute:
        if attribute.name == "value":
            tensor = TensorProto()
            tensor.CopyFrom(attribute.t)
        elif attribute.name == "sparse_value":
            sparse = attribute.sparse_tensor
            tensor = TensorProto(data_type=sparse.values.data_type, dims=sparse.dims)
        elif attribute.name in ("value_int", "value_ints", "value_float", "value_floats"):
            number = np.int64 if "int" in attribute.name else np.float32
            tensor = numpy_helper.from_array(
                np.array(helper.get_attribute_value(attribute), number)
            )
        else:
            continue
        tensor.name = node.output[0]
        yield tensor


def _in_order(nodes: Sequence[NodeProto]) -> list[NodeProto]:
    """Return `nodes` with every producer before its consumers.

    Raises:
        ModelFileError: An operator needs its own result, or two have results of one name.
    """
    results = Counter(name for node in nodes for name in node.output if name)
    if twice := [name for name, number in results.items() if number > 1]:
        raise ModelFileError(
            f"it has {results[twice[0]]} results with the name {twice[0]!r}, where each needs a "
            "name of its own; export it again"
        )
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needed = {
        index: [makers[name] for name in (*node.input, *captured(node)) if name in makers]
        for index, node in enumerate(nodes)
    }
    if all(maker < index for index, makers in needed.items() for maker in makers):
        return list(nodes)
    try:
        return [nodes[index] for index in TopologicalSorter(needed).static_order()]
    except CycleError as error:
        circle = " <- ".join(nodes[index].op_type for index in error.args[1][:6])
        raise ModelFileError(
            f"its operators form a circle ({circle}), so none of them can begin; export it again"
        ) from error


def _fix_inputs(graph: GraphProto, batch: int, given: GivenShapes | None) -> None:
    stored = {tensor.name for tensor in graph.initializer}  # inputs, too, up to IR 3
    inputs = [value for value in graph.input if value.name not in stored]
    for value in inputs:
        kind = value.type.WhichOneof("value")
        if kind not in (None, "tensor_type"):
            kind = str(kind).removesuffix("_type")
            raise ModelFileError(f"input {value.name!r} is a {kind}; expected a tensor of images")
    declared = {value.name: _declared_dims(value) for value in inputs}
    shapes = input_shapes(declared, batch, given)
    for value in inputs:
        shape = value.type.tensor_type.shape
        shape.Clear()
        for size in shapes[value.name]:
            shape.dim.add(dim_value=size)


def _declared_dims(value: ValueInfoProto) -> list[int | str | None] | None:
    """Return the size or name of each dimension, None for neither; None for no shape at all."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
        for dim in tensor.shape.dim
    ]


def _known_shapes(graph: GraphProto) -> Shapes:
    shapes: Shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = _declared_dims(value)
        # A kernel larger than its image makes dimensions below 0.
        known = tuple(dim for dim in dims or () if isinstance(dim, int) and dim >= 0)
        if dims is not None and len(known) == len(dims):
            shapes[value.name] = known
    return shapes


def _small_values(stored: Iterable[TensorProto]) -> Iterator[tuple[str, Array]]:
    for tensor in stored:
        if prod(tensor.dims) <= MAX_SHAPE_VALUES and tensor.data_location != EXTERNAL:
            with suppress(*EVALUATION_ERRORS):  # its values do not fit its shape
                yield tensor.name, numpy_helper.to_array(tensor)


def _name(node: NodeProto) -> str:
    return str(node.output[0]) if node.output else ""


def _evaluated(
    node: NodeProto, shapes: Shapes, values: dict[str, Array], opsets: dict[str, int]
) -> list[TensorProto]:
    """Return the results of `node`, and add them to `values`; empty: they are not known yet."""
    names = [name for name in node.input if name]
    try:
        if node.op_type in ("Shape", "Size") and names[0] in shapes:
            feed = {names[0]: np.broadcast_to(np.zeros((), np.int8), shapes[names[0]])}
        elif node.op_type in BOUNDED | GROWING and values.keys() >= set(names):
            feed = {name: values[name] for name in names}
        else:
            return []
        size = _largest_size(node, [feed[name] for name in names])
        if size > MAX_SHAPE_VALUES and node.op_type == "Range":
            elem_type = helper.np_dtype_to_tensor_dtype(feed[names[0]].dtype)
            return [TensorProto(name=node.output[0], data_type=elem_type, dims=[size])]
        if size > (MAX_SHAPE_VALUES if node.op_type in GROWING else MAX_PRODUCT):
            return []
        # Here, not at the top: most files have no such chains, and the import takes 0.2 s.
        from onnx.reference import ReferenceEvaluator

        with np.errstate(all="ignore"):
            arrays = ReferenceEvaluator(node, opsets=opsets).run(None, feed)
        found = {
            name: np.asarray(array) for name, array in zip(node.output, arrays, strict=True) if name
        }
        tensors = [numpy_helper.from_array(array, name) for name, array in found.items()]
    except EVALUATION_ERRORS:  # the node breaks the rules of its operator
        return []
    if any(array.size > MAX_SHAPE_VALUES for array in found.values()):
        return []
    values.update(found)
    return tensors


def _largest_size(node: NodeProto, inputs: Sequence[Array]) -> int:
    """Return the most elements that a result of `node` can have."""
    match node.op_type:
        case "Shape" | "Size":
            return inputs[0].ndim
        case "Range":
            start, limit, delta = (array.item() for array in inputs)
            return int(max(0, ceil((limit - start) / delta)))
        case "ConstantOfShape":
            return int(prod(inputs[0].tolist()))
        case "Expand":
            return prod(np.broadcast_shapes(inputs[0].shape, tuple(inputs[1].tolist())))
        case "Tile":
            return int(inputs[0].size * prod(inputs[1].tolist()))
    return prod(max(1, array.size) for array in inputs)
