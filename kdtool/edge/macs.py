"""How many multiply-accumulates each ONNX operator needs."""

from collections.abc import Callable
from math import prod

from onnx import NodeProto, helper

Shapes = dict[str, tuple[int, ...]]  # of the tensors whose every dimension is known
MacRule = Callable[[NodeProto, Shapes], int]


def conv_macs(node: NodeProto, shapes: Shapes) -> int:
    """Every output element is a dot product over (C_in / groups) * kH * kW inputs."""
    weight = shapes[node.input[1]]  # (C_out, C_in / groups, kH, kW)
    return prod(shapes[node.output[0]]) * prod(weight[1:])


def qlinear_conv_macs(node: NodeProto, shapes: Shapes) -> int:
    """As `conv_macs`; scale and zero point of the image come before the weight."""
    weight = shapes[node.input[3]]  # (C_out, C_in / groups, kH, kW)
    return prod(shapes[node.output[0]]) * prod(weight[1:])


def conv_transpose_macs(node: NodeProto, shapes: Shapes) -> int:
    """Every input element is spread over (C_out / groups) * kH * kW outputs."""
    weight = shapes[node.input[1]]  # (C_in, C_out / groups, kH, kW)
    return prod(shapes[node.input[0]]) * prod(weight[1:])


def gemm_macs(node: NodeProto, shapes: Shapes) -> int:
    """Every output element is a dot product over the inner dimension."""
    left = shapes[node.input[0]]  # (M, K), or (K, M) if transA
    transposed = any(helper.get_attribute_value(a) for a in node.attribute if a.name == "transA")
    return prod(shapes[node.output[0]]) * left[0 if transposed else 1]


def matmul_macs(node: NodeProto, shapes: Shapes) -> int:
    """Every output element is a dot product over the left operand's last dimension."""
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


MAC_RULES: dict[str, MacRule] = {
    "Conv": conv_macs,
    "ConvInteger": conv_macs,
    "ConvTranspose": conv_transpose_macs,
    "Gemm": gemm_macs,
    "MatMul": matmul_macs,
    "MatMulInteger": matmul_macs,
    "QLinearConv": qlinear_conv_macs,
    "QLinearMatMul": matmul_macs,
}

# By the convention that papers and torchvision follow, bias, normalization, activation, pooling,
# resizing and everything else done element by element count nothing. Not here, so listed as
# uncounted: what hides products (Einsum, Attention, LSTM, DeformConv, ...), what hides a graph
# (If, Loop, Scan) and all operators that are not ONNX's own.
_ELEMENTWISE = """
Abs Add And ArgMax ArgMin AveragePool BatchNormalization BitShift Cast CastLike Ceil Celu Clip
Compress Concat Constant ConstantOfShape Cos CumSum DepthToSpace DequantizeLinear Div Dropout
DynamicQuantizeLinear Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND
Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GroupNormalization
HardSigmoid HardSwish Hardmax Identity InstanceNormalization IsInf IsNaN LRN LayerNormalization
LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization LpPool Max MaxPool MaxUnpool Mean
MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear
RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round ScatterElements
ScatterND Selu Shape Shrink Sigmoid Sign Sin Size Slice Softmax Softplus Softsign SpaceToDepth Split
Sqrt Squeeze Sub Sum Swish Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample
Where Xor
"""
NO_MACS = frozenset(_ELEMENTWISE.split())


def count_macs(nodes: list[NodeProto], shapes: Shapes) -> tuple[int, tuple[str, ...]]:
    """Add up the multiply-accumulates of `nodes`.

    Returns:
        The total, and the operators that it lacks: those without a rule, and those with one whose
        shapes are not known; sorted.
    """
    total = 0
    uncounted = set()
    for node in nodes:
        rule = MAC_RULES.get(node.op_type) if is_standard(node) else None
        if rule is not None:
            try:
                total += rule(node, shapes)
            except KeyError:  # a shape that could not be inferred
                uncounted.add(node.op_type)
        elif not is_standard(node):
            uncounted.add(f"{node.domain}.{node.op_type}")
        elif node.op_type not in NO_MACS:
            uncounted.add(node.op_type)
    return total, tuple(sorted(uncounted))


def is_standard(node: NodeProto) -> bool:
    """Whether the operator is ONNX's own, so that its name says what it does."""
    return node.domain in ("", "ai.onnx")
