"""Rewritten graphs compute what they did: compared in ONNX Runtime."""

import copy

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from quantized import int8_of

from kdtool.edge.rewrite import (
    fold_constants,
    fold_sixths,
    pool_globally,
    split_hard_activations,
    stem_nodes,
)
from kdtool.edge.session import open_session

RNG = np.random.default_rng(1)
IMAGES = RNG.integers(0, 256, (32, 8, 8, 3), np.uint8)
WEIGHTS = {
    "stem": RNG.normal(0, 0.3, (6, 3, 3, 3)),
    "squeeze": RNG.normal(0, 0.5, (6, 6, 1, 1)),
    "mix": RNG.normal(0, 0.4, (5, 6, 3, 3)),
    "head": RNG.normal(0, 0.5, (5, 4)),
}


def network(activation="HardSwish", *, keepdims=1, axes=(2, 3), alpha=1 / 6):
    """uint8 (N, 8, 8, 3) -> Conv, activation, squeeze-excite, Conv, HardSwish, mean, MatMul."""
    node = helper.make_node
    nodes = [
        node("Transpose", ["image"], ["first"], "turn", perm=[0, 3, 1, 2]),
        node("Cast", ["first"], ["floats"], "cast", to=TensorProto.FLOAT),
        node("Div", ["floats", "full"], ["scaled"], "scale"),
        node("Conv", ["scaled", "stem"], ["a"], "conv1", pads=[1, 1, 1, 1]),
        node(activation, ["a"], ["b"], "act1"),
        node("ReduceMean", ["b", "axes"], ["c"], "squeeze_mean", keepdims=1),
        node("Conv", ["c", "squeeze"], ["d"], "conv2"),
        node("HardSigmoid", ["d"], ["e"], "gate", alpha=alpha),
        node("Mul", ["b", "e"], ["f"], "excite"),
        node("Conv", ["f", "mix"], ["g"], "conv3", pads=[1, 1, 1, 1]),
        node("HardSwish", ["g"], ["h"], "act2"),
        node("ReduceMean", ["h", "axes"], ["i"], "mean", keepdims=keepdims),
        node("Flatten", ["i"], ["j"], "flat"),
        node("MatMul", ["j", "head"], ["logits"], "head_layer"),
        node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
    ]
    constants = {name: array.astype(np.float32) for name, array in WEIGHTS.items()}
    constants |= {"full": np.array(255, np.float32), "axes": np.array(axes, np.int64)}
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 8, 8, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])
            for name in ("logits", "probabilities")
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def run(model, tmp_path):
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "model.onnx")
    return open_session(tmp_path / "model.onnx").run(None, {"image": IMAGES})[0]


