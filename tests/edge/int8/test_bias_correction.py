"""Corrected biases, against the arithmetic of the integers in the file."""

import numpy as np
import pytest
from int8_networks import IMAGES, as_model, network, plain, run
from onnx import TensorProto, helper, numpy_helper

from kdtool.edge.int8.bias_correction import channel_means, correct_biases, layers_with_bias
from kdtool.edge.int8.quantize import prepared, to_int8
from kdtool.edge.int8.ranges import measure_activations, min_max


def quantized(model, kept=()):
    source = prepared(model, "portable")
    ranges = min_max(measure_activations(source, IMAGES))
    return source, to_int8(source, ranges, "portable", kept)


def bias_of(model, name):
    """Tensor of the bias integers of a layer, these, and their scale."""
    layer = next(node for node in model.graph.node if node.name == name)
    (back,) = [node for node in model.graph.node if node.output[0] == layer.input[2]]
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    return back.input[0], values[back.input[0]], values[back.input[1]]


def set_constant(model, name, array):
    (one,) = [tensor for tensor in model.graph.initializer if tensor.name == name]
    one.CopyFrom(numpy_helper.from_array(array, name))


def means(model, names, tmp_path):
    return [
        one.mean(axis=(0, *range(2, one.ndim)), dtype=float)
        for one in run(model, tmp_path, names=names)
    ]


def test_a_known_shift_of_a_layer_is_taken_back_exactly():
    source, int8 = quantized(network([("conv1", 5, False)]))
    expected = correct_biases(source, int8, IMAGES)
    name, integers, _ = bias_of(int8, "conv1")
    set_constant(int8, name, integers + np.array([37, -12, 0, 400, -5000], np.int32))
    given = correct_biases(source, int8, IMAGES)
    np.testing.assert_array_equal(bias_of(given, "conv1")[1], bias_of(expected, "conv1")[1])


