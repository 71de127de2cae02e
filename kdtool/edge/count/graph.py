"""Count parameters and multiply-accumulates (MACs) of an ONNX file, without running it."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from onnx import (
    GraphProto,
    ModelProto,
    NodeProto,
    TensorProto,
    ValueInfoProto,
    inliner,
    shape_inference,
)

from kdtool.edge.count.contrib_ops import without_fused
from kdtool.edge.count.macs import MAC_RULES, Shapes, count_macs, is_standard
from kdtool.edge.model_file import read_model
from kdtool.edge.shapes import GivenShapes, input_shapes
from kdtool.errors import ModelFileError

ElemTypes = dict[str, int]  # TensorProto.DataType of every tensor with a known type

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

# Operators allowed between a stored tensor and its use. Not Unsqueeze: Caffe's BatchNorm + Scale
# pairs are exported with one, and hold one learned scale and shift, not two (light_densenet121).
LOOK_THROUGH = frozenset(
    ("Cast", "DequantizeLinear", "Identity", "QuantizeLinear", "Reshape", "Transpose")
)

FLOATS = frozenset(
    (TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.FLOAT16)
)


def count_params(
    graph: GraphProto, shapes: Shapes, elem_types: ElemTypes
) -> tuple[int, int, set[str]]:
    """Count the learned numbers of `graph`, each stored tensor once.

    Learned is what reaches the weight or bias of a layer, through `LOOK_THROUGH` at most. It is
    also what an Add or Mul combines with something that a layer has computed, if it is floating and
    has more than one element: the bias of a MatMul, a position embedding, a layer scale. So the
    scaling and normalization of pixels in front of the first layer are not, nor are shapes.

    Returns:
        Parameters; the running statistics of batch normalization, which are not included in them;
        the operators that compute a weight of unknown shape, which is not counted.
    """
    producers = {output: node for node in graph.node for output in node.output}
    stored = {tensor.name for tensor in graph.initializer}
    stored |= {name for name, node in producers.items() if node.op_type.startswith("Constant")}

    def origin(name: str) -> str:
        """Return the stored tensor that `name` comes from; "" if it is computed."""
        while name not in stored:
            node = producers.get(name)
            if node is None or node.op_type not in LOOK_THROUGH:
                return ""
            name = node.input[0]
        return name

    after_layer = _computed_by_layers(graph)
    weights = {origin(name) for node in graph.node for name in _at(node, WEIGHT_INPUTS)}
    weights |= {
        origin(name)
        for node in graph.node
        if node.op_type in ("Add", "Mul") and not after_layer.isdisjoint(node.input)
        for name in node.input
        if elem_types.get(name) in FLOATS and prod(shapes.get(name, ())) > 1
    }
    statistics = {origin(name) for node in graph.node for name in _at(node, STATISTICS_INPUTS)}
    weights.discard("")
    statistics.discard("")

    def num_elements(names: set[str]) -> int:
        return sum(prod(shapes[name]) for name in names)

    unknown = {producers[name].op_type for name in (weights | statistics) - shapes.keys()}
    weights &= shapes.keys()
    statistics &= shapes.keys() - weights
    return num_elements(weights), num_elements(statistics), unknown


def _at(node: NodeProto, positions: dict[str, tuple[int, ...]]) -> Iterator[str]:
    """Yield the inputs of `node` at the positions listed for its operator."""
    if is_standard(node):
        for position in positions.get(node.op_type, ()):
            if position < len(node.input):  # trailing inputs are optional
                yield node.input[position]


def _computed_by_layers(graph: GraphProto) -> set[str]:
    """Return the tensors that depend on the result of a convolution or matrix product.

    Not the scales that quantization at run time computes: what multiplies them is no layer scale.
    """
    computed: set[str] = set()
    for node in graph.node:  # sorted: in ONNX every producer comes before its consumers
        if (is_standard(node) and node.op_type in MAC_RULES) or not computed.isdisjoint(node.input):
            last = 1 if node.op_type == "DynamicQuantizeLinear" else len(node.output)
            computed.update(node.output[:last])
    return computed


# Shapes are inferred from the values of small tensors, such as the target of a Reshape. Larger ones
# are weights; their values are dropped first, as inference would copy them three times.
MAX_SHAPE_VALUES = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphCost:
    """The cost of one forward pass of a batch, independent of the device."""

    num_params: int  # learned numbers
    num_bn_statistics: int  # running means and variances of BatchNorm, not in num_params
    num_macs: int  # of the whole batch; FLOPs = 2 x MACs
    uncounted_ops: tuple[str, ...]  # without a rule or known shapes

    @property
    def partial(self) -> bool:
        """Whether some operators are missing, so that both counts are lower bounds."""
        return bool(self.uncounted_ops)


def count_graph(path: Path, batch: int = 1, shapes: GivenShapes | None = None) -> GraphCost:
    """Count the parameters and MACs of an ONNX file.

    Args:
        path: ONNX file; weights in other files are not read; their shapes are enough.
        batch: Images in a batch, if the file has a dynamic batch.
        shapes: Shapes of inputs with dynamic dimensions.

    Raises:
        ModelFileError: Not a readable ONNX file, or inputs with shapes neither fixed nor given.
    """
    model = read_model(path)
    try:
        return _count(model, batch, shapes)
    except ModelFileError as error:
        raise ModelFileError(f"cannot count {path}: {error}") from error


def count_model(model: ModelProto, shapes: GivenShapes | None = None) -> GraphCost:
    """Count one image in a model in memory, as `count_graph` does; `model` is not changed.

    Raises:
        ModelFileError: It has inputs with shapes neither fixed nor given.
    """
    copy = ModelProto()
    copy.CopyFrom(model)
    return _count(copy, 1, shapes)


def _count(model: ModelProto, batch: int, shapes: GivenShapes | None) -> GraphCost:
    """Count `model`, and change it."""
    graph, known = infer_shapes(model, batch, shapes)
    num_params, num_bn_statistics, unknown = count_params(graph, known, _elem_types(graph))
    num_macs, uncounted = count_macs(list(graph.node), known)
    return GraphCost(
        num_params=num_params,
        num_bn_statistics=num_bn_statistics,
        num_macs=num_macs,
        uncounted_ops=tuple(sorted(unknown | uncounted)),
    )


def infer_shapes(
    model: ModelProto, batch: int, given: GivenShapes | None = None
) -> tuple[GraphProto, Shapes]:
    """Return the graph of `model` for a fixed batch, and the shapes that could be inferred.

    Args:
        model: Is changed: large weights lose their values, and stored shapes, which are often stale
            after quantization, are dropped (onnxruntime issue 25890).
        batch: Size of a dynamic first dimension of an input.
        given: Shapes of inputs with dynamic dimensions.

    Raises:
        ModelFileError: An input has no fixed size, or another batch size; or shapes contradict.
    """
    _drop_values(model.graph)
    if model.functions:  # what torch exports without optimization
        model = inliner.inline_local_functions(model)
    nodes = without_fused(list(model.graph.node))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    _fix_inputs(model.graph, batch, given)
    try:
        graph = shape_inference.infer_shapes(model, data_prop=True).graph
    except shape_inference.InferenceError as error:
        raise ModelFileError(f"its shapes contradict each other: {error}") from error
    shapes: Shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = _declared_dims(value)
        # A kernel larger than its image makes dimensions below 0.
        known = tuple(dim for dim in dims or () if isinstance(dim, int) and dim >= 0)
        if dims is not None and len(known) == len(dims):
            shapes[value.name] = known
    return graph, shapes


def _drop_values(graph: GraphProto) -> None:
    del graph.value_info[:]
    for output in graph.output:
        output.ClearField("type")
    for tensor in graph.initializer:
        if prod(tensor.dims) > MAX_SHAPE_VALUES:
            for field in ("raw_data", "float_data", "int32_data"):
                tensor.ClearField(field)


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


def _elem_types(graph: GraphProto) -> ElemTypes:
    values = (*graph.input, *graph.value_info, *graph.output)
    elem_types = {value.name: value.type.tensor_type.elem_type for value in values}
    return elem_types | {tensor.name: tensor.data_type for tensor in graph.initializer}