def operators(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axes", [(2, 3), (-1, -2)])
def test_a_mean_over_height_and_width_is_a_global_pool(tmp_path, keepdims, axes):
    model = network(keepdims=keepdims, axes=axes)
    expected = run(model, tmp_path)
    pool_globally(model)
    assert operators(model).count("GlobalAveragePool") == 2
    assert "ReduceMean" not in operators(model)
    assert "axes" not in {one.name for one in model.graph.initializer}
    np.testing.assert_allclose(run(model, tmp_path), expected, rtol=1e-5, atol=1e-6)


def test_other_means_stay():
    node = helper.make_node("ReduceMean", ["x", "axes"], ["y"], "mean", keepdims=1)
    for axes, dims in (([1], [2, 3, 4, 4]), ([1, 2], [2, 3, 4]), ([2], [2, 3, 4, 4])):
        graph = helper.make_graph(
            [node],
            "one",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.array(axes, np.int64), "axes")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
        pool_globally(model)
        assert operators(model) == ["ReduceMean"]


def test_hard_activations_are_split_into_what_quantization_knows(tmp_path):
    model = network()
    expected = run(model, tmp_path)
    split_hard_activations(model)
    assert not {"HardSwish", "HardSigmoid"} & set(operators(model))
    np.testing.assert_allclose(run(model, tmp_path), expected, rtol=1e-5, atol=1e-6)


def test_a_hard_sigmoid_of_another_slope_stays(tmp_path):
    model = network(alpha=0.2)
    expected = run(model, tmp_path)
    split_hard_activations(model)
    assert operators(model).count("HardSigmoid") == 1
    np.testing.assert_allclose(run(model, tmp_path), expected, rtol=1e-5, atol=1e-6)


def test_divisions_move_into_the_scales_bit_for_bit(tmp_path, monkeypatch):
    model = network()
    pool_globally(model)
    folded = int8_of(model, IMAGES, "x86")
    monkeypatch.setattr("kdtool.edge.int8.quantize.fold_sixths", lambda _: None)
    unfolded = int8_of(model, IMAGES, "x86")
    assert operators(folded).count("Mul") < operators(unfolded).count("Mul")
    np.testing.assert_array_equal(run(folded, tmp_path), run(unfolded, tmp_path))
    twice = copy.deepcopy(folded)
    fold_sixths(twice)
    assert twice == folded


def test_eight_bits_answer_as_before(tmp_path):
    model = network()
    expected = run(model, tmp_path)
    for target in ("x86", "portable", "arm"):
        given = run(int8_of(model, IMAGES, target), tmp_path)
        assert np.abs(given - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(("activation", "kept"), [("HardSwish", True), ("Relu", False)])
def test_the_stem_stays_in_fp32_only_where_that_is_faster(activation, kept):
    model = network(activation)
    split_hard_activations(model)
    names = stem_nodes(model)
    assert bool(names) == kept
    stem = next(node for node in int8_of(model, IMAGES, "x86").graph.node if node.name == "conv1")
    assert (stem.input[1] == "stem") == kept
    if kept:
        assert names == ["conv1", "act1_add", "act1_clip", "act1_mul", "act1_sixth"]


def test_a_convolution_of_many_channels_is_no_stem():
    model = network()
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    first.input[1] = "wide"
    wide = np.zeros((6, 16, 3, 3), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(wide, "wide"))
    split_hard_activations(model)
    assert stem_nodes(model) == []


def computed_weights():
    """The network with a standardized weight and one that is reshaped where it is used."""
    model = network()
    node = helper.make_node
    first = next(i for i, one in enumerate(model.graph.node) if one.name == "conv1")
    model.graph.node[first].input[1] = "standard"
    squeeze = next(one for one in model.graph.node if one.name == "conv2")
    squeeze.input[1] = "shaped"
    added = [
        node("ReduceMean", ["stem", "all_axes"], ["stem_mean"], "mean_w"),
        node("Sub", ["stem", "stem_mean"], ["standard"], "centre_w"),
        node("Unsqueeze", ["flat_squeeze", "two"], ["shaped"], "shape_w"),
    ]
    for place, one in enumerate(added):
        model.graph.node.insert(place, one)
    flat = WEIGHTS["squeeze"].astype(np.float32).reshape(6, 6)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.array([1, 2, 3]), "all_axes"),
            numpy_helper.from_array(np.array([2, 3]), "two"),
            numpy_helper.from_array(flat, "flat_squeeze"),
        ]
    )
    return model


def test_computed_weights_become_stored_ones_with_the_same_bits(tmp_path):
    model = computed_weights()
    expected = run(model, tmp_path)
    fold_constants(model)
    assert not {"mean_w", "centre_w", "shape_w"} & {one.name for one in model.graph.node}
    stored = {one.name for one in model.graph.initializer}
    assert {"standard", "shaped"} <= stored
    assert not {"stem", "stem_mean", "flat_squeeze", "all_axes", "two"} & stored
    np.testing.assert_array_equal(run(model, tmp_path), expected)
    again = copy.deepcopy(model)
    fold_constants(again)
    assert again == model


def test_a_network_with_computed_weights_has_an_int8_file(tmp_path):
    model = computed_weights()
    int8 = int8_of(model, IMAGES, "portable")
    weights = {one.name for one in int8.graph.initializer if one.data_type == TensorProto.INT8}
    assert len(weights) >= 3
    logits, close = run(model, tmp_path), run(int8, tmp_path)
    assert np.abs(close - logits).mean() < 0.1 * np.abs(logits).mean()
