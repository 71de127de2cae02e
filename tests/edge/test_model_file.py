import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kdtool.edge.model_file import (
    external_files,
    model_opset,
    read_model,
)
from kdtool.errors import ModelFileError


@pytest.fixture
def split_onnx(make_onnx):
    """A model whose only weight is in `w.data` next to it."""
    weight = {"w": np.ones((6, 2), np.float32)}
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"])
    path = make_onnx([matmul], {"x": (TensorProto.FLOAT, ["n", 6])}, weight)
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="w.data", size_threshold=0
    )
    return path


def move_weights(path, location):
    """Let the weights of `split_onnx` point to `location`."""
    model = read_model(path)
    (entry,) = (e for e in model.graph.initializer[0].external_data if e.key == "location")
    entry.value = location
    return model


def test_external_files_are_found_next_to_the_model(split_onnx):
    assert external_files(split_onnx, read_model(split_onnx)) == [split_onnx.parent / "w.data"]


def external(location):
    tensor = TensorProto(
        data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL, name=location
    )
    tensor.external_data.add(key="location", value=location)
    return tensor


def test_external_files_of_nodes_bodies_and_functions_are_found(tiny_onnx):
    model = read_model(tiny_onnx)
    constant = helper.make_node("Constant", [], ["c"], value=external("constant.data"))
    deep = helper.make_node("Constant", [], ["d"], value=external("deep.data"))
    inner = helper.make_graph([deep], "inner", [], [])
    body = helper.make_graph(
        [helper.make_node("If", ["b"], ["d"], then_branch=inner, else_branch=inner)],
        "body",
        [],
        [],
        [external("body.data")],
    )
    loop = helper.make_node("Loop", ["n", "b"], ["e"], body=body)
    model.graph.node.extend([constant, loop])
    opsets = [helper.make_opsetid("", 18)]
    inside = helper.make_node("Constant", [], ["y"], value=external("function.data"))
    model.functions.append(helper.make_function("own", "F", [], ["y"], [inside], opsets))
    names = ["body.data", "constant.data", "deep.data", "function.data"]
    for name in names:
        with pytest.raises(ModelFileError, match=f"weights in {name}, which is not in its folder"):
            external_files(tiny_onnx, model)
        (tiny_onnx.parent / name).write_bytes(bytes(4))
    assert [file.name for file in external_files(tiny_onnx, model)] == names


def test_a_model_in_one_file_has_no_external_files(tiny_onnx):
    assert external_files(tiny_onnx, read_model(tiny_onnx)) == []


def test_missing_external_file_is_named(split_onnx):
    with pytest.raises(ModelFileError, match=r"weights in gone\.data, which is not in its folder"):
        external_files(split_onnx, move_weights(split_onnx, "gone.data"))


@pytest.mark.parametrize("location", ["../outside.data", "/etc/passwd"])
def test_external_file_outside_the_folder_is_refused(split_onnx, location):
    with pytest.raises(ModelFileError, match="outside its folder"):
        external_files(split_onnx, move_weights(split_onnx, location))


def test_opset_is_that_of_the_standard_operators(tiny_onnx):
    model = read_model(tiny_onnx)
    model.opset_import.add(domain="com.microsoft", version=99)
    assert model_opset(model) == 18
