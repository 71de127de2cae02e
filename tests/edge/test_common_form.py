"""Other forms of a graph: the same bits in ONNX Runtime, and read rightly by other runtimes."""

import numpy as np
import onnx
import pytest
from int8_networks import IMAGES, plain
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from quantized import int8_of

from kdtool.edge.common_form import leave_out_defaults, write_weights_as_multiplied
from kdtool.edge.model_file import model_opset
from kdtool.edge.session import InferenceSession

RNG = np.random.default_rng(0)
node = helper.make_node


def model_of(nodes, constants, given, outputs=("y",)):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, given)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return onnx.shape_inference.infer_shapes(model)


def in_onnxruntime(model, x):
    return InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


def attributes(model):
    return {(one.op_type, a.name) for one in model.graph.node for a in one.attribute}


def gate(**given):
    """The squeeze-excite block of MobileNetV3, after its mean."""
    nodes = [
        node("GlobalAveragePool", ["x"], ["mean"]),
        node("HardSigmoid", ["mean"], ["gate"], alpha=1 / 6, **given),
        node("Mul", ["gate", "x"], ["y"]),
    ]
    return model_of(nodes, {}, ["n", 3, 4, 4])


def in_opencv(model, x, path):
    cv2 = pytest.importorskip("cv2")
    onnx.save(model, path)
    network = cv2.dnn.readNetFromONNX(str(path))
    network.setInput(x, "x")
    return network.forward()


def test_a_squeeze_excite_block_is_one_for_opencv_too(tmp_path):
    x = RNG.normal(size=(1, 3, 4, 4)).astype(np.float32)
    model = gate(beta=0.5)
    before = in_onnxruntime(model, x)
    leave_out_defaults(model)
    np.testing.assert_array_equal(in_onnxruntime(model, x), before)
    np.testing.assert_allclose(in_opencv(model, x, tmp_path / "a.onnx"), before, atol=1e-6)


def test_opencv_still_misreads_the_attribute(tmp_path):
    """If this fails, OpenCV has been corrected and HardSigmoid's beta need not be left out."""
    x = RNG.normal(size=(1, 3, 4, 4)).astype(np.float32)
    assert in_opencv(gate(beta=0.5), x, tmp_path / "a.onnx").shape == (1, 3, 1, 1)


def test_another_beta_stays():
    model = gate(beta=0.25)
    leave_out_defaults(model)
    assert ("HardSigmoid", "beta") in attributes(model)


@pytest.mark.parametrize(
    ("shape", "constant", "stays"),
    [([-1, 6], True, False), ([0, 6], True, True), ([-1, 6], False, True)],
)
def test_allowzero_stays_where_a_shape_may_hold_a_zero(shape, constant, stays):
    given = {"shape": np.array(shape, np.int64)}
    nodes = [node("Reshape", ["x", "shape"], ["y"], allowzero=1)]
    if not constant:
        given = {"shape0": given["shape"]}
        nodes.insert(0, node("Identity", ["shape0"], ["shape"]))
    model = model_of(nodes, given, ["n", 2, 3])
    leave_out_defaults(model)
    assert (("Reshape", "allowzero") in attributes(model)) == stays


def linear(bias, **given):
    """A layer with weights (outputs, inputs), as PyTorch has them."""
    constants = {"w": RNG.normal(size=(5, 7)).astype(np.float32)}
    if bias:
        constants["b"] = RNG.normal(size=5).astype(np.float32)
    return model_of([node("Gemm", ["x", *constants], ["y"], **given)], constants, ["n", 7])


@pytest.mark.parametrize("bias", [True, False])
def test_weights_lie_as_they_are_multiplied(bias):
    model = linear(bias, transB=1, alpha=0.5)
    x = RNG.normal(size=(40, 7)).astype(np.float32)
    before = in_onnxruntime(model, x)
    write_weights_as_multiplied(model)
    onnx.checker.check_model(model, full_check=True)
    np.testing.assert_array_equal(in_onnxruntime(model, x), before)
    assert list(model.graph.initializer[0].dims) == [7, 5]
    once = model.SerializeToString()
    write_weights_as_multiplied(model)
    assert model.SerializeToString() == once


def test_weights_that_two_layers_read_stay():
    model = linear(False, transB=1)
    model.graph.node.append(node("Gemm", ["x", "w"], ["other"], transB=1))
    model.graph.output.append(helper.make_tensor_value_info("other", TensorProto.FLOAT, ["n", 5]))
    before = model.SerializeToString()
    write_weights_as_multiplied(model)
    assert model.SerializeToString() == before


def test_onnx_itself_runs_an_8_bit_file():
    model = plain()
    int8 = int8_of(model, IMAGES, "portable")
    assert model_opset(int8) == 19
    given = ReferenceEvaluator(int8).run(["probabilities"], {"image": IMAGES[:8]})[0]
    session = InferenceSession(int8.SerializeToString())
    expected = session.run(["probabilities"], {"image": IMAGES[:8]})[0]
    np.testing.assert_allclose(given, expected, atol=0.05)
    assert (given.argmax(axis=1) == expected.argmax(axis=1)).all()
