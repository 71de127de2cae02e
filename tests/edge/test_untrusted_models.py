"""Model files of strangers: each fault is one message, and no text or size gets past it."""

import numpy as np
import onnx
import pytest
from classifiers import HEIGHT, WIDTH
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from kdtool.edge.count.graph import count_graph
from kdtool.edge.explain.files import ExplainOptions, explain_files
from kdtool.edge.latency.job import random_input
from kdtool.edge.model_file import read_model
from kdtool.edge.predict import predict_files
from kdtool.edge.session import open_session
from kdtool.errors import ModelFileError

FLOAT = TensorProto.FLOAT
IMAGE = {"x": (FLOAT, ["n", 3, 8, 8])}
node = helper.make_node


def body(results):
    return helper.make_graph(
        [node("Identity", ["x"], ["r"])],
        "body",
        [],
        [helper.make_tensor_value_info("r", FLOAT, None)] * results,
    )


NORM = node("BatchNormalization", ["x", "s", "s", "s", "s"], ["a"])
CIRCLES = {
    "a result of its own": ([node("Add", ["y", "x"], ["y"])], "form a circle"),
    "two operators": (
        [node("Identity", ["a"], ["b"]), node("Identity", ["b"], ["a"]),
         node("Relu", ["a"], ["y"])],
        "form a circle",
    ),
    # In front of it, a third operator has a result of the same name: every input is there
    "a name that is used twice": (
        [NORM, node("Identity", ["a"], ["b"]), node("Identity", ["b"], ["a"]),
         node("Relu", ["a"], ["y"])],
        "it has 2 results with the name 'a'",
    ),
    "a name that is used twice, the last first": (
        [node("Identity", ["a"], ["b"]), node("Identity", ["b"], ["a"]), NORM,
         node("Relu", ["a"], ["y"])],
        "it has 2 results with the name 'a'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CIRCLES)
def test_operators_in_a_circle_are_one_message(make_onnx, kind):
    nodes, message = CIRCLES[kind]
    path = make_onnx(nodes, IMAGE, {"s": np.ones(3, np.float32)})
    with pytest.raises(ModelFileError, match=message):
        count_graph(path)


@pytest.mark.parametrize("results", [0, 2])
def test_a_branch_with_other_outputs_than_its_if_is_one_message(make_onnx, results):
    branch = body(results)
    nodes = [node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)]
    with pytest.raises(ModelFileError, match=f"has 1 outputs, and its then_branch {results}"):
        count_graph(make_onnx(nodes, IMAGE, {"c": np.array(True)}))


MARK = "marked"  # replaced by as many bytes that are no UTF-8
TEXTS = {
    "graph.name": lambda model: setattr(model.graph, "name", MARK),
    "graph.node.name": lambda model: setattr(model.graph.node[0], "name", MARK),
    "graph.node.op_type": lambda model: setattr(model.graph.node[0], "op_type", MARK),
    "graph.node.domain": lambda model: setattr(model.graph.node[0], "domain", MARK),
    "graph.node.attribute.name": lambda model: model.graph.node[0].attribute.add(name=MARK),
    "graph.input.name": lambda model: model.graph.input.add(name=MARK),
    "graph.output.name": lambda model: model.graph.output.add(name=MARK),
    "graph.value_info.name": lambda model: model.graph.value_info.add(name=MARK),
    "graph.initializer.name": lambda model: model.graph.initializer.add(name=MARK),
    "graph.input.type.tensor_type.shape.dim.dim_param": lambda model: setattr(
        model.graph.input[0].type.tensor_type.shape.dim[0], "dim_param", MARK
    ),
    "metadata_props.key": lambda model: model.metadata_props.add(key=MARK, value="1"),
    "metadata_props.value": lambda model: model.metadata_props.add(key="kdtool.x", value=MARK),
    "opset_import.domain": lambda model: model.opset_import.add(domain=MARK, version=1),
    "functions.name": lambda model: model.functions.add(name=MARK, domain="d"),
}


def damaged(path, change):
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString().replace(MARK.encode(), b"\xff\xfemark"))
    return path


@pytest.mark.parametrize("place", TEXTS)
def test_bytes_that_are_no_text_are_named_by_their_place(make_classifier, place):
    path = damaged(make_classifier().path, TEXTS[place])
    with pytest.raises(ModelFileError, match=f"is damaged: its {place} is not text in UTF-8; copy"):
        read_model(path)


@pytest.mark.parametrize(
    "place", ["metadata_props.key", "metadata_props.value",
              "graph.input.type.tensor_type.shape.dim.dim_param"],
)  # fmt: skip
def test_onnxruntime_is_not_asked_for_bytes_that_are_no_text(make_classifier, place):
    path = damaged(make_classifier().path, TEXTS[place])
    with pytest.raises(ModelFileError, match="is damaged: a name or its metadata are not text"):
        open_session(path)


def test_notes_for_people_may_have_any_bytes(make_classifier):
    path = damaged(make_classifier().path, lambda model: setattr(model, "doc_string", MARK))
    assert read_model(path).graph.node
    assert open_session(path).get_inputs()


def test_an_input_beyond_any_memory_is_refused_before_memory_is_taken():
    declared = {"x": (["n", 2**40, 2**40], np.float32)}
    with pytest.raises(ModelFileError, match="'x' would have 1,208,925,819,614,629,174,706,176 va"):
        random_input(declared, 1, {})


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "a.png"
    Image.new("L", (WIDTH, HEIGHT), 100).save(path)
    return path


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_one_message(make_classifier, image, tmp_path, number):
    made = make_classifier()
    model = onnx.load(made.path)
    (bias,) = (one for one in model.graph.initializer if one.name == "bias")
    bias.CopyFrom(numpy_helper.from_array(np.full(3, number, np.float32), "bias"))
    onnx.save(model, made.path)
    message = r"answers .*a\.png with NaN or infinity, and not with probabilities"
    with pytest.raises(ModelFileError, match=message):
        predict_files(made.path, [image])
    with pytest.raises(ModelFileError, match=message):
        explain_files(made.path, [image], tmp_path / "out", ExplainOptions(), None)
    assert not (tmp_path / "out").exists()
