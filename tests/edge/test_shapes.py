import numpy as np
import pytest
from onnx import TensorProto, helper

from kdtool.edge.count.graph import count_graph, count_model
from kdtool.edge.model_file import read_model
from kdtool.edge.shapes import input_shapes, parse_shape
from kdtool.errors import KdtoolError, ModelFileError

FLOAT = TensorProto.FLOAT


@pytest.mark.parametrize("dims", [["batch", 8, 8, 3], [None, 8, 8, 3], [5, 8, 8, 3], [-1, 8, 8, 3]])
def test_an_open_batch_is_filled_in(dims):
    assert input_shapes({"x": dims}, batch_size=5) == {"x": (5, 8, 8, 3)}


@pytest.mark.parametrize("key", ["", "x"])
@pytest.mark.parametrize("dims", [["n", "h", None, 3], [5, "h", 8, 3], None, []])
def test_what_the_file_leaves_open_is_given(dims, key):
    assert input_shapes({"x": dims}, 5, {key: (8, 8, 3)}) == {"x": (5, 8, 8, 3)}


def test_every_input_has_a_shape_and_one_has_the_batch():
    declared = {"image": ["n", 3, "h", "w"], "anchors": [10, 4], "threshold": []}
    shapes = input_shapes(declared, 2, {"image": (3, 8, 8)})
    assert shapes == {"image": (2, 3, 8, 8), "anchors": (10, 4), "threshold": ()}


@pytest.mark.parametrize(
    ("declared", "given", "shapes"),
    [
        ({"x": ["n", 6], "state": [2, "n", 8]}, {}, {"x": (5, 6), "state": (2, 5, 8)}),
        ({"ids": ["n", "s"], "mask": ["n", "s"]}, {"ids": (7,)}, {"ids": (5, 7), "mask": (5, 7)}),
    ],
)
def test_dimensions_with_one_name_have_one_size(declared, given, shapes):
    assert input_shapes(declared, 5, given) == shapes


@pytest.mark.parametrize(
    "declared",
    [
        {"x": ["?", 3], "y": [2, "?"]},
        {"x": ["None", "None"], "y": [2, "None"]},
        {"x": [-1, 3], "y": [2, -1]},
    ],
)
def test_a_name_of_everything_that_is_open_says_nothing(declared):
    with pytest.raises(ModelFileError, match=r"input 'y' has the shape .*--shape y="):
        input_shapes(declared, 5, {"x": (3,)})


@pytest.mark.parametrize(
    ("declared", "given", "message"),
    [
        (
            {"x": ["N", 3, "H", "W"]},
            {},
            "input 'x' has the shape (N, 3, H, W); give numbers, without the batch: "
            "--shape 3,H,W",
        ),
        ({"x": [1, None, 8]}, {}, "the shape (1, ?, 8); give numbers, without the batch: "
                                  "--shape ?,8"),
        ({"x": None}, {}, "input 'x' has no shape; give numbers, without the batch: "
                          "--shape 3,224,224"),
        (
            {"left": ["n", 3, "h"], "right": ["n", "k"], "fixed": ["n", 2]},
            {},
            "input 'left' has the shape (n, 3, h); input 'right' has the shape (n, k); "
            "give numbers, without the batch: --shape left=3,h --shape right=k",
        ),
        (
            {"x": ["n", 3, "h", "w"]},
            {"": (224, 224, 3)},
            "the shape (n, 3, h, w), and --shape 224,224,3 does not fit it",
        ),
        ({"x": ["n", 3, 8]}, {"x": (1, 3, 8)}, "give the shape without the batch"),
        ({"x": ["n", 3]}, {"y": (3,)}, "is for the input 'y', but the model has the inputs 'x'"),
        (
            {"x": ["n", 3], "y": ["n", 3]},
            {"": (3,)},
            "the model has the inputs 'x', 'y'; --shape needs the name of one: --shape NAME=",
        ),
        ({"x": [4, 8]}, {}, "the batch size is fixed to 4, but 2 was requested; use 4"),
        ({"x": ["n", 0, 3]}, {}, "shape (n, 0, 3): every dimension must be at least 1"),
    ],
)  # fmt: skip
def test_what_does_not_make_a_shape_says_what_to_give(declared, given, message):
    with pytest.raises(ModelFileError) as error:
        input_shapes(declared, 2, given)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("3,224,224", ("", (3, 224, 224))),
        ("image=3, 8", ("image", (3, 8))),
        ("a=b:0=7", ("a=b:0", (7,))),
    ],
)
def test_shape_on_the_command_line(text, shape):
    assert parse_shape(text) == shape


@pytest.mark.parametrize(
    "text", ["", "x=", "3,,4", "3x224x224", "0,3", "-1,3", "3,h", "3.0", "\u0663"]
)
def test_what_is_no_shape_on_the_command_line_is_refused(text):
    with pytest.raises(KdtoolError, match="without the batch, such as --shape 3,224,224"):
        parse_shape(text)


def test_a_file_without_a_static_shape_is_counted_for_the_given_one(make_onnx):
    conv = helper.make_node("Conv", ["x", "w"], ["y"])
    stored = {"w": np.zeros((4, 3, 3, 3), np.float32)}
    path = make_onnx([conv], {"x": (FLOAT, ["n", 3, "h", "w"])}, stored)
    with pytest.raises(ModelFileError, match=f"cannot count {path}: input 'x' .*--shape 3,h,w"):
        count_graph(path)
    assert count_graph(path, 2, {"": (3, 8, 10)}).num_macs == 2 * (6 * 8) * 4 * 27


def test_a_file_with_several_inputs_is_counted(make_onnx):
    matmul = helper.make_node("MatMul", ["a", "b"], ["y"])
    path = make_onnx([matmul], {"a": (FLOAT, ["n", 3, 5]), "b": (FLOAT, ["n", "k", 7])})
    assert count_graph(path, 2, {"b": (5, 7)}).num_macs == 2 * 3 * 5 * 7


def test_minus_one_is_an_open_dimension(make_onnx):
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = make_onnx([matmul], {"x": (FLOAT, [-1, 5])}, {"w": np.ones((5, 7), np.float32)})
    assert count_graph(path, 3).num_macs == 3 * 5 * 7
    path = make_onnx([matmul], {"x": (FLOAT, [-1, -1, 5])}, {"w": np.ones((5, 7), np.float32)})
    with pytest.raises(ModelFileError, match=r"the shape \(\?, \?, 5\); .*--shape \?,5"):
        count_graph(path)


def test_a_model_in_memory_is_counted_like_its_file_and_not_changed(make_onnx):
    weight = np.ones((100, 90), np.float32)  # large enough that its values are dropped
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = make_onnx([matmul], {"x": (FLOAT, ["n", 100])}, {"w": weight})
    model = read_model(path)
    assert count_model(model) == count_graph(path)
    assert model == read_model(path)
