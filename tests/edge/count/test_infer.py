"""Sizes that a graph computes, against onnxruntime and against closed forms."""

import math
from contextlib import suppress

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from kdtool.edge.count.graph import count_graph, count_model
from kdtool.edge.count.infer import MAX_SHAPE_VALUES, infer_shapes
from kdtool.edge.count.macs import MAC_RULES, NO_MACS
from kdtool.errors import ModelFileError

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
node = helper.make_node
END = np.iinfo(np.int64).min + 1


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def size_of(name, axis, out):
    """The size of an axis, as a scalar: what PyTorch writes for `x.size(axis)`."""
    return [
        node("Shape", [name], [f"{out}/shape"]),
        node("Gather", [f"{out}/shape", f"{out}/axis"], [out], axis=0),
    ], {f"{out}/axis": np.array(axis)}


def margins(out, sides):
    """The margins of a Pad as PyTorch's TorchScript exporter computes them."""
    names = {part: f"{out}/{part}" for part in "zcrstfpabeiuv"}
    nodes = [
        node("ConstantOfShape", [names["i"]], [names["z"]],
             value=numpy_helper.from_array(np.array([0]))),
        node("Concat", [names["p"], names["z"]], [names["c"]], axis=0),
        node("Reshape", [names["c"], names["a"]], [names["r"]]),
        node("Slice", [names["r"], names["u"], names["e"], names["b"], names["u"]], [names["s"]]),
        node("Transpose", [names["s"]], [names["t"]], perm=[1, 0]),
        node("Reshape", [names["t"], names["v"]], [names["f"]]),
        node("Cast", [names["f"]], [out], to=INT64),
    ]  # fmt: skip
    stored = {
        "i": [4], "p": sides, "a": [-1, 2], "u": [-1], "e": [END], "b": [0], "v": [-1],
    }  # fmt: skip
    return nodes, {names[part]: np.array(value) for part, value in stored.items()}


@pytest.mark.parametrize("sides", [[1, 1, 1, 1], [0, 2, 1, 0]])
def test_margins_that_a_graph_computes(make_onnx, sides):
    nodes, stored = margins("pads", sides)
    nodes += [node("Pad", ["x", "pads"], ["p"]), node("Conv", ["p", "w"], ["y"])]
    stored["w"] = drawn(4, 3, 3, 3)
    left, right, top, bottom = sides  # the last axis comes first, as in PyTorch
    cost = count_graph(make_onnx(nodes, {"x": (FLOAT, ["n", 3, 9, 8])}, stored))
    assert cost.num_macs == 4 * (9 + top + bottom - 2) * (8 + left + right - 2) * 27
    assert (cost.num_params, cost.uncounted_ops) == (4 * 27, ())


@pytest.mark.parametrize("length", [7, MAX_SHAPE_VALUES + 1])
def test_a_range_of_computed_length(make_onnx, length):
    sizes, stored = size_of("x", 1, "length")
    nodes = [
        *sizes,
        node("Range", ["zero", "length", "one"], ["r"]),
        node("Cast", ["r"], ["f"], to=FLOAT),
        node("Unsqueeze", ["f", "axis"], ["column"]),
        node("MatMul", ["column", "w"], ["y"]),
    ]
    stored |= {
        "zero": np.array(0), "one": np.array(1), "axis": np.array([1]), "w": drawn(1, 5)
    }  # fmt: skip
    cost = count_graph(make_onnx(nodes, {"x": (FLOAT, ["n", length])}, stored))
    assert (cost.num_macs, cost.num_params, cost.uncounted_ops) == (5 * length, 5, ())


def test_a_table_that_would_not_fit_into_memory_is_not_made(make_onnx):
    nodes = [
        node("ConstantOfShape", ["size"], ["table"]),
        node("Tile", ["table", "times"], ["tiled"]),
        node("MatMul", ["x", "tiled"], ["y"]),
    ]
    stored = {"size": np.array([10**6, 10**6]), "times": np.array([1, 1000])}
    cost = count_graph(make_onnx(nodes, {"x": (FLOAT, ["n", 10**6])}, stored))
    assert (cost.num_macs, cost.num_params, cost.uncounted_ops) == (10**15, 0, ())


