"""Operators that hide several products, and onnxruntime's own, against the plain form of each."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

from kdtool.edge.count.graph import count_graph
from kdtool.edge.count.infer import infer_shapes
from kdtool.edge.session import open_session

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8
node = helper.make_node
ORT = {"domain": "com.microsoft"}


def zeros(*shape):
    return np.zeros(shape, np.float32)


def attention(*extra, **heads):
    return [node("Attention", ["q", "k", "v", *extra], ["y"], **heads)]


# Each: nodes, dims of the inputs, stored arrays, MACs, parameters.
LAYERS = {
    "einsum": (
        [node("Einsum", ["q", "w"], ["y"], equation="bsd,dhk->bhsk")],
        {"q": ["n", 5, 6]},
        {"w": zeros(6, 2, 3)},
        5 * 6 * 2 * 3,
        36,
    ),
    "attention, 4D": (
        attention(),
        {"q": ["n", 2, 5, 8], "k": ["n", 2, 7, 8], "v": ["n", 2, 7, 3]},
        {},
        2 * 5 * 7 * (8 + 3),
        0,
    ),
    "attention, grouped heads and a past": (
        attention("", "pk", "pv"),
        {
            "q": ["n", 6, 5, 8], "k": ["n", 2, 7, 8], "v": ["n", 2, 7, 3],
            "pk": ["n", 2, 4, 8], "pv": ["n", 2, 4, 3],
        },
        {},
        6 * 5 * (7 + 4) * (8 + 3),
        0,
    ),
    "attention, 3D": (
        attention(q_num_heads=6, kv_num_heads=2),
        {"q": ["n", 5, 48], "k": ["n", 7, 16], "v": ["n", 7, 6]},
        {},
        6 * 5 * 7 * (8 + 3),
        0,
    ),
    "gru": (
        [node("GRU", ["q", "w", "r"], ["y"], hidden_size=3)],
        {"q": ["n", 2, 4]},
        {"w": zeros(1, 9, 4), "r": zeros(1, 9, 3)},
        2 * 9 * (4 + 3),
        9 * (4 + 3),
    ),
    "deformable convolution": (
        [node("DeformConv", ["q", "w", "o", "b"], ["y"])],
        {"q": ["n", 2, 6, 6], "o": ["n", 18, 4, 4]},
        {"w": zeros(5, 2, 3, 3), "b": zeros(5)},
        5 * 16 * 18,
        5 * 18 + 5,
    ),
}  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS)
def test_products_match_the_closed_form(make_onnx, layer):
    nodes, dims, stored, num_macs, num_params = LAYERS[layer]
    inputs = {name: (FLOAT, shape) for name, shape in dims.items()}
    cost = count_graph(make_onnx(nodes, inputs, stored, opset=23))
    assert (cost.num_macs, cost.num_params, cost.uncounted_ops) == (num_macs, num_params, ())


def test_every_step_of_an_lstm_counts(make_onnx):
    lstm = node("LSTM", ["x", "w", "r", "b"], ["y"], hidden_size=3, direction="bidirectional")
    stored = {"w": zeros(2, 12, 4), "r": zeros(2, 12, 3), "b": zeros(2, 24)}
    cost = count_graph(make_onnx([lstm], {"x": (FLOAT, [7, 5, 4])}, stored), batch=7)
    assert cost.num_macs == 7 * 5 * 2 * 12 * (4 + 3)
    assert cost.num_params == 2 * 12 * (4 + 3 + 2)


SCALE, ZERO = np.float32(0.1), np.uint8(3)
QUANTIZED = {"s": SCALE, "z": ZERO}

# Each: nodes, element type and dims of the inputs, stored arrays, MACs, parameters.
FUSED = {
    "FusedConv": (
        [node("FusedConv", ["x", "w", "b"], ["y"], activation="Relu", strides=[2, 2], **ORT)],
        {"x": (FLOAT, ["n", 3, 9, 9])},
        {"w": zeros(4, 3, 3, 3), "b": zeros(4)},
        4 * 16 * 27,
        4 * 27 + 4,
    ),
    "FusedGemm": (
        [node("FusedGemm", ["x", "w", "b"], ["y"], activation="Relu", transB=1, **ORT)],
        {"x": (FLOAT, ["n", 7])},
        {"w": zeros(5, 7), "b": zeros(5)},
        35,
        40,
    ),
    "FusedMatMul": (
        [node("FusedMatMul", ["x", "w"], ["y"], transA=1, transB=1, alpha=0.5, **ORT)],
        {"x": (FLOAT, ["n", 7, 3])},
        {"w": zeros(5, 7)},
        3 * 7 * 5,
        35,
    ),
    "QLinearAdd": (
        [
            node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
            node("QLinearMatMul", ["xq", "s", "z", "w", "s", "z", "s", "z"], ["p"]),
            node("QLinearAdd", ["p", "s", "z", "b", "s", "z", "s", "z"], ["q"], **ORT),
            node("QLinearMul", ["q", "s", "z", "q", "s", "z", "s", "z"], ["r"], **ORT),
            node("DequantizeLinear", ["r", "s", "z"], ["f"]),
            node("MatMul", ["f", "w2"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 7])},
        {"w": np.zeros((7, 5), np.uint8), "b": np.zeros(5, np.uint8), "w2": zeros(5, 2),
         **QUANTIZED},
        35 + 10,
        35 + 5 + 10,
    ),
    "QLinearConcat": (
        [
            node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
            node("QLinearMatMul", ["xq", "s", "z", "w", "s", "z", "s", "z"], ["p"]),
            node("QLinearConcat", ["s", "z", "p", "s", "z", "xq", "s", "z"], ["q"], axis=1, **ORT),
            node("DequantizeLinear", ["q", "s", "z"], ["f"]),
            node("MatMul", ["f", "w2"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 7])},
        {"w": np.ones((7, 5), np.uint8), "w2": zeros(12, 2), **QUANTIZED},
        35 + 24,
        35 + 24,
    ),
    "QLinearGlobalAveragePool": (
        [
            node("QLinearGlobalAveragePool", ["x", "s", "z", "s", "z"], ["p"], **ORT),
            node("QLinearSigmoid", ["p", "s", "z", "s", "z"], ["q"], **ORT),
            node("Flatten", ["q"], ["f"]),
            node("MatMulInteger", ["f", "w"], ["i"]),
            node("Cast", ["i"], ["y"], to=FLOAT),
        ],
        {"x": (UINT8, ["n", 6, 4, 4])},
        {"w": np.zeros((6, 5), np.uint8), **QUANTIZED},
        30,
        30,
    ),
    "QGemm": (
        [
            node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
            node("QGemm", ["xq", "s", "z", "w", "s", "z", "c"], ["y"], transB=1, **ORT),
        ],
        {"x": (FLOAT, ["n", 7])},
        {"w": np.zeros((5, 7), np.uint8), "c": np.zeros(5, np.int32), **QUANTIZED},
        35,
        40,
    ),
    "DynamicQuantizeMatMul": (
        [node("DynamicQuantizeMatMul", ["x", "w", "s", "z", "b"], ["y"], **ORT)],
        {"x": (FLOAT, ["n", 3, 7])},
        {"w": np.zeros((7, 5), np.uint8), "b": zeros(5), **QUANTIZED},
        3 * 35,
        40,
    ),
    "MatMulIntegerToFloat": (
        [
            node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
            node("MatMulIntegerToFloat", ["xq", "w", "s", "s", "z", "z"], ["y"], **ORT),
        ],
        {"x": (FLOAT, ["n", 3, 7])},
        {"w": np.zeros((7, 5), np.uint8), **QUANTIZED},
        3 * 35,
        35,
    ),
    "MultiHeadAttention": (
        [node("MultiHeadAttention", ["x", "k", "k"], ["y"], num_heads=2, **ORT)],
        {"x": (FLOAT, ["n", 5, 8]), "k": (FLOAT, ["n", 7, 8])},
        {},
        2 * 5 * 7 * (4 + 4),
        0,
    ),
    "Attention": (
        [node("Attention", ["x", "w", "b"], ["y"], num_heads=2, **ORT)],
        {"x": (FLOAT, ["n", 5, 6])},
        {"w": zeros(6, 24), "b": zeros(24)},
        5 * 6 * 24 + 2 * 5 * 5 * (4 + 4),
        6 * 24 + 24,
    ),
    "QAttention": (
        [
            node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
            node("QAttention", ["xq", "w", "b", "s", "s", "", "z", "z"], ["y"],
                 num_heads=2, **ORT),
        ],
        {"x": (FLOAT, ["n", 5, 6])},
        {"w": np.zeros((6, 24), np.uint8), "b": zeros(24), **QUANTIZED},
        5 * 6 * 24 + 2 * 5 * 5 * (4 + 4),
        6 * 24 + 24,
    ),
    "SkipLayerNormalization and BiasGelu": (
        [
            node("MatMul", ["x", "w"], ["p"]),
            node("SkipLayerNormalization", ["p", "x", "g", "b"], ["q"], **ORT),
            node("BiasGelu", ["q", "b2"], ["y"], **ORT),
        ],
        {"x": (FLOAT, ["n", 5, 6])},
        {"w": zeros(6, 6), "g": zeros(6), "b": zeros(6), "b2": zeros(6)},
        5 * 36,
        36 + 18,
    ),
}  # fmt: skip


@pytest.mark.parametrize("layer", FUSED)
def test_operators_of_onnxruntime_count_like_their_plain_forms(make_onnx, layer):
    nodes, inputs, stored, num_macs, num_params = FUSED[layer]
    path = make_onnx(nodes, inputs, stored)
    cost = count_graph(path, batch=3)
    assert (cost.num_macs, cost.num_params, cost.uncounted_ops) == (3 * num_macs, num_params, ())


@pytest.mark.parametrize("layer", FUSED)
def test_shapes_behind_operators_of_onnxruntime_are_those_that_it_computes(make_onnx, layer):
    nodes, inputs, stored, *_ = FUSED[layer]
    path = make_onnx(nodes, inputs, stored)
    shapes = infer_shapes(onnx.load(path), batch=3).shapes
    dtype = {FLOAT: np.float32, UINT8: np.uint8}
    feed = {name: np.ones(shapes[name], dtype[kind]) for name, (kind, _) in inputs.items()}
    (result,) = open_session(path).run(None, feed)
    assert shapes["y"] == result.shape


@pytest.mark.parametrize(
    "nodes",
    [
        [node("MultiHeadAttention", ["x"], ["y"], num_heads=2, **ORT)],  # packed
        [node("Attention", ["x", "w", "b"], ["y"], num_heads=1, qkv_hidden_sizes=[2, 2, 4], **ORT)],
        [node("FusedMatMul", ["x", "x"], ["y"], transBatchA=1, **ORT)],
        [node("Inverse", ["x"], ["y"], **ORT)],
    ],
)
def test_forms_without_a_replacement_stay_uncounted(make_onnx, nodes):
    path = make_onnx(nodes, {"x": (FLOAT, ["n", 5, 6])}, {"w": zeros(6, 8), "b": zeros(8)})
    assert count_graph(path).uncounted_ops == (f"com.microsoft.{nodes[0].op_type}",)


@pytest.mark.parametrize(
    "broken",
    [
        node("Conv", ["x"], ["y"]),
        node("Einsum", ["x"], ["y"], equation="ij,jk->ik"),
        node("Einsum", ["x", "x"], ["y"]),
        node("Attention", ["x", "x", "x"], ["y"]),
        node("Attention", ["x", "x", "x"], ["y"], q_num_heads=0, kv_num_heads=0),
    ],
)
def test_operators_that_break_their_own_rules_are_uncounted(make_onnx, broken):
    path = make_onnx([broken], {"x": (FLOAT, ["n", 5, 6])}, opset=23)
    assert count_graph(path).uncounted_ops == (broken.op_type,)


def residual(make_onnx):
    """A small network of the kind that is quantized: 3 x 3 convolutions around a shortcut."""
    generator = np.random.default_rng(0)
    stored = {
        "w1": generator.normal(size=(8, 3, 3, 3)).astype(np.float32),
        "w2": generator.normal(size=(8, 8, 3, 3)).astype(np.float32),
        "w3": generator.normal(size=(8, 4)).astype(np.float32),
        "b3": generator.normal(size=4).astype(np.float32),
    }
    nodes = [
        node("Conv", ["x", "w1"], ["a"], pads=[1, 1, 1, 1]),
        node("Relu", ["a"], ["a2"]),
        node("Conv", ["a2", "w2"], ["b"], pads=[1, 1, 1, 1]),
        node("Add", ["a2", "b"], ["c"]),
        node("Relu", ["c"], ["c2"]),
        node("GlobalAveragePool", ["c2"], ["d"]),
        node("Flatten", ["d"], ["e"]),
        node("Gemm", ["e", "w3", "b3"], ["y"]),
    ]
    return make_onnx(nodes, {"x": (FLOAT, ["n", 3, 6, 6])}, stored, name="residual.onnx")


RESIDUAL_MACS = 36 * 8 * (27 + 72) + 8 * 4


def test_what_onnxruntime_fused_counts_as_before(make_onnx, tmp_path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(tmp_path / "fused.onnx")
    path = residual(make_onnx)
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    fused = onnx.load(tmp_path / "fused.onnx")
    assert "FusedConv" in {entry.op_type for entry in fused.graph.node}
    cost = count_graph(tmp_path / "fused.onnx")
    assert (cost.num_macs, cost.uncounted_ops) == (RESIDUAL_MACS, ())
    assert cost == count_graph(path)


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_what_onnxruntime_quantized_counts_as_before(make_onnx, tmp_path, form):
    class Calibration(CalibrationDataReader):
        images = iter([{"x": np.ones((1, 3, 6, 6), np.float32)}])

        def get_next(self):
            return next(self.images, None)

    quantize_static(residual(make_onnx), tmp_path / "q.onnx", Calibration(), quant_format=form)
    cost = count_graph(tmp_path / "q.onnx")
    assert (cost.num_macs, cost.uncounted_ops) == (RESIDUAL_MACS, ())
    assert cost.num_params == 8 * 27 + 8 * 72 + 32 + 4
