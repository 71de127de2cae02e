"""What counts as a parameter: closed forms of the ways in which a graph uses stored tensors."""

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from kdtool.edge.count.graph import count_graph
from kdtool.errors import ModelFileError

FLOAT, INT64, UINT8 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.UINT8
node = helper.make_node
IMAGE = {"x": (FLOAT, ["n", 3, 16, 16])}
ROWS = {"x": (FLOAT, ["n", 6])}


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def constant(value, dtype=np.float32):
    return numpy_helper.from_array(np.array(value, dtype), "value")


def conv(weight, out="y", image="x"):
    return node("Conv", [image, weight], [out])


# Positions in 1D, relative to each other: 7 different ones
RELATIVE = np.arange(4)[:, None] - np.arange(4) + 3


# Each: nodes, inputs, stored arrays, MACs, parameters.
LEARNED = {
    "weight norm": (
        [
            node("ReduceL2", ["v", "axes"], ["norm"]),
            node("Div", ["v", "norm"], ["unit"]),
            node("Mul", ["g", "unit"], ["w"]),
            conv("w"),
        ],
        IMAGE,
        {"v": drawn(8, 3, 3, 3), "g": drawn(8, 1, 1, 1), "axes": np.array([1, 2, 3])},
        8 * 14 * 14 * 27,
        8 * 27 + 8,
    ),
    "weight norm of a layer with one output": (
        [
            node("ReduceL2", ["v", "axes"], ["norm"]),
            node("Div", ["v", "norm"], ["unit"]),
            node("Mul", ["g", "unit"], ["w"]),
            node("Gemm", ["x", "w", "b"], ["y"], transB=1),
        ],
        ROWS,
        {"v": drawn(1, 6), "g": drawn(1, 1), "b": drawn(1), "axes": np.array([1])},
        6,
        6 + 1 + 1,
    ),
    "standardized convolution": (
        [
            node("ReduceMean", ["v", "axes"], ["mean"]),
            node("Sub", ["v", "mean"], ["centred"]),
            node("Mul", ["centred", "centred"], ["square"]),
            node("ReduceMean", ["square", "axes"], ["variance"]),
            node("Add", ["variance", "epsilon"], ["above"]),
            node("Sqrt", ["above"], ["deviation"]),
            node("Div", ["centred", "deviation"], ["w"]),
            conv("w"),
        ],
        IMAGE,
        {"v": drawn(8, 3, 3, 3), "axes": np.array([1, 2, 3]), "epsilon": np.float32([1e-5])},
        8 * 14 * 14 * 27,
        8 * 27,
    ),
    "convolution standardized by a batch norm of its weight": (
        [
            node("Reshape", ["v", "to"], ["flat"]),
            node("BatchNormalization", ["flat", "one", "zero", "mean", "variance"], ["normal"]),
            node("Reshape", ["normal", "back"], ["w"]),
            conv("w"),
        ],
        IMAGE,
        {
            "v": drawn(8, 3, 3, 3), "one": np.ones(8, np.float32), "zero": np.zeros(8, np.float32),
            "mean": drawn(8), "variance": np.ones(8, np.float32), "to": np.array([1, 8, 27]),
            "back": np.array([8, 3, 3, 3]),
        },
        8 * 14 * 14 * 27,
        8 * 27,
    ),
    "weight times a scalar": (
        [node("Mul", ["v", "half"], ["w"]), conv("w")],
        IMAGE,
        {"v": drawn(8, 3, 3, 3), "half": np.float32(0.5)},
        8 * 14 * 14 * 27,
        8 * 27,
    ),
    "unsqueezed weight": (
        [node("Unsqueeze", ["v", "axis"], ["w"]), conv("w")],
        IMAGE,
        {"v": drawn(8, 3, 3), "axis": np.array([2])},
        8 * 16 * 14 * 9,
        8 * 9,
    ),
    "two layers that share the halves of one tensor": (
        [node("Split", ["v"], ["w1", "w2"], num_outputs=2), conv("w1", "h"), conv("w2", "z"),
         node("Add", ["h", "z"], ["y"])],
        IMAGE,
        {"v": drawn(8, 3, 3, 3)},
        2 * 4 * 14 * 14 * 27,
        8 * 27,
    ),
    "slices of one weight, counted once": (
        [node("Slice", ["v", "zero", "four"], ["w"]), conv("w")],
        IMAGE,
        {"v": drawn(8, 3, 3, 3), "zero": np.array([0]), "four": np.array([4])},
        4 * 14 * 14 * 27,
        8 * 27,
    ),
    "transposed weight of a Gemm, and its bias": (
        [node("Transpose", ["v"], ["w"], perm=[1, 0]), node("Gemm", ["x", "w", "b"], ["y"])],
        ROWS,
        {"v": drawn(4, 6), "b": drawn(4)},
        24,
        28,
    ),
    "two factors of one weight": (
        [node("MatMul", ["a", "b"], ["w"]), node("MatMul", ["x", "w"], ["y"])],
        ROWS,
        {"a": drawn(6, 2), "b": drawn(2, 5)},
        6 * 2 * 5 + 6 * 5,
        12 + 10,
    ),
    "layer norm": (
        [node("LayerNormalization", ["x", "scale", "shift"], ["y"])],
        ROWS,
        {"scale": drawn(6), "shift": drawn(6)},
        0,
        12,
    ),
    "weight and bias in 8 bits": (
        [
            node("DequantizeLinear", ["wq", "s", "z"], ["w"]),
            node("DequantizeLinear", ["bq", "bs"], ["b"]),
            node("Gemm", ["x", "w", "b"], ["y"]),
        ],
        ROWS,
        {
            "wq": np.ones((6, 4), np.int8), "bq": np.ones(4, np.int32), "s": drawn(4) ** 2,
            "bs": np.float32(0.1), "z": np.zeros(4, np.int8),
        },
        24,
        28,
    ),
    "scales of a product of integers": (
        [
            node("MatMulInteger", ["x", "w"], ["p"]),
            node("Cast", ["p"], ["f"], to=FLOAT),
            node("Mul", ["f", "scales"], ["y"]),
        ],
        {"x": (UINT8, ["n", 6])},
        {"w": np.ones((6, 4), np.int8), "scales": drawn(4)},
        24,
        24,
    ),
    "class token for a batch of unknown size, and positions": (
        [
            node("MatMul", ["x", "w"], ["t"]),
            node("Shape", ["x"], ["n"], start=0, end=1),
            node("Concat", ["n", "ones"], ["to"], axis=0),
            node("Expand", ["token", "to"], ["tokens"]),
            node("Concat", ["tokens", "t"], ["all"], axis=1),
            node("Add", ["all", "positions"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 5, 6])},
        {"w": drawn(6, 8), "token": drawn(1, 1, 8), "positions": drawn(1, 6, 8),
         "ones": np.array([1, 1])},
        5 * 6 * 8,
        48 + 8 + 48,
    ),
    "learned queries": (
        [node("MatMul", ["latent", "w"], ["q"]), node("Transpose", ["q"], ["qt"], perm=[1, 0]),
         node("MatMul", ["x", "qt"], ["y"])],
        ROWS,
        {"latent": drawn(3, 5), "w": drawn(5, 6)},
        3 * 5 * 6 + 6 * 3,
        15 + 30,
    ),
    "position biases that are gathered": (
        [
            node("MatMul", ["x", "w"], ["scores"]),
            node("Gather", ["biases", "index"], ["table"], axis=1),
            node("Add", ["scores", "table"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 2, 4, 6])},
        {"w": drawn(6, 4), "biases": drawn(2, 7), "index": RELATIVE},
        2 * 4 * 6 * 4,
        24 + 14,
    ),
    "position biases that the exporter has gathered": (
        [node("MatMul", ["x", "w"], ["scores"]), node("Add", ["scores", "table"], ["y"])],
        {"x": (FLOAT, ["n", 2, 4, 6])},
        {"w": drawn(6, 4), "table": drawn(2, 7)[:, RELATIVE]},
        2 * 4 * 6 * 4,
        24 + 14,
    ),
    "position biases in 8 bits, with the heads last": (
        [
            node("MatMul", ["x", "w"], ["scores"]),
            node("DequantizeLinear", ["table", "s", "z"], ["biases"]),
            node("Transpose", ["biases"], ["last"], perm=[2, 0, 1]),
            node("Add", ["scores", "last"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 3, 4, 6])},
        {"w": drawn(6, 4), "table": (drawn(7, 3) * 40).astype(np.int8)[RELATIVE],
         "s": np.float32(0.1), "z": np.int8(0)},
        3 * 4 * 6 * 4,
        24 + 21,
    ),
    "embedding": (
        [node("Gather", ["table", "x"], ["e"]), node("MatMul", ["e", "w"], ["y"])],
        {"x": (INT64, ["n", 5])},
        {"table": drawn(10, 4), "w": drawn(4, 3)},
        5 * 4 * 3,
        40 + 12,
    ),
    "bias of a layer with one output, but not a constant summand": (
        [
            node("MatMul", ["x", "w"], ["p"]),
            node("Add", ["p", "b"], ["q"]),
            node("Relu", ["q"], ["r"]),
            node("Add", ["r", "three"], ["y"]),
        ],
        ROWS,
        {"w": drawn(6, 1), "b": drawn(1), "three": np.float32([3])},
        6,
        7,
    ),
    "zeros and masks": (
        [
            node("MatMul", ["x", "w"], ["p"]),
            node("Add", ["p", "mask"], ["q"]),
            node("ConstantOfShape", ["square"], ["far"], value=constant([-100])),
            node("Where", ["hidden", "far", "mask"], ["other"]),
            node("Add", ["q", "other"], ["r"]),
            node("ConstantOfShape", ["shape"], ["zeros"]),
            node("Concat", ["r", "zeros", "padding"], ["y"], axis=1),
        ],
        {"x": (FLOAT, [1, 4, 6])},
        {
            "w": drawn(6, 4), "mask": np.where(np.eye(4), 0, -100).astype(np.float32),
            "square": np.array([4, 4]), "hidden": np.eye(4) > 0,
            "shape": np.array([1, 2, 4]), "padding": np.zeros((1, 3, 4), np.float32),
        },
        4 * 6 * 4,
        24,
    ),
    "weight of zeros": (
        [node("ConstantOfShape", ["shape"], ["w"]), node("MatMul", ["x", "w"], ["y"])],
        ROWS,
        {"shape": np.array([6, 4])},
        24,
        0,
    ),
    "group norm as PyTorch writes it": (
        [
            conv("w", "h"),
            node("Reshape", ["h", "groups"], ["g"]),
            node("InstanceNormalization", ["g", "one", "zero"], ["i"]),
            node("Reshape", ["i", "back"], ["normal"]),
            node("Mul", ["normal", "scale"], ["scaled"]),
            node("Add", ["scaled", "shift"], ["y"]),
        ],
        IMAGE,
        {"w": drawn(8, 3, 3, 3), "one": np.ones(4, np.float32), "zero": np.zeros(4, np.float32),
         "groups": np.array([0, 4, -1]), "back": np.array([-1, 8, 14, 14]),
         "scale": drawn(8, 1, 1), "shift": drawn(8, 1, 1)},
        8 * 14 * 14 * 27,
        8 * 27 + 8 + 8,
    ),
    "Caffe's batch norm with its scale": (
        [
            conv("w", "h"),
            node("BatchNormalization", ["h", "one", "zero", "mean", "variance"], ["normal"]),
            node("Unsqueeze", ["scale", "axes"], ["s"]),
            node("Mul", ["normal", "s"], ["scaled"]),
            node("Unsqueeze", ["shift", "axes"], ["t"]),
            node("Add", ["scaled", "t"], ["y"]),
        ],
        IMAGE,
        {"w": drawn(8, 3, 3, 3), "axes": np.array([1, 2]),
         **{name: drawn(8) ** 2 for name in ("one", "zero", "mean", "variance", "scale", "shift")}},
        8 * 14 * 14 * 27,
        8 * 27 + 8 + 8,
    ),
}  # fmt: skip