def test_the_correction_is_the_mean_error_in_steps_of_the_bias():
    """By hand: integers of weights and pixels, without ONNX Runtime."""
    rng = np.random.default_rng(3)
    weights, bias = rng.normal(0, 0.2, (108, 4)), rng.normal(0, 0.2, 4)
    node = helper.make_node
    nodes = [
        node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        node("Div", ["floats", "full"], ["scaled"]),
        node("Flatten", ["scaled"], ["flat"]),
        node("Gemm", ["flat", "w", "b"], ["logits"], "layer"),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    source, int8 = quantized(as_model(nodes, {"full": 255, "w": weights, "b": bias}))
    values = {one.name: numpy_helper.to_array(one) for one in int8.graph.initializer}
    step = values["w_scale"].astype(float)
    pixels = IMAGES.reshape(len(IMAGES), -1) / 255  # of 8 bits already: rounding changes nothing
    _, before, scale = bias_of(int8, "layer")
    given = pixels.mean(axis=0) @ (values["w_quantized"].astype(float) * step) + before * scale
    wanted = pixels.mean(axis=0) @ weights + bias
    after = bias_of(correct_biases(source, int8, IMAGES), "layer")[1]
    assert np.abs(after - (before + (wanted - given) / scale)).max() <= 0.51
    assert np.abs(wanted - given).max() > 10 * scale.max()  # there was something to correct


LAYERS = ["conv1", "conv2", "conv3", "conv4", "conv5", "head"]


def outputs(model):
    by_name = {node.name: node.output[0] for node in model.graph.node}
    return [by_name[name] for name in LAYERS]


def test_afterwards_channel_means_are_those_of_fp32_in_every_layer(tmp_path):
    source, int8 = quantized(plain())
    assert [layer.name for layer in layers_with_bias(int8)] == LAYERS
    corrected = correct_biases(source, int8, IMAGES)
    expected = means(source, outputs(source), tmp_path)
    for model, is_close in ((int8, False), (corrected, True)):
        for name, wanted, found in zip(
            LAYERS, expected, means(model, outputs(model), tmp_path), strict=True
        ):
            half_a_step = bias_of(model, name)[2] / 2
            assert (np.abs(found - wanted) <= 1.01 * half_a_step + 1e-6).all() == is_close, name


def test_layers_are_corrected_one_after_the_other(tmp_path):
    """All at once, later layers would be corrected for errors that earlier ones no longer make."""
    source, int8 = quantized(plain())
    expected = channel_means(source, outputs(source), IMAGES)
    at_once = type(int8).FromString(int8.SerializeToString())
    for name, wanted, found in zip(
        LAYERS, expected, channel_means(int8, outputs(int8), IMAGES), strict=True
    ):
        tensor, integers, scale = bias_of(int8, name)
        moved = np.rint(integers + (wanted - found) / scale).astype(np.int32)
        set_constant(at_once, tensor, moved)
    in_turn = correct_biases(source, int8, IMAGES)
    np.testing.assert_array_equal(bias_of(at_once, "conv1")[1], bias_of(in_turn, "conv1")[1])
    errors = [
        np.abs(means(model, outputs(model), tmp_path)[-1] - expected[-1]).max()
        for model in (at_once, in_turn)
    ]
    assert errors[0] > 3 * errors[1]


def test_a_layer_without_a_bias_gets_one(tmp_path):
    model = plain()
    for node in model.graph.node:
        if node.name in ("conv2", "conv4", "head"):
            del node.input[2]
    source, int8 = quantized(model)
    corrected = correct_biases(source, int8, IMAGES)
    wanted, found = (means(one, outputs(one), tmp_path) for one in (source, corrected))
    for name, a, b in zip(LAYERS, wanted, found, strict=True):
        assert (np.abs(a - b) <= 0.51 * bias_of(corrected, name)[2] + 1e-6).all(), name


def means_of_each(model):
    """As in the file: a layer with an output of its own would not be fused with what follows."""
    return [channel_means(model, [name], IMAGES)[0] for name in outputs(model)]


def test_layers_in_fp32_make_up_for_the_errors_before_them():
    source, int8 = quantized(plain(), ["conv3", "head"])
    corrected = correct_biases(source, int8, IMAGES)
    values = {one.name: numpy_helper.to_array(one) for one in corrected.graph.initializer}
    assert values["conv3_w"].dtype == np.float32
    assert "conv3_b" not in values
    wanted, before, after = map(means_of_each, (source, int8, corrected))
    for name in ("conv3", "head"):
        at = LAYERS.index(name)
        assert np.abs(before[at] - wanted[at]).max() > 100 * np.abs(after[at] - wanted[at]).max()


def test_the_given_file_stays_as_it_is():
    source, int8 = quantized(plain(), ["conv3"])
    before = int8.SerializeToString()
    corrected = correct_biases(source, int8, IMAGES)
    assert int8.SerializeToString() == before
    assert correct_biases(source, int8, IMAGES) == corrected  # the same bytes twice


def test_a_bias_that_two_layers_in_fp32_share_is_corrected_for_each():
    model = plain()
    for node in model.graph.node:
        if node.name == "conv5":
            node.input[2] = "conv3_b"
    source, int8 = quantized(model, ["conv3", "conv5"])
    corrected = correct_biases(source, int8, IMAGES)
    wanted, after = map(means_of_each, (source, corrected))
    for name in ("conv3", "conv5"):
        at = LAYERS.index(name)
        np.testing.assert_allclose(after[at], wanted[at], atol=1e-5)


@pytest.mark.parametrize("far", [1e12, -1e12])
def test_a_bias_that_32_bits_do_not_hold_stops_at_their_end(far):
    source, int8 = quantized(network([("conv1", 2, False)]))
    scale = bias_of(int8, "conv1")[2]
    set_constant(source, "conv1_b", np.full(2, far * scale.max(), np.float32))
    integers = bias_of(correct_biases(source, int8, IMAGES), "conv1")[1]
    assert integers.tolist() == [np.iinfo(np.int32).max if far > 0 else np.iinfo(np.int32).min] * 2
