"""Replace onnxruntime's own (contrib) operators by equivalent ONNX operators, for counting.

ONNX infers no shapes for operators of the domain `com.microsoft`: without a replacement, all
layers after the first of them would be uncounted.
"""

from collections.abc import Callable
from itertools import chain

from onnx import NodeProto, helper

from kdtool.edge.count.macs import attributes

DOMAIN = "com.microsoft"

# Operator -> the one with the same shapes and products, and its inputs.
# For shapes and counts only: scales, zero points and activations are left out.
# Source: docs/ContribOperators.md of onnxruntime 1.31.
SAME: dict[str, tuple[str, tuple[int, ...]]] = {
    "BiasAdd": ("Add", (0, 1)),
    "BiasGelu": ("Add", (0, 1)),
    "DequantizeLinear": ("DequantizeLinear", (0, 1, 2)),
    "FastGelu": ("Add", (0, 1)),
    "FusedConv": ("Conv", (0, 1, 2)),
    "FusedGemm": ("Gemm", (0, 1, 2)),
    "Gelu": ("Identity", (0,)),
    "QGemm": ("Gemm", (0, 3, 6)),
    "QLinearAveragePool": ("AveragePool", (0,)),
    "QLinearGlobalAveragePool": ("GlobalAveragePool", (0,)),
    "QLinearLeakyRelu": ("Identity", (0,)),
    "QLinearSigmoid": ("Identity", (0,)),
    "QLinearSoftmax": ("Identity", (0,)),
    "QuantizeLinear": ("QuantizeLinear", (0, 1, 2)),
    "QuickGelu": ("Identity", (0,)),
}


def without_fused(nodes: list[NodeProto]) -> list[NodeProto]:
    """Return `nodes` with onnxruntime's operators replaced, where a replacement is known."""
    return list(chain.from_iterable(map(_stand_in, nodes)))


def _stand_in(node: NodeProto) -> list[NodeProto]:
    if node.domain != DOMAIN or attributes(node).get("channels_last"):
        return [node]
    if node.op_type in SAME:
        op_type, positions = SAME[node.op_type]
        inputs = [name for name in (_input(node, at) for at in positions) if name]
        if op_type == "Add" and len(inputs) == 1:  # the bias of a FastGelu is optional
            op_type = "Identity"
        same = helper.make_node(op_type, inputs, node.output)
        same.attribute.extend(node.attribute)
        return [same]
    make = BUILDERS.get(node.op_type)
    return [node] if make is None else make(node) or [node]


def _fused_matmul(node: NodeProto) -> list[NodeProto]:
    given = attributes(node)
    if given.get("transBatchA") or given.get("transBatchB"):
        return []
    nodes, factors = [], list(node.input[:2])
    for position, key in enumerate(("transA", "transB")):
        if given.get(key):  # a Transpose needs the number of dimensions
            turned = f"{node.output[0]}/{key}"
            swap = {"equation": "...ij->...ji"}
            nodes.append(helper.make_node("Einsum", [factors[position]], [turned], **swap))
            factors[position] = turned
    return [*nodes, helper.make_node("MatMul", factors, node.output)]


def _matmul_and_bias(bias_at: int) -> Callable[[NodeProto], list[NodeProto]]:
    def make(node: NodeProto) -> list[NodeProto]:
        bias = _input(node, bias_at)
        product = f"{node.output[0]}/product" if bias else node.output[0]
        nodes = [helper.make_node("MatMul", node.input[:2], [product])]
        return nodes + ([helper.make_node("Add", [product, bias], node.output)] if bias else [])

    return make


def _qlinear(op_type: str) -> Callable[[NodeProto], list[NodeProto]]:
    """Use floating point, so that a stored operand counts as a bias or scale."""

    def make(node: NodeProto) -> list[NodeProto]:
        left, right, result = (f"{node.output[0]}/{part}" for part in ("a", "b", "c"))
        return [
            helper.make_node("DequantizeLinear", node.input[0:3], [left]),
            helper.make_node("DequantizeLinear", node.input[3:6], [right]),
            helper.make_node(op_type, [left, right], [result]),
            helper.make_node("QuantizeLinear", [result, *node.input[6:8]], node.output),
        ]

    return make


def _qlinear_concat(node: NodeProto) -> list[NodeProto]:
    """Its inputs: scale and zero point of the result, then tensor, scale, zero point of each."""
    output, groups = node.output[0], range(2, len(node.input), 3)
    parts = [f"{output}/{at}" for at in groups]
    return [
        *(
            helper.make_node("DequantizeLinear", node.input[at : at + 3], [part])
            for at, part in zip(groups, parts, strict=True)
        ),
        helper.make_node("Concat", parts, [f"{output}/all"], **attributes(node)),
        helper.make_node("QuantizeLinear", [f"{output}/all", *node.input[:2]], node.output),
    ]


def _skip_norm(node: NodeProto) -> list[NodeProto]:
    skip = f"{node.output[0]}/skip"
    return [
        helper.make_node("Add", node.input[:2], [skip]),
        helper.make_node("LayerNormalization", [skip, *node.input[2:4]], node.output[:1]),
    ]


def _multi_head_attention(node: NodeProto) -> list[NodeProto]:
    """The heads divide the last dimension, so the products over all heads are the same."""
    packed = not (_input(node, 1) and _input(node, 2))
    return [] if packed or _input(node, 6) else _products(node.input[:3], node.output[0])


def _attention(past_at: int) -> Callable[[NodeProto], list[NodeProto]]:
    def make(node: NodeProto) -> list[NodeProto]:
        if _input(node, past_at) or attributes(node).get("qkv_hidden_sizes"):
            return []
        output = node.output[0]
        joint, parts = f"{output}/joint", [f"{output}/{part}" for part in "qkv"]
        return [
            helper.make_node("MatMul", node.input[:2], [f"{output}/projection"]),
            helper.make_node("Add", [f"{output}/projection", node.input[2]], [joint]),
            helper.make_node("Split", [joint], parts, axis=-1, num_outputs=3),
            *_products(parts, output),
        ]

    return make


def _products(parts: list[str], output: str) -> list[NodeProto]:
    query, key, value = parts  # each (batch, positions, width)
    scores = f"{output}/scores"
    return [
        helper.make_node("Einsum", [query, key], [scores], equation="bsd,btd->bst"),
        helper.make_node("Einsum", [scores, value], [output], equation="bst,btd->bsd"),
    ]


# Operators that need more than one ONNX operator; an empty result means: not replaced.
BUILDERS: dict[str, Callable[[NodeProto], list[NodeProto]]] = {
    "Attention": _attention(past_at=4),
    "DynamicQuantizeMatMul": _matmul_and_bias(bias_at=4),
    "FusedMatMul": _fused_matmul,
    "MatMulIntegerToFloat": _matmul_and_bias(bias_at=6),
    "MultiHeadAttention": _multi_head_attention,
    "QLinearAdd": _qlinear("Add"),
    "QLinearConcat": _qlinear_concat,
    "QLinearMul": _qlinear("Mul"),
    "QAttention": _attention(past_at=8),
    "SkipLayerNormalization": _skip_norm,
}


def _input(node: NodeProto, position: int) -> str:
    """Return the name of an input, "" if it is omitted."""
    return node.input[position] if position < len(node.input) else ""
