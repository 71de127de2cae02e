"""Each operator against ONNX Runtime on a file of one node."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from kdtool.train.export.operators import (
    OPERATORS,
    average_pool,
    batch_normalization,
    cast,
    conv,
    max_pool,
    pad,
    resize,
    slice_of,
    split,
)
from kdtool.train.export.rounding import UnsupportedError, dequantize, quantize

RNG = np.random.default_rng(0)


def draw(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def ints(*values):
    return np.array(values, np.int64)


X = draw(2, 4, 7, 6)
FLAT = draw(3, 5)
# Values that are halfway between two integers too, and beyond their range
GRID = (np.arange(-2200, 2200, dtype=np.float32) / 8 * 0.5).reshape(4, 1100)
TWO = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
UNEVEN = {"strides": [2, 2], "pads": [0, 1, 2, 1]}
SCALES = np.array([0.5, 0.25, 1.0, 2.0], np.float32)

# operator -> inputs, attributes
CASES = [
    *[(name, [X, draw(4, 1, 1)], {}) for name in ("Add", "Sub", "Mul", "Div", "PRelu")],
    *[(name, [np.abs(X) + 0.1], {}) for name in ("Sqrt", "Log")],
    *[(name, [X], {}) for name in ("Erf", "Exp", "HardSwish", "Identity", "Relu", "Sigmoid")],
    *[(name, [X], {}) for name in ("Tanh", "GlobalAveragePool", "HardSigmoid", "LeakyRelu")],
    ("HardSigmoid", [X], {"alpha": 1 / 6, "beta": 0.5}),
    ("LeakyRelu", [X], {"alpha": 0.2}),
    ("Gelu", [X], {}),
    ("Gelu", [X], {"approximate": "tanh"}),
    ("Pow", [np.abs(X), np.float32(2.5)], {}),
    ("Clip", [X, np.float32(-0.5), np.float32(0.8)], {}),
    ("Clip", [X, None, np.float32(0.8)], {}),
    ("Clip", [X], {}),
    ("Conv", [X, draw(8, 4, 3, 3), draw(8)], {}),
    ("Conv", [X, draw(8, 1, 3, 3)], {"group": 4, **TWO, "kernel_shape": [3, 3]}),
    ("Conv", [X, draw(6, 2, 2, 3)], {"group": 2, **UNEVEN, "dilations": [2, 1]}),
    ("Gemm", [FLAT, draw(5, 4), draw(4)], {}),
    ("Gemm", [FLAT, draw(4, 3)], {"transA": 1, "transB": 1, "alpha": 0.5}),
    ("Gemm", [FLAT, draw(5, 4), draw(4)], {"alpha": 0.5, "beta": 2.0}),
    ("MatMul", [FLAT, draw(5, 4)], {}),
    ("MatMul", [draw(2, 1, 3, 5), draw(4, 5, 2)], {}),
    ("MaxPool", [X], {"kernel_shape": [3, 2]}),
    ("MaxPool", [X], {"kernel_shape": [3, 3], **TWO, "ceil_mode": 1}),
    ("MaxPool", [X], {"kernel_shape": [3, 3], **UNEVEN, "dilations": [2, 1]}),
    ("AveragePool", [X], {"kernel_shape": [3, 2]}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], **TWO}),
    ("AveragePool", [X], {"kernel_shape": [3, 3], **TWO, "count_include_pad": 1}),
    ("BatchNormalization", [X, draw(4), draw(4), draw(4), np.abs(draw(4))], {"epsilon": 0.01}),
    ("LayerNormalization", [X, draw(6), draw(6)], {}),
    ("LayerNormalization", [X, draw(7, 6)], {"axis": 2, "epsilon": 0.1}),
    ("Softmax", [X], {}),
    ("Softmax", [X], {"axis": 1}),
    ("ReduceMean", [X, ints(2, -1)], {}),
    ("ReduceMean", [X], {"keepdims": 0}),
    ("ReduceMean", [X], {"noop_with_empty_axes": 1}),
    *[(f"Reduce{one}", [X, ints(1)], {"keepdims": 0}) for one in ("Max", "Sum", "LogSumExp")],
    ("Concat", [X, draw(2, 3, 7, 6), X], {"axis": 1}),
    ("Split", [X, ints(1, 3)], {"axis": 1}),
    ("Split", [X], {"axis": 2, "num_outputs": 3}),
    ("Flatten", [X], {}),
    ("Flatten", [X], {"axis": -2}),
    ("Flatten", [X], {"axis": 0}),
    ("Reshape", [X, ints(0, 2, -1)], {}),
    ("Reshape", [X, ints(-1, 6)], {"allowzero": 1}),
    ("Transpose", [X], {"perm": [0, 2, 3, 1]}),
    ("Transpose", [X], {}),
    ("Squeeze", [draw(2, 1, 3, 1), ints(1, -1)], {}),
    ("Squeeze", [draw(2, 1, 3, 1)], {}),
    ("Unsqueeze", [FLAT, ints(-1, 0)], {}),
    ("Cast", [ints(3, 4)], {"to": TensorProto.FLOAT}),
    ("Cast", [np.array([3.7, -3.7], np.float32)], {"to": TensorProto.INT64}),
    ("Shape", [X], {"start": 1}),
    ("Gather", [X, ints(2, 0, -1)], {"axis": 1}),
    ("Gather", [X, np.array(1, np.int64)], {"axis": -1}),
    ("Gather", [X, ints([0, 1], [1, 0])], {}),
    ("Slice", [X, ints(1, 0), ints(-1, 100), ints(2, 3), ints(1, 2)], {}),
    ("Slice", [X, ints(1), ints(2)], {}),
    ("Pad", [X, ints(0, 1, 2, 0, 0, 0, 1, 3), np.float32(0.5)], {}),
    ("Pad", [X, ints(0, 0, 2, 1, 0, 0, 1, 3)], {"mode": "reflect"}),
    ("Pad", [X, ints(0, 0, 2, 1, 0, 0, 1, 3)], {"mode": "edge"}),
    ("Resize", [X, None, None, ints(2, 4, 13, 17)], {"mode": "linear"}),
    ("Resize", [X, None, np.array([1, 1, 2, 3], np.float32)], {"mode": "linear"}),
    ("QuantizeLinear", [GRID, np.float32(0.5), np.uint8(3)], {}),
    ("QuantizeLinear", [GRID, np.float32(0.5)], {}),
    ("QuantizeLinear", [GRID, SCALES, np.array([0, 5, -7, 100], np.int8)], {"axis": 0}),
    ("DequantizeLinear", [np.arange(256, dtype=np.uint8), np.float32(0.3), np.uint8(7)], {}),
    ("DequantizeLinear", [ints(*[range(9)] * 4).astype(np.int32), SCALES], {"axis": 0}),
]


def by_onnx_runtime(operator, inputs, attributes):
    """What the file of one node returns; all its inputs but the first are constants."""
    names = ["" if value is None else f"in{at}" for at, value in enumerate(inputs)]
    num_outputs = {"Split": attributes.get("num_outputs", 2)}.get(operator, 1)
    outputs = [f"out{at}" for at in range(num_outputs)]
    kind = helper.np_dtype_to_tensor_dtype(inputs[0].dtype)
    graph = helper.make_graph(
        [helper.make_node(operator, names, outputs, **attributes)],
        "one",
        [helper.make_tensor_value_info("in0", kind, inputs[0].shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [
            numpy_helper.from_array(np.asarray(value), name)
            for name, value in list(zip(names, inputs, strict=True))[1:]
            if value is not None
        ],
    )
    opset = [helper.make_opsetid("", 20)]  # of Gelu
    model = helper.make_model(graph, opset_imports=opset, ir_version=10)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"in0": inputs[0]})


@pytest.mark.parametrize(("operator", "inputs", "attributes"), CASES)
def test_an_operator_computes_what_onnx_runtime_does(operator, inputs, attributes):
    given = [None if one is None else torch.from_numpy(np.asarray(one)) for one in inputs]
    found = OPERATORS[operator](*given, **attributes)
    expected = by_onnx_runtime(operator, inputs, attributes)
    for one, other in zip(found if isinstance(found, tuple) else (found,), expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one.numpy(), other, rtol=1e-5, atol=1e-5)


def test_every_operator_is_compared():
    assert {case[0] for case in CASES} == OPERATORS.keys()


@pytest.mark.parametrize(("zero", "kind"), [(0, torch.uint8), (37, torch.uint8), (-5, torch.int8)])
def test_the_gradient_of_rounding_is_1_inside_the_range_and_0_outside(zero, kind):
    scale, zero_point = torch.tensor(0.25), torch.tensor(zero, dtype=kind)
    low, high = (torch.iinfo(kind).min - zero, torch.iinfo(kind).max - zero)
    x = (torch.arange(low - 40, high + 40) / 4 + 0.05).requires_grad_()
    weights = torch.linspace(1, 2, len(x))
    y = dequantize(quantize(x, scale, zero_point), scale, zero_point)
    (y * weights).sum().backward()
    inside = (x >= low / 4) & (x <= high / 4 + 0.1)
    assert 0 < int(inside.sum()) == high - low + 1 < len(x)
    torch.testing.assert_close(x.grad, torch.where(inside, weights, 0.0))
    torch.testing.assert_close(y, x.detach().sub(0.05).clamp(low / 4, high / 4))


def test_the_gradient_passes_where_another_scale_reads_the_integers():
    """As hard-swish's sixth, which is in the scales."""
    x, scale = torch.linspace(0.1, 5, 50).requires_grad_(), torch.tensor(0.1)
    dequantize(quantize(x, 6 * scale), scale).sum().backward()
    torch.testing.assert_close(x.grad, torch.full((50,), 1 / 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv(torch.zeros(1, 2, 5), torch.zeros(2, 2, 3)), "an input of 3 axes"),
        (lambda: conv(*[torch.zeros(1, 1, 5, 5)] * 2, auto_pad="SAME_UPPER"), "auto_pad"),
        (lambda: max_pool(torch.zeros(1, 2, 5), kernel_shape=[2]), "an input of 3 axes"),
        (
            lambda: average_pool(torch.zeros(1, 1, 5, 5), kernel_shape=[2, 2], pads=[0, 0, 1, 1]),
            "uneven pads",
        ),
        (lambda: batch_normalization(*[torch.zeros(1)] * 5, training_mode=1), "training_mode"),
        (lambda: split(torch.zeros(4)), "neither sizes nor num_outputs"),
        (lambda: cast(torch.zeros(1), to=TensorProto.FLOAT16), "a cast to type 10"),
        (
            lambda: slice_of(torch.zeros(4), *[torch.tensor([n]) for n in (3, 0, 0, -1)]),
            "a negative step",
        ),
        (lambda: pad(torch.zeros(4), torch.tensor([1, 1]), mode="wrap"), "mode = wrap"),
        (lambda: resize(torch.zeros(1, 1, 4, 4)), "mode = nearest"),
        (lambda: resize(torch.zeros(1, 1, 4, 4), mode="linear"), "neither sizes nor scales"),
        (lambda: quantize(torch.zeros(1), torch.ones(1), torch.zeros(1).int()), "torch.int32"),
    ],
)
def test_what_an_operator_cannot_do_is_refused(call, message):
    with pytest.raises(UnsupportedError, match=message):
        call()