@pytest.mark.parametrize(
    "broken",
    [
        [node("Gather", ["three", "x9"], ["to"], axis=0)],
        [node("Range", ["zero", "zero", "zero"], ["to"])],
        [node("Slice", ["three"], ["to"])],
        [node("Concat", ["three", "three"], ["to"])],
    ],
)
def test_chains_that_break_their_own_rules_leave_sizes_unknown(make_onnx, broken):
    nodes = [*broken, node("Reshape", ["x", "to"], ["r"]), node("MatMul", ["r", "w"], ["y"])]
    stored = {"three": np.array([3]), "x9": np.array([9]), "zero": np.array(0), "w": drawn(3, 4)}
    model = onnx.load(make_onnx(nodes, {"x": (FLOAT, ["n", 3])}, stored))
    assert count_model(model).uncounted_macs == ("MatMul",)


@pytest.mark.parametrize("num_inputs", [0, 1, 3])
@pytest.mark.parametrize("num_outputs", [0, 1])
def test_no_operator_with_a_wrong_number_of_tensors_ends_in_a_traceback(num_inputs, num_outputs):
    for inputs in (["x", "x", "x"], ["w", "w", "w"], ["", "w", "x"], ["size", "size", "size"]):
        for op_type in sorted(NO_MACS | MAC_RULES.keys() | {"If", "Loop"}):
            layer = node("MatMul", ["x", "w"], ["y"])
            one = node(op_type, inputs[:num_inputs], ["z"][:num_outputs])
            graph = helper.make_graph(
                [layer, one, node("Add", ["y", "z"], ["sum"])],
                "wrong",
                [helper.make_tensor_value_info("x", FLOAT, [2, 3])],
                [helper.make_empty_tensor_value_info("y")],
                [numpy_helper.from_array(drawn(3, 4), "w"),
                 numpy_helper.from_array(np.array([3]), "size")],
            )  # fmt: skip
            with suppress(ModelFileError):
                assert count_model(helper.make_model(graph)).num_macs >= 24


def weight(draw, shape, name):
    """Draw the form of a weight; return the nodes that make it, stored arrays and parameters."""
    array, inner = drawn(*shape), f"{name}/stored"
    match draw(st.sampled_from(["plain", "scaled", "turned", "squeezed", "quantized", "sliced"])):
        case "scaled":
            nodes = [node("Mul", ["half", inner], [name])]
        case "turned":
            nodes, array = [node("Transpose", [inner], [name])], array.T.copy()
        case "squeezed":
            nodes, array = [node("Squeeze", [inner, "zeros"], [name])], array[None]
        case "quantized":
            nodes = [node("DequantizeLinear", [inner, "half"], [name])]
            array = (array * 20).astype(np.int8)
        case "sliced":
            end = node("Constant", [], [f"{name}/end"], value_ints=[shape[0]])
            nodes = [end, node("Slice", [inner, "zeros", f"{name}/end"], [name])]
            array = drawn(shape[0] + 2, *shape[1:])
        case _:
            nodes, inner = [], name
    return nodes, {inner: array}, array.size


def steps_on_maps(draw, shape, image, out):
    """A convolution or a computed Pad of a map `(C, H, W)`."""
    channels, height, width = shape
    if draw(st.booleans()):
        sides = draw(st.lists(st.integers(0, 2), min_size=4, max_size=4))
        nodes, stored = margins(f"{out}/pads", sides)
        left, right, top, bottom = sides
        shape = (channels, height + top + bottom, width + left + right)
        return [*nodes, node("Pad", [image, f"{out}/pads"], [out])], stored, 0, shape
    side, after = draw(st.integers(1, min(3, height, width))), draw(st.integers(2, 4))
    nodes, stored, params = weight(draw, (after, channels, side, side), f"{out}/w")
    stored[f"{out}/b"] = drawn(after)
    shape = (after, height - side + 1, width - side + 1)
    conv = node("Conv", [image, f"{out}/w", f"{out}/b"], [out])
    return [*nodes, conv], stored, params + after, shape


