from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, parser

from kdtool.edge.count.graph import count_graph
from kdtool.errors import ModelFileError

FLOAT, INT64, INT8, UINT8 = (
    TensorProto.FLOAT,
    TensorProto.INT64,
    TensorProto.INT8,
    TensorProto.UINT8,
)
LIGHT = Path(onnx.__file__).parent / "backend/test/data/light"
node = helper.make_node


def zeros(*shape):
    return np.zeros(shape, np.float32)


# MACs, parameters with BatchNorm statistics, the statistics alone; a second counter agreed.
# resnet50, vgg19, densenet121 and squeezenet are also what torchvision publishes.
@pytest.mark.parametrize(
    ("name", "num_macs", "num_numbers", "num_bn_statistics"),
    [
        ("bvlc_alexnet", 654_560_384, 60_965_224, 0),
        ("densenet121", 2_834_161_664, 8_062_504, 83_648),
        ("inception_v1", 1_431_556_352, 6_998_552, 0),
        ("inception_v2", 2_018_851_840, 11_214_888, 19_904),
        ("resnet50", 4_089_184_256, 25_610_152, 53_120),
        ("shufflenet", 124_664_528, 1_420_152, 26_832),
        ("squeezenet", 349_151_936, 1_235_496, 0),
        ("vgg19", 19_632_062_464, 143_667_240, 0),
        ("zfnet512", 1_481_727_008, 87_250_536, 0),
    ],
)
def test_published_models_count_exactly(name, num_macs, num_numbers, num_bn_statistics):
    cost = count_graph(LIGHT / f"light_{name}.onnx")
    assert cost.num_macs == num_macs
    assert cost.num_params + cost.num_bn_statistics == num_numbers
    assert cost.num_bn_statistics == num_bn_statistics
    assert cost.uncounted_ops == ()


def test_pixel_scaling_in_the_graph_is_not_a_parameter(tiny_onnx):
    cost = count_graph(tiny_onnx)
    assert (cost.num_params, cost.num_macs, cost.uncounted_ops) == (132, 6928, ())


def test_macs_grow_with_the_batch_and_parameters_do_not(tiny_onnx):
    cost = count_graph(tiny_onnx, batch=5)
    assert (cost.num_params, cost.num_macs) == (132, 5 * 6928)


