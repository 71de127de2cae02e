"""Files that cannot be profiled, and the one clear message that each gets."""

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kdtool.edge.count.graph import count_graph
from kdtool.edge.model_file import external_files, read_model
from kdtool.edge.session import open_session
from kdtool.errors import ModelFileError

FLOAT = TensorProto.FLOAT
relu = helper.make_node("Relu", ["x"], ["y"])


@pytest.fixture
def split(make_onnx):
    """A function that makes a model that refers to weights at a location."""

    def make(location):
        nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
        path = make_onnx(nodes, {"x": (FLOAT, ["n", 60])}, {"w": np.ones((60, 90), np.float32)})
        onnx.save(
            onnx.load(path), path, save_as_external_data=True, location="w.data", size_threshold=0
        )
        model = read_model(path)
        (entry,) = (e for e in model.graph.initializer[0].external_data if e.key == "location")
        entry.value = str(location)
        path.write_bytes(model.SerializeToString())
        return path

    return make


def weights_of(path):
    return external_files(path, read_model(path))


@pytest.mark.parametrize("open_file", [open_session, weights_of])
def test_weights_outside_the_folder_are_not_touched(tmp_path, split, open_file):
    outside = tmp_path.with_name(f"{tmp_path.name}-outside.data")
    outside.write_bytes(bytes(60 * 90 * 4))
    (tmp_path / "link.data").symlink_to(outside)
    inside = tmp_path / "w.data"  # but by a path that is another one on another machine
    for location in (f"../{outside.name}", outside, "link.data", inside):
        path = split(location)
        with pytest.raises(ModelFileError, match="outside its folder or by an absolute path"):
            open_file(path)


@pytest.mark.parametrize("open_file", [open_session, weights_of])
def test_weights_that_are_missing_or_cut_short_are_named(tmp_path, split, open_file):
    path = split("gone.data")
    with pytest.raises(ModelFileError, match=r"gone\.data, which is not in its folder; copy both"):
        open_file(path)
    path = split("w.data")
    (tmp_path / "w.data").write_bytes(b"short")
    with pytest.raises(ModelFileError, match=r"w\.data, which is truncated: it has 5 of "):
        open_file(path)


def test_a_size_that_is_not_a_number_is_damage(split):
    path = split("w.data")
    model = read_model(path)
    next(e for e in model.graph.initializer[0].external_data if e.key == "length").value = "x"
    with pytest.raises(ModelFileError, match="is damaged or truncated"):
        external_files(path, model)


def test_invalid_text_is_damage(tiny_onnx):
    content = tiny_onnx.read_bytes()
    tiny_onnx.write_bytes(content.replace(b"GlobalAveragePool", b"Global\xffveragePool"))
    with pytest.raises(ModelFileError, match=r"is damaged: its graph\.node\.op_type is not text"):
        read_model(tiny_onnx)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_an_error(tiny_onnx):
    tiny_onnx.chmod(0)
    with pytest.raises(ModelFileError, match=r"cannot read the model .*Permission denied"):
        read_model(tiny_onnx)


def test_an_input_that_is_not_a_tensor_is_named(make_onnx):
    path = make_onnx([helper.make_node("SequenceAt", ["x", "i"], ["y"])], {}, {"i": np.array(0)})
    model = onnx.load(path)
    model.graph.input.append(helper.make_tensor_sequence_value_info("x", FLOAT, None))
    onnx.save(model, path)
    with pytest.raises(ModelFileError, match="input 'x' is a sequence; expected a tensor"):
        count_graph(path)


def test_images_smaller_than_the_kernel_make_no_negative_count(make_onnx):
    path = make_onnx(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        {"x": (FLOAT, ["n", 3, 2, 2])},
        {"w": np.ones((1, 3, 5, 5), np.float32)},
    )
    cost = count_graph(path)
    assert (cost.num_macs, cost.uncounted_ops) == (0, ("Conv",))


def test_a_tensor_without_elements_costs_nothing(make_onnx):
    nodes = [
        helper.make_node("Slice", ["x", "start", "end"], ["nothing"]),
        helper.make_node("MatMul", ["nothing", "w"], ["y"]),
    ]
    stored = {
        "start": np.array([0]), "end": np.array([0]), "w": np.ones((3, 2), np.float32)
    }  # fmt: skip
    path = make_onnx(nodes, {"x": (FLOAT, ["n", 3])}, stored)
    assert (count_graph(path).num_macs, count_graph(path).uncounted_ops) == (0, ())
    (result,) = open_session(path).run(None, {"x": np.ones((1, 3), np.float32)})
    assert result.shape == (0, 2)


def test_a_weight_whose_shape_is_computed_makes_the_count_partial(make_onnx):
    nodes = [
        helper.make_node("Mystery", ["x"], ["s"], domain="acme"),
        helper.make_node(
            "ConstantOfShape", ["s"], ["w"], value=helper.make_tensor("", FLOAT, [1], [1])
        ),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    cost = count_graph(make_onnx(nodes, {"x": (FLOAT, ["n", 3])}))
    assert cost.uncounted_params == ("ConstantOfShape",)
    assert cost.uncounted_macs == ("MatMul", "acme.Mystery")
    assert cost.num_params == 0


def test_newer_files_are_counted_as_far_as_they_are_understood(make_onnx):
    path = make_onnx([relu], {"x": (FLOAT, ["n", 3])}, opset=99)
    assert count_graph(path).num_macs == 0
    with pytest.raises(ModelFileError, match="written in opset 99"):
        open_session(path)


def test_a_path_may_have_any_letters(make_onnx, tmp_path):
    (tmp_path / "modèle 猫").mkdir()
    path = make_onnx([relu], {"x": (FLOAT, ["n", 3])}, name="modèle 猫/[bold]ß.onnx")
    assert count_graph(path).num_macs == 0
    assert open_session(path).get_inputs()[0].name == "x"