def steps_on_tokens(draw, shape, tokens, out):
    """A class token, a linear layer or an attention of tokens `(T, C)`."""
    length, width = shape
    match draw(st.sampled_from(["token", "linear", "attention"])):
        case "token":
            nodes, stored = size_of(tokens, 0, f"{out}/n")
            nodes += [
                node("Unsqueeze", [f"{out}/n", "zeros"], [f"{out}/n1"]),
                node("Concat", [f"{out}/n1", "ones"], [f"{out}/to"], axis=0),
                node("Expand", [f"{out}/token", f"{out}/to"], [f"{out}/tokens"]),
                node("Concat", [f"{out}/tokens", tokens], [out], axis=1),
            ]
            stored[f"{out}/token"] = drawn(1, 1, width)
            return nodes, stored, width, (length + 1, width)
        case "linear":
            after = draw(st.integers(2, 4))  # a class token of one element is not counted
            nodes, stored, params = weight(draw, (width, after), f"{out}/w")
            stored[f"{out}/b"] = drawn(after)
            nodes.append(node("MatMul", [tokens, f"{out}/w"], [f"{out}/p"]))
            nodes.append(node("Add", [f"{out}/p", f"{out}/b"], [out]))
            return nodes, stored, params + after, (length, after)
    nodes = [
        node("Transpose", [tokens], [f"{out}/t"], perm=[0, 2, 1]),
        node("MatMul", [tokens, f"{out}/t"], [f"{out}/scores"]),
        node("MatMul", [f"{out}/scores", tokens], [out]),
    ]
    return nodes, {}, 0, shape


@st.composite
def networks(draw):
    """A network with computed sizes and weights, its number of parameters, and a batch."""
    shape = (draw(st.integers(2, 3)), draw(st.integers(3, 6)), draw(st.integers(3, 6)))
    first, name, num_params = shape, "x", 0
    nodes, stored = [], {
        "zeros": np.array([0]), "ones": np.array([1, 1]), "half": np.float32(0.5), "minus": [-1]
    }  # fmt: skip

    def add(step):
        nonlocal shape, name, num_params
        out = f"h{len(nodes)}"
        more, arrays, params, shape = step(draw, shape, name, out)
        nodes.extend(more)
        stored.update(arrays)
        name, num_params = out, num_params + params

    # A first layer, as what is in front of it scales pixels
    more, arrays, num_params = weight(draw, (2, first[0], 1, 1), "w")
    nodes += [*more, node("Conv", ["x", "w"], ["first"])]
    stored |= arrays
    shape, name = (2, *first[1:]), "first"
    for _ in range(draw(st.integers(0, 3))):
        add(steps_on_maps)
    for axis in (0, 1):
        more, arrays = size_of(name, axis, f"size{axis}")
        nodes += [*more, node("Unsqueeze", [f"size{axis}", "zeros"], [f"side{axis}"])]
        stored |= arrays
    nodes += [
        node("Concat", ["side0", "side1", "minus"], ["flat"], axis=0),
        node("Reshape", [name, "flat"], ["columns"]),
        node("Transpose", ["columns"], ["tokens"], perm=[0, 2, 1]),
    ]
    shape, name = (shape[1] * shape[2], shape[0]), "tokens"
    for _ in range(draw(st.integers(0, 3))):
        add(steps_on_tokens)
    graph = helper.make_graph(
        nodes,
        "random",
        [helper.make_tensor_value_info("x", FLOAT, ["n", *first])],
        [helper.make_empty_tensor_value_info(name)],
        [numpy_helper.from_array(np.array(array), key) for key, array in stored.items()],
    )
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return model, num_params, draw(st.integers(1, 3))


def shapes_in_onnxruntime(model, batch):
    """Run a model; return the shape that each of its tensors has."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    names = [name for one in copy.graph.node for name in one.output]
    del copy.graph.output[:]
    copy.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        copy.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    dims = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    image = drawn(batch, *dims[1:])
    arrays = session.run(names, {"x": image})
    shapes = {name: array.shape for name, array in zip(names, arrays, strict=True)}
    stored = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return shapes | stored | {"x": image.shape}


@given(networks())
def test_random_networks_count_what_onnxruntime_computes(network):
    model, num_params, batch = network
    shapes = shapes_in_onnxruntime(model, batch)
    num_macs = 0
    for one in model.graph.node:
        if one.op_type == "Conv":
            num_macs += math.prod(shapes[one.output[0]]) * math.prod(shapes[one.input[1]][1:])
        elif one.op_type == "MatMul":
            num_macs += math.prod(shapes[one.output[0]]) * shapes[one.input[0]][-1]
    cost = count_model(model, batch)
    assert (cost.num_macs, cost.num_params, cost.uncounted_ops) == (num_macs, num_params, ())
    inferred = infer_shapes(model, batch).shapes
    assert {name: inferred[name] for name in shapes} == shapes
