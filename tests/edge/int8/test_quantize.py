"""Quantized files, checked against the arithmetic of their scales."""

import numpy as np
import onnx
import onnxruntime
import pytest
from int8_networks import IMAGES as PICTURES
from int8_networks import loud_channel
from onnx import TensorProto, helper, numpy_helper
from quantized import int8_of, x86_sums

from kdtool.edge.fp16 import to_fp16
from kdtool.edge.metadata import read_metadata, write_metadata
from kdtool.edge.session import open_session

RNG = np.random.default_rng(0)
FIRST = RNG.normal(size=(12, 6)).astype(np.float32)
LAST = RNG.normal(size=(6, 4)).astype(np.float32)
IMAGES = RNG.integers(0, 256, (40, 2, 2, 3), np.uint8)


@pytest.fixture
def model():
    """uint8 (N, 2, 2, 3) -> Gemm -> Relu -> Gemm -> logits and probabilities."""
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Div", ["floats", "full"], ["scaled"]),
        helper.make_node("Flatten", ["scaled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "first"], ["hidden"], "layer1"),
        helper.make_node("Relu", ["hidden"], ["active"], "relu"),
        helper.make_node("Gemm", ["active", "last"], ["logits"], "layer2"),
        helper.make_node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "kdtool",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 2, 2, 3])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])
            for name in ("logits", "probabilities")
        ],
        [
            numpy_helper.from_array(np.float32(255), "full"),
            numpy_helper.from_array(FIRST, "first"),
            numpy_helper.from_array(LAST, "last"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    write_metadata(model, {"classes": ["a", "b", "c", "d"]})
    return model


def run(model, images, tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    return open_session(path).run(None, {"image": images})


def stored(model, prefix):
    found = [t for t in model.graph.initializer if t.name.startswith(prefix)]
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in found}


@pytest.mark.parametrize(
    ("target", "activations", "largest"),
    [
        ("x86", TensorProto.UINT8, 127),
        ("arm", TensorProto.INT8, 127),
        ("portable", TensorProto.UINT8, 64),
    ],
)
def test_weights_are_the_nearest_of_8_bits_a_channel(model, target, activations, largest):
    tensors = stored(int8_of(model, IMAGES, target), "first")
    integers = next(array for array in tensors.values() if array.ndim == 2)
    scales = tensors["first_scale"]
    assert scales.shape == (6,)  # one a column
    assert np.abs(integers.astype(int)).max() <= largest
    assert (np.abs(integers * scales - FIRST) <= scales / 2 * 1.001).all()
    types = {
        tensor.data_type
        for tensor in int8_of(model, IMAGES, target).graph.initializer
        if tensor.name.endswith("zero_point") and not tensor.name.startswith(("first", "last"))
    }
    assert types == {activations}


def test_the_range_of_an_activation_is_what_the_images_gave(model):
    tensors = stored(int8_of(model, IMAGES, "x86"), "active")
    hidden = np.maximum((IMAGES.reshape(len(IMAGES), 12) / 255) @ FIRST, 0)
    assert tensors["active_scale"] == pytest.approx(hidden.max() / 255, rel=1e-5)


@x86_sums
def test_outputs_stay_close_and_probabilities_are_not_rounded_to_8_bits(model, tmp_path):
    logits, _ = run(model, IMAGES, tmp_path)
    given, probabilities = run(int8_of(model, IMAGES, "x86"), IMAGES, tmp_path)
    assert np.abs(given - logits).max() < 0.05 * np.abs(logits).max()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert probabilities.dtype == np.float32


def test_nodes_can_be_kept_in_fp32(model):
    kept = int8_of(model, IMAGES, "x86", ["layer1", "layer2"])
    weights = [tensor for tensor in kept.graph.initializer if tensor.name in ("first", "last")]
    assert [tensor.data_type for tensor in weights] == [TensorProto.FLOAT] * 2


def test_onnxruntime_does_not_round_the_weights_of_a_layer_in_fp32(tmp_path):
    """Its optimizer does so between 8-bit tensors, with one scale for all channels."""
    path = tmp_path / "model.onnx"
    onnx.save(int8_of(loud_channel(), PICTURES, "portable", ["conv3"]), path)
    sessions = [
        onnxruntime.InferenceSession(path, disabled_optimizers=one)
        for one in ([], ["WeightBiasQuantization"])
    ]
    given, expected = (session.run(["logits"], {"image": PICTURES})[0] for session in sessions)
    np.testing.assert_array_equal(given, expected)


def test_fp16_keeps_inputs_and_outputs(model, tmp_path):
    half = to_fp16(model)
    weights = [tensor for tensor in half.graph.initializer if tensor.name in ("first", "last")]
    assert {tensor.data_type for tensor in weights} == {TensorProto.FLOAT16}
    logits, _ = run(model, IMAGES, tmp_path)
    given, probabilities = run(half, IMAGES, tmp_path)
    assert given.dtype == probabilities.dtype == np.float32
    np.testing.assert_allclose(given, logits, atol=2e-3 * np.abs(logits).max())


@pytest.mark.parametrize("make", [lambda m: int8_of(m, IMAGES, "portable"), to_fp16])
def test_it_keeps_the_metadata_and_gives_the_same_bytes_twice(model, make):
    before = model.SerializeToString()
    smaller = make(model)
    assert read_metadata(smaller) == {"classes": ["a", "b", "c", "d"]}
    assert smaller.producer_name == model.producer_name
    assert {entry.domain for entry in smaller.opset_import} == {""}
    assert make(model).SerializeToString() == smaller.SerializeToString()
    assert model.SerializeToString() == before