# Each: nodes, input dims, stored arrays, MACs, parameters.
LAYERS = {
    "conv with groups and stride": (
        [node("Conv", ["x", "w", "b"], ["y"], group=4, strides=[2, 2])],
        ["n", 8, 11, 9],
        {"w": zeros(12, 2, 3, 3), "b": zeros(12)},
        12 * (5 * 4) * (2 * 3 * 3),
        12 * 2 * 3 * 3 + 12,
    ),
    "conv transpose": (
        [node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2], group=2)],
        ["n", 6, 5, 5],
        {"w": zeros(6, 4, 3, 3)},
        (6 * 5 * 5) * (4 * 3 * 3),
        6 * 4 * 3 * 3,
    ),
    "gemm with transB": (
        [node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        ["n", 7],
        {"w": zeros(5, 7), "b": zeros(5)},
        7 * 5,
        7 * 5 + 5,
    ),
    "gemm with transA": (
        [node("Transpose", ["x"], ["xt"]), node("Gemm", ["xt", "w"], ["y"], transA=1)],
        ["n", 7],
        {"w": zeros(7, 5)},
        7 * 5,
        7 * 5,
    ),
    "batched matmul and its bias": (
        [node("MatMul", ["x", "w"], ["p"]), node("Add", ["b", "p"], ["y"])],
        ["n", 3, 4, 6],
        {"w": zeros(6, 5), "b": zeros(5)},
        3 * 4 * 5 * 6,
        6 * 5 + 5,
    ),
    "matmul of two computed operands": (
        [node("Transpose", ["x"], ["xt"], perm=[0, 2, 1]), node("MatMul", ["x", "xt"], ["y"])],
        ["n", 4, 6],
        {},
        4 * 4 * 6,
        0,
    ),
    "one tensor used twice": (
        [node("MatMul", ["x", "w"], ["p"]), node("MatMul", ["p", "w"], ["y"])],
        ["n", 6],
        {"w": zeros(6, 6)},
        2 * 36,
        36,
    ),
    "weight behind reshape, transpose and identity": (
        [
            node("Reshape", ["w", "to"], ["w1"]),
            node("Transpose", ["w1"], ["w2"]),
            node("Identity", ["w2"], ["w3"]),
            node("MatMul", ["x", "w3"], ["y"]),
        ],
        ["n", 6],
        {"w": zeros(30), "to": np.array([5, 6])},
        30,
        30,
    ),
    "weight in a constant": (
        [
            node("Constant", [], ["w"], value=helper.make_tensor("v", FLOAT, [6, 2], [0.0] * 12)),
            node("MatMul", ["x", "w"], ["y"]),
        ],
        ["n", 6],
        {},
        12,
        12,
    ),
    "weight filled by its shape": (
        [
            node("ConstantOfShape", ["s"], ["w"], value=helper.make_tensor("", FLOAT, [1], [0.5])),
            node("MatMul", ["x", "w"], ["y"]),
        ],
        ["n", 6],
        {"s": np.array([6, 3])},
        18,
        18,
    ),
    "batch norm": (
        [node("BatchNormalization", ["x", "g", "b", "m", "v"], ["y"])],
        ["n", 3, 2, 2],
        {"g": zeros(3), "b": zeros(3), "m": zeros(3), "v": zeros(3)},
        0,
        6,
    ),
    "prelu": ([node("PRelu", ["x", "s"], ["y"])], ["n", 3], {"s": zeros(3)}, 0, 3),
    "layer scale, but not a constant factor": (
        [
            node("MatMul", ["x", "w"], ["p"]),
            node("Mul", ["p", "gamma"], ["q"]),
            node("Mul", ["q", "half"], ["y"]),
        ],
        ["n", 6],
        {"w": zeros(6, 6), "gamma": zeros(6), "half": zeros(1)},
        36,
        36 + 6,
    ),
    "shape arithmetic": (
        [
            node("MatMul", ["x", "w"], ["p"]),
            node("Shape", ["p"], ["s"]),
            node("Add", ["s", "two"], ["s2"]),
            node("Expand", ["p", "s2"], ["y"]),
        ],
        ["n", 6],
        {"w": zeros(6, 6), "two": np.array([0, 0])},
        36,
        36,
    ),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_layer_counts_match_the_closed_form(make_onnx, layer):
    nodes, dims, stored, num_macs, num_params = LAYERS[layer]
    cost = count_graph(make_onnx(nodes, {"x": (FLOAT, dims)}, stored))
    assert (cost.num_macs, cost.num_params, cost.uncounted_ops) == (num_macs, num_params, ())


def quantized(name):
    return [name, f"{name}.scale", f"{name}.zero"]


QUANTIZATION = {
    f"{name}.{part}": value
    for name in ("x", "w", "y")
    for part, value in (("scale", np.float32(0.1)), ("zero", np.uint8(0)))
}
CONV_WEIGHT = np.zeros((4, 3, 3, 3), np.uint8)

# Each: nodes, input element type, dims, weight, MACs. Parameters are the elements of the weight.
QUANTIZED_LAYERS = {
    "QDQ": (
        [
            node("QuantizeLinear", ["x", "x.scale", "x.zero"], ["xq"]),
            node("DequantizeLinear", ["xq", "x.scale", "x.zero"], ["xf"]),
            node("DequantizeLinear", quantized("w"), ["wf"]),
            node("Conv", ["xf", "wf"], ["y"]),
        ],
        FLOAT,
        ["n", 3, 8, 8],
        CONV_WEIGHT,
        4 * 36 * 27,
    ),
    "QLinearConv": (
        [node("QLinearConv", [*quantized("x"), *quantized("w"), "y.scale", "y.zero"], ["y"])],
        UINT8,
        ["n", 3, 8, 8],
        CONV_WEIGHT,
        4 * 36 * 27,
    ),
    "ConvInteger": (
        [node("ConvInteger", ["x", "w"], ["y"])],
        UINT8,
        ["n", 3, 8, 8],
        CONV_WEIGHT,
        4 * 36 * 27,
    ),
    "QLinearMatMul": (
        [node("QLinearMatMul", [*quantized("x"), *quantized("w"), "y.scale", "y.zero"], ["y"])],
        UINT8,
        ["n", 7],
        np.zeros((7, 5), np.uint8),
        35,
    ),
    "MatMulInteger": (
        [node("MatMulInteger", ["x", "w"], ["y"])],
        UINT8,
        ["n", 7],
        np.zeros((7, 5), np.uint8),
        35,
    ),
}


@pytest.mark.parametrize("layer", QUANTIZED_LAYERS)
def test_quantized_layers_count_like_their_floating_twins(make_onnx, layer):
    nodes, elem_type, dims, weight, num_macs = QUANTIZED_LAYERS[layer]
    path = make_onnx(nodes, {"x": (elem_type, dims)}, {"w": weight, **QUANTIZATION})
    cost = count_graph(path)
    assert (cost.num_macs, cost.num_params, cost.uncounted_ops) == (num_macs, weight.size, ())


def test_scales_computed_at_run_time_are_not_parameters(make_onnx):
    nodes = [
        node("MatMul", ["x", "w0"], ["h"]),
        node("DynamicQuantizeLinear", ["h"], ["hq", "h.scale", "h.zero"]),
        node("MatMulInteger", ["hq", "w"], ["p"]),
        node("Mul", ["h.scale", "w.scale"], ["scale"]),
        node("Cast", ["p"], ["pf"], to=FLOAT),
        node("Mul", ["pf", "scale"], ["y"]),
    ]
    stored = {"w0": zeros(6, 6), "w": np.zeros((6, 5), np.int8), "w.scale": zeros(5)}
    assert count_graph(make_onnx(nodes, {"x": (FLOAT, ["n", 6])}, stored)).num_params == 36 + 30


def test_operators_without_a_rule_make_the_count_partial(make_onnx):
    nodes = [
        node("MatMul", ["x", "w"], ["p"]),
        node("Det", ["p"], ["d"]),
        node("Winograd", ["d"], ["y"], domain="acme"),
    ]
    cost = count_graph(make_onnx(nodes, {"x": (FLOAT, ["n", 6])}, {"w": zeros(6, 2)}))
    assert cost.uncounted_ops == ("Det", "acme.Winograd")
    assert cost.num_macs == 12


def test_a_layer_whose_shapes_are_unknown_is_uncounted(make_onnx):
    nodes = [
        node("Mystery", ["x"], ["m"], domain="acme"),
        node("MatMul", ["m", "w"], ["y"]),
    ]
    cost = count_graph(make_onnx(nodes, {"x": (FLOAT, ["n", 6])}, {"w": zeros(6, 2)}))
    assert cost.uncounted_ops == ("MatMul", "acme.Mystery")


def test_stale_stored_shapes_are_ignored(tiny_onnx):
    model = onnx.load(tiny_onnx)
    model.graph.value_info.append(helper.make_tensor_value_info("map", FLOAT, [1, 4, 2, 2]))
    onnx.save(model, tiny_onnx)
    assert count_graph(tiny_onnx).num_macs == 6928


def test_layers_inside_a_function_are_counted(tmp_path):
    model = parser.parse_model("""
        <ir_version: 10, opset_import: ["" : 18, "local" : 1]>
        graph (float[n, 6] x) => (float[n, 2] y) <float[6, 2] w = {0,0,0,0,0,0,0,0,0,0,0,0}>
        { y = local.Linear(x, w) }
        <opset_import: ["" : 18], domain: "local">
        Linear (a, b) => (c) { c = MatMul(a, b) }
    """)
    onnx.save(model, tmp_path / "function.onnx")
    cost = count_graph(tmp_path / "function.onnx")
    assert (cost.num_macs, cost.num_params, cost.uncounted_ops) == (12, 12, ())


def test_weights_in_another_file_are_counted_without_it(tmp_path, make_onnx):
    path = make_onnx(
        [node("MatMul", ["x", "w"], ["y"])], {"x": (FLOAT, ["n", 60])}, {"w": zeros(60, 90)}
    )
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="w.data", size_threshold=0
    )
    (tmp_path / "w.data").unlink()
    cost = count_graph(path)
    assert (cost.num_macs, cost.num_params) == (5400, 5400)


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        (["n", "height", 8, 3], "--shape height,8,3"),
        ([4, 8, 8, 3], "the batch size is fixed to 4, but 1 was requested"),
        (["n", 0, 8, 3], "every dimension must be at least 1"),
        (None, "has no shape"),
    ],
)
def test_inputs_without_a_fixed_size_are_refused(make_onnx, dims, message):
    path = make_onnx([node("Relu", ["x"], ["y"])], {"x": (FLOAT, dims)})
    with pytest.raises(ModelFileError, match=message) as error:
        count_graph(path)
    assert str(path) in str(error.value)
