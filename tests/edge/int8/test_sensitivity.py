"""The noise of each layer, against rounding by hand."""

import numpy as np
import pytest
from int8_networks import IMAGES, as_model, loud_channel, plain
from onnx import TensorProto, helper, numpy_helper

from kdtool.edge.int8.quantize import only_in_int8, prepared
from kdtool.edge.int8.ranges import measure_activations, min_max
from kdtool.edge.int8.sensitivity import layer_noise


def noise_of(model, target="portable"):
    source = prepared(model, target)
    activations = measure_activations(source, IMAGES)
    return layer_noise(source, min_max(activations), target, activations, IMAGES)


def rounded(array, low, high, steps=255):
    """Round to 8 bits, with a scale from the range, as U8 with a zero point."""
    low, high = min(low, 0), max(high, 0)
    scale = (high - low) / steps
    zero = np.rint(-low / scale)
    return (np.clip(np.rint(array / scale) + zero, 0, steps) - zero) * scale


def test_the_ratio_is_that_of_rounding_by_hand():
    rng, node = np.random.default_rng(5), helper.make_node
    first, second = rng.normal(0, 0.2, (108, 9)), rng.normal(0, 0.5, (9, 4))
    nodes = [
        node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        node("Div", ["floats", "full"], ["scaled"]),
        node("Flatten", ["scaled"], ["flat"]),
        node("Gemm", ["flat", "first"], ["hidden"], "layer1"),
        node("Relu", ["hidden"], ["active"], "relu"),
        node("Gemm", ["active", "second"], ["logits"], "layer2"),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    found = noise_of(as_model(nodes, {"full": 255, "first": first, "second": second}))
    pixels = IMAGES.reshape(len(IMAGES), -1) / 255
    active = np.maximum(pixels @ first, 0)
    logits = active @ second

    def weights(array):  # 7 bits, one scale a column; 64 steps to either side
        scale = np.abs(array).max(axis=0) / 64
        return np.rint(array / scale) * scale

    hidden = pixels @ first
    rounded_hidden = pixels @ weights(first)
    expected = {
        "layer1": rounded(np.maximum(rounded_hidden, 0), 0, hidden.max()) @ second,
        "layer2": rounded(
            rounded(active, 0, active.max()) @ weights(second), logits.min(), logits.max()
        ),
    }
    chosen = np.linspace(0, len(IMAGES) - 1, 32).round().astype(int)

    def power(array):
        array = array[chosen]
        return ((array - array.mean(axis=1, keepdims=True)) ** 2).sum()

    assert {one.name for one in found} == set(expected)
    for one in found:
        ratio = 10 * np.log10(power(logits) / power(expected[one.name] - logits))
        assert one.snr_db == pytest.approx(ratio, abs=0.2)
        array = {"layer1": first, "layer2": second}[one.name]
        largest = np.abs(array).max(axis=0)
        assert one.weight_spread == pytest.approx(largest.max() / np.median(largest), rel=1e-5)
    assert [one.snr_db for one in found] == sorted(one.snr_db for one in found)


def test_the_layers_around_a_loud_channel_are_the_worst():
    found = noise_of(loud_channel())
    assert {one.name for one in found[:2]} == {"conv2", "conv3"}
    assert found[1].snr_db < found[2].snr_db - 10
    spread = {one.name: one.weight_spread for one in found}
    assert spread["conv2"] > 1000
    assert spread["conv4"] < 8


@pytest.mark.parametrize("target", ["x86", "arm", "portable"])
def test_only_one_layer_is_in_8_bits(target):
    source = prepared(plain(), target)
    ranges = min_max(measure_activations(source, IMAGES[:20]))
    file = only_in_int8(source, ranges, target, "conv3")
    floats = {one.name for one in file.graph.initializer if one.data_type == TensorProto.FLOAT}
    layers = [node for node in file.graph.node if node.op_type in ("Conv", "Gemm")]
    kept = {node.name for node in layers if node.input[1] in floats}
    assert kept == {"conv1", "conv2", "conv4", "conv5", "head"}


def test_outliers_are_measured_against_the_usual_range():
    model = plain()
    for one in model.graph.initializer:
        if one.name == "conv1_b":  # never active, but for the brightest pixels
            array = numpy_helper.to_array(one) - np.array([0] * 7 + [2.2])
            one.CopyFrom(numpy_helper.from_array(array.astype(np.float32), one.name))
    found = {one.name: one for one in noise_of(model)}
    activations = measure_activations(prepared(model, "portable"), IMAGES)
    low, _ = min_max(activations)["conv1_out"]
    assert low == 0
    assert 1 <= found["conv2"].input_outliers < 2
    assert found["conv1"].input_outliers < 1.01