@pytest.mark.parametrize("layer", LEARNED)
def test_learned_numbers_match_the_closed_form(make_onnx, layer):
    nodes, inputs, stored, num_macs, num_params = LEARNED[layer]
    cost = count_graph(make_onnx(nodes, inputs, stored))
    assert (cost.num_macs, cost.num_params, cost.uncounted_ops) == (num_macs, num_params, ())


def branch(nodes, out="z", **stored):
    inits = [numpy_helper.from_array(array, name) for name, array in stored.items()]
    return helper.make_graph(nodes, "branch", [], [helper.make_empty_tensor_value_info(out)], inits)


PRODUCT = branch([node("MatMul", ["x", "inner"], ["z"])], inner=drawn(6, 4))
OUTER = branch([node("MatMul", ["x", "w"], ["z"])])
PLAIN = branch([node("Relu", ["x"], ["z"])])
CONDITION = [
    node("ReduceSum", ["x"], ["sum"], keepdims=0),
    node("Greater", ["sum", "limit"], ["c"]),
]
TWO = helper.make_graph(
    [node("MatMul", ["v", "w"], ["v2"]), node("Identity", ["go"], ["go2"])],
    "body",
    [
        helper.make_tensor_value_info("i", INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v", FLOAT, None),
    ],
    [helper.make_empty_tensor_value_info("go2"), helper.make_empty_tensor_value_info("v2")],
)


# Each: nodes, operators with parameters that are not counted, those whose MACs are not.
GAPS = {
    "weights in an unknown form": (
        [node("Unpack", ["w"], ["u"], domain="acme"), node("MatMul", ["x", "u"], ["y"])],
        ("acme.Unpack",),
        ("MatMul", "acme.Unpack"),
    ),
    "an unknown operator without weights": (
        [node("Mystery", ["x"], ["y"], domain="acme")],
        (),
        ("acme.Mystery",),
    ),
    "an operator without a rule": ([node("Det", ["x"], ["y"])], (), ("Det",)),
    "a layer of unknown shape": (
        [node("NonZero", ["x"], ["p"]), node("Cast", ["p"], ["f"], to=FLOAT),
         node("Transpose", ["f"], ["t"]), node("MatMul", ["t", "two"], ["y"])],
        (),
        ("MatMul",),
    ),
    "a branch with a product": (
        [*CONDITION, node("If", ["c"], ["y"], then_branch=PRODUCT, else_branch=PLAIN)],
        ("If",),
        ("If",),
    ),
    "a branch that uses a weight from outside": (
        [*CONDITION, node("If", ["c"], ["y"], then_branch=PLAIN, else_branch=OUTER)],
        ("If",),
        ("If",),
    ),
    "branches without anything that counts": (
        [*CONDITION, node("If", ["c"], ["y"], then_branch=PLAIN, else_branch=PLAIN)],
        (),
        (),
    ),
    "a loop": ([node("Loop", ["times", "", "x"], ["y"], body=TWO)], ("Loop",), ("Loop",)),
}  # fmt: skip
STORED = {
    "w": drawn(6, 6), "two": drawn(2, 3), "limit": np.float32(0), "times": np.array(3),
}  # fmt: skip


@pytest.mark.parametrize("case", GAPS)
def test_what_is_not_counted_is_named_for_the_count_that_lacks_it(make_onnx, case):
    nodes, params, macs = GAPS[case]
    cost = count_graph(make_onnx(nodes, ROWS, STORED))
    assert (cost.uncounted_params, cost.uncounted_macs) == (params, macs)
    assert (cost.params_at_least, cost.macs_at_least) == (bool(params), bool(macs))


@pytest.mark.parametrize(("limit", "num_macs"), [(5, 24), (9, 36)])
def test_a_branch_that_is_chosen_by_a_shape_is_counted(make_onnx, limit, num_macs):
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "one"], ["size"], axis=0),
        node("Greater", ["size", "least"], ["c"]),
        node("If", ["c"], ["y"], then_branch=PRODUCT, else_branch=OUTER),
    ]
    stored = {"w": drawn(6, 6), "one": np.array(1), "least": np.array(limit)}
    cost = count_graph(make_onnx(nodes, ROWS, stored))
    assert (cost.num_macs, cost.num_params, cost.uncounted_ops) == (num_macs, num_macs, ())


def test_operators_in_any_order_are_counted(make_onnx):
    nodes, inputs, stored, num_macs, num_params = LEARNED["weight norm"]
    cost = count_graph(make_onnx(nodes[::-1], inputs, stored))
    assert (cost.num_macs, cost.num_params) == (num_macs, num_params)


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Identity", ["w"], ["w"]), node("MatMul", ["x", "w"], ["y"])],
        [node("Transpose", ["b"], ["a"]), node("Cast", ["a"], ["b"], to=FLOAT),
         node("MatMul", ["x", "b"], ["y"])],
    ],
)  # fmt: skip
def test_a_circle_is_an_error(make_onnx, nodes):
    path = make_onnx(nodes, ROWS)
    with pytest.raises(ModelFileError, match=f"cannot count {path}: its operators form a circle"):
        count_graph(path)
