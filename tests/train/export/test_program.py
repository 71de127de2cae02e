"""An int8 file as a program of PyTorch, against ONNX Runtime on the file."""

import numpy as np
import onnx
import pytest
import torch
from mixed_network import SHAPE, Mixed, with_statistics
from onnx import helper, numpy_helper
from quantized import int8_of, x86_sums

from kdtool.edge.session import open_session
from kdtool.errors import GateError
from kdtool.train.export.onnx_file import as_given, make_onnx
from kdtool.train.export.targets.program import program_of


def draw_images(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *SHAPE), np.uint8)


@pytest.fixture
def int8_file(tmp_path):
    """A function that writes an int8 file; returns its path."""

    def write(form="pixels", target="x86"):
        torch.manual_seed(0)
        fp32 = make_onnx(with_statistics(Mixed()), SHAPE, 5, 18, form)
        path = tmp_path / "student.int8.onnx"
        onnx.save(int8_of(fp32, as_given(draw_images(40), form), target), path)
        return path

    return write


@torch.no_grad()
def answers_of(program, images):
    if program.takes_pixels:
        given = torch.from_numpy(images).permute(0, 2, 3, 1).short().sub(128).to(torch.int8)
    else:
        given = torch.from_numpy(images).float() / 255
    found = [program(given[at : at + 1]) for at in range(len(given))]
    return [torch.cat(one).numpy() for one in zip(*found, strict=True)]


@pytest.mark.parametrize(
    ("form", "target"),
    [
        pytest.param("pixels", "x86", marks=x86_sums),
        ("pixels", "arm"),
        ("tensor", "portable"),
        pytest.param("resize", "x86", marks=x86_sums),
        ("resize", "portable"),
    ],
)
def test_a_program_returns_what_the_file_does(form, target, int8_file):
    path, images = int8_file(form, target), draw_images(24, seed=1)
    expected, probabilities = open_session(path).run(
        ["logits", "probabilities"], {"image": as_given(images, form)}
    )
    found, given = answers_of(program_of(path, SHAPE), images)
    arrays = {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}
    step = arrays.get("logits_scale", np.ptp(expected) / 255)
    # Sums of two branches are rounded otherwise where they lie between two integers.
    assert np.abs(found - expected).max() <= 4.01 * step
    assert np.abs(found - expected).mean() <= 0.5 * step
    close = np.abs(found - expected).max(axis=1) < step / 2
    assert close.any()
    assert np.abs(given - probabilities)[close].max() < 1e-5


def test_a_program_is_exported_with_integers_and_without_sizes_to_compute(int8_file):
    program = program_of(int8_file(), SHAPE)
    graph = torch.export.export(program, (program.example(),)).graph
    names = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    assert not [one for one in names if "scalar" in one or "sym" in one]
    layers = [one for one in names if one.startswith(("aten.conv2d", "aten.linear"))]
    assert len(layers) == 7
    weights = [one for one in names if "dequantize_per_channel" in one]
    assert len(weights) == 7  # each layer of the network has int8 weights
    back = [node for node in graph.nodes if "dequantize_per_tensor" in str(node.target)]
    shared = [node for node in back if len(node.users) > 1]  # cannot be fused with its readers
    assert [{str(user.target) for user in node.users} for node in shared] == [
        {"aten.softmax.int", "output"}  # the logits
    ]


def scaled_gemm(model):
    node = next(one for one in model.graph.node if one.op_type == "Gemm")
    node.attribute.append(helper.make_attribute("alpha", 2.0))


def rename_max_pool(model):
    node = next(one for one in model.graph.node if one.op_type == "MaxPool")
    node.op_type = "LpPool"


def read_with_two_scales(model):
    node = next(one for one in model.graph.node if one.op_type == "QuantizeLinear")
    other = helper.make_node(
        "DequantizeLinear", [node.output[0], "logits_scale", node.input[2]], ["twice"]
    )
    reader = next(
        one
        for one in model.graph.node
        if one.op_type == "DequantizeLinear" and one.input[0] == node.output[0]
    )
    layer = next(one for one in model.graph.node if reader.output[0] in one.input)
    total = helper.make_node("Add", [reader.output[0], "twice"], ["total"])
    at = list(model.graph.node).index(layer)
    layer.input[:] = ["total" if one == reader.output[0] else one for one in layer.input]
    model.graph.node.insert(at, total)
    model.graph.node.insert(at, other)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (scaled_gemm, "alpha or beta other than 1"),
        (rename_max_pool, r"PyTorch has no form of its nodes LpPool \(node_max_pool2d\)"),
        (read_with_two_scales, "its integers are read with several scales"),
    ],
)
def test_what_has_no_program_is_refused(change, words, int8_file):
    path = int8_file()
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    with pytest.raises(GateError, match="its int8 file has no form in PyTorch: .*" + words):
        program_of(path, SHAPE)
