"""Which stored tensors of an ONNX graph are learned parameters."""

from collections.abc import Iterator
from math import prod

from onnx import GraphProto, NodeProto, TensorProto

from kdtool.edge.count.macs import MAC_RULES, Shapes, is_standard

ElemTypes = dict[str, int]  # TensorProto.DataType of every tensor that has a known one

# Where each operator takes learned tensors. Scales and zero points of quantization are not learned.
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

# What may stand between a stored tensor and its use. Not Unsqueeze: Caffe's BatchNorm + Scale pairs
# are exported with one, and hold one learned scale and shift, not two (light_densenet121).
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
        Parameters; the running statistics of batch normalization, which are not among them; the
        operators that make a weight whose shape is not known, so that it is missing.
    """
    producers = {output: node for node in graph.node for output in node.output}
    stored = {tensor.name for tensor in graph.initializer}
    stored |= {name for name, node in producers.items() if node.op_type.startswith("Constant")}

    def origin(name: str) -> str:
        """The stored tensor that `name` is made of; "" if it is computed."""
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
    """Yield the inputs of `node` that stand at the positions given for its operator."""
    if is_standard(node):
        for position in positions.get(node.op_type, ()):
            if position < len(node.input):  # trailing inputs may be left out
                yield node.input[position]


def _computed_by_layers(graph: GraphProto) -> set[str]:
    """Return the tensors that depend on the result of a convolution or matrix product.

    Not the scales that quantization at run time computes: what multiplies them is no layer scale.
    """
    computed: set[str] = set()
    for node in graph.node:  # sorted: ONNX wants every producer before its consumers
        if (is_standard(node) and node.op_type in MAC_RULES) or not computed.isdisjoint(node.input):
            last = 1 if node.op_type == "DynamicQuantizeLinear" else len(node.output)
            computed.update(node.output[:last])
    return computed
