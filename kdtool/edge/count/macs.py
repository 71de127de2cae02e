"""The multiply-accumulates (MACs) of each ONNX operator."""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from onnx import NodeProto, helper

from kdtool.edge.count.branches import bodies


def einsum_macs(equation: str, operands: Sequence[tuple[int, ...]]) -> int:
    """Count an Einsum of any number of operands.

    Two operands take one multiply-accumulate for every combination of their indices; one operand
    has nothing to be multiplied with. More are contracted from left to right, as onnxruntime does
    it: what neither the result nor a later operand has is summed as soon as possible.

    Args:
        equation: As ONNX writes it: letters, `...` for leading dimensions, with `->` or without.
        operands: Shape of each; sizes of 1 are broadcast.

    Source: https://onnx.ai/onnx/operators/onnx__Einsum.html
    """
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = [_sizes(term, shape) for term, shape in zip(left.split(","), operands, strict=True)]
    dots = {name for term in terms for name in term if len(name) > 1}
    if arrow:
        result = set(right) | (dots if "..." in right else set())
    else:  # the letters that occur once
        result = {letter for letter in left if left.count(letter) == 1} | dots
    total = 0
    joint = terms[0]
    for position, other in enumerate(terms[1:], start=2):
        sizes = {name: joint.get(name, 1) for name in joint | other}
        sizes = {name: other.get(name, 1) if size == 1 else size for name, size in sizes.items()}
        total += prod(sizes.values())
        needed = result.union(*terms[position:])
        joint = {name: size for name, size in sizes.items() if name in needed}
    return total


def _sizes(term: str, shape: tuple[int, ...]) -> dict[str, int]:
    """Return a name for every dimension of an operand; an ellipsis is numbered from its end."""
    before, dots, after = term.partition("...")
    num_dots = len(shape) - len(before) - len(after) if dots else 0
    names = [*before, *(f"...{-number}" for number in range(-num_dots, 0)), *after]
    return dict(zip(names, shape, strict=True))


Shapes = dict[str, tuple[int, ...]]  # of the tensors with only known dimensions
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
    inner = 0 if attributes(node).get("transA") else 1
    return prod(shapes[node.output[0]]) * left[inner]


def matmul_macs(node: NodeProto, shapes: Shapes) -> int:
    """Every output element is a dot product over the left operand's last dimension."""
    return prod(shapes[node.output[0]]) * shapes[node.input[0]][-1]


def einsum_node_macs(node: NodeProto, shapes: Shapes) -> int:
    """See `einsum_macs`."""
    equation: str = attributes(node)["equation"].decode()
    return einsum_macs(equation, [shapes[name] for name in node.input])


def attention_macs(node: NodeProto, shapes: Shapes) -> int:
    """Every query is multiplied with every key and value, including masked ones."""
    query, key, value = (shapes[name] for name in node.input[:3])
    if len(query) == 3:  # (B, positions, heads * width)
        given = attributes(node)
        num_heads = int(given["q_num_heads"])
        width, value_width = query[2] // num_heads, value[2] // int(given["kv_num_heads"])
    else:  # (B, heads, positions, width)
        num_heads, width, value_width = query[1], query[3], value[3]
    num_past = 0
    if len(node.input) > 4 and node.input[4]:
        num_past = shapes[node.input[4]][2]  # (B, heads, past positions, width)
    num_keys = num_past + key[-2]
    return query[0] * num_heads * query[-2] * num_keys * (width + value_width)


def recurrent_macs(node: NodeProto, shapes: Shapes) -> int:
    """Every step of every sequence uses the weights of its input and of its state once."""
    steps = prod(shapes[node.input[0]][:2])  # length times batch, in the order of `layout`
    return steps * (prod(shapes[node.input[1]]) + prod(shapes[node.input[2]]))


def attributes(node: NodeProto) -> dict[str, Any]:
    """Return the attributes of `node`; defaults are not included."""
    return {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}


MAC_RULES: dict[str, MacRule] = {
    "Attention": attention_macs,
    "Conv": conv_macs,
    "ConvInteger": conv_macs,
    "ConvTranspose": conv_transpose_macs,
    "DeformConv": conv_macs,  # interpolation does not count, as in a Resize
    "Einsum": einsum_node_macs,
    "GRU": recurrent_macs,
    "Gemm": gemm_macs,
    "LSTM": recurrent_macs,
    "MatMul": matmul_macs,
    "MatMulInteger": matmul_macs,
    "QLinearConv": qlinear_conv_macs,
    "QLinearMatMul": matmul_macs,
    "RNN": recurrent_macs,
}

# By the convention of papers and torchvision, bias, normalization, activation, pooling, resizing
# and all other elementwise operators count 0. Operators that are missing here are listed as
# uncounted: those with products inside (DFT, LinearAttention, ...), those with products in their
# subgraphs (If, Loop, Scan), and operators of other domains that `contrib_ops` does not replace.
_ELEMENTWISE = """
Abs Acos Acosh Add AffineGrid And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization
Bernoulli BitCast BitShift BitwiseAnd BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu
CenterCropPad Clip Col2Im Compress Concat Constant ConstantOfShape Cos Cosh CumProd CumSum
DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Elu Equal Erf Exp Expand EyeLike
Flatten Floor Gather GatherElements GatherND Gelu GlobalAveragePool GlobalLpPool GlobalMaxPool
Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax Identity
InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax
LpNormalization LpPool Max MaxPool MaxRoiPool MaxUnpool Mean MeanVarianceNormalization Min Mish Mod
Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear RMSNormalization
RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare
Relu Reshape Resize ReverseSequence RoiAlign RotaryEmbedding Round Scatter ScatterElements ScatterND
Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt
Squeeze Sub Sum SwiGLU Swish Tan Tanh TensorScatter ThresholdedRelu Tile TopK Transpose Trilu Unique
Unsqueeze Upsample Where Xor
"""
NO_MACS = frozenset(_ELEMENTWISE.split())


def count_macs(nodes: list[NodeProto], shapes: Shapes) -> tuple[int, set[str]]:
    """Sum the multiply-accumulates of `nodes`.

    Returns:
        The total, and the uncounted operators: those without a rule, and those with unknown
        shapes.
    """
    total = 0
    uncounted: set[str] = set()
    for node in nodes:
        rule = MAC_RULES.get(node.op_type)
        if not is_known(node):
            if not _is_plain_control(node):
                uncounted.add(name_of(node))
        elif rule is not None:
            try:
                total += rule(node, shapes)
            except (ArithmeticError, LookupError, ValueError):  # unknown shapes, broken rules
                uncounted.add(node.op_type)
    return total, uncounted


def is_known(node: NodeProto) -> bool:
    """Return whether there is a rule for the operator, or it counts 0."""
    return is_standard(node) and (node.op_type in NO_MACS or node.op_type in MAC_RULES)


def name_of(node: NodeProto) -> str:
    """Return the operator with its domain, if it is not ONNX's own."""
    return node.op_type if is_standard(node) else f"{node.domain}.{node.op_type}"


def _is_plain_control(node: NodeProto) -> bool:
    """Return whether an If, Loop or Scan has nothing inside that counts."""
    inner = [inside for body in bodies(node) for inside in body.node]
    return node.op_type in ("If", "Loop", "Scan") and all(
        (is_known(one) and one.op_type not in MAC_RULES) or _is_plain_control(one) for one in inner
    )


def is_standard(node: NodeProto) -> bool:
    """Return whether the operator belongs to ONNX's own domain."""
    return node.domain in ("", "ai.onnx")
