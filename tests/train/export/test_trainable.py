"""An ONNX file as a PyTorch module, against ONNX Runtime on the same file."""

import copy

import numpy as np
import onnx
import pytest
import torch
from mixed_network import SHAPE, Mixed, with_statistics
from onnx import numpy_helper
from quantized import int8_of, x86_sums
from torch import nn

from kdtool.edge.session import open_session
from kdtool.errors import KdtoolError
from kdtool.train.export.onnx_file import as_given, make_onnx
from kdtool.train.export.trainable import fake_quantized, trainable, weights_of, with_weights
from kdtool.train.models.networks import build_model


def made(form):
    torch.manual_seed(0)
    return make_onnx(with_statistics(Mixed()), SHAPE, 5, 18, form)


def draw_images(count, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), np.uint8)


def floats(images):
    return torch.from_numpy(images).float() / 255


@pytest.fixture(scope="module")
def fp32():
    return made("pixels")


@pytest.fixture(scope="module")
def int8(fp32):
    return int8_of(fp32, as_given(draw_images(40), "pixels"), "portable")


def logits_of_file(model, images, folder, form="pixels"):
    onnx.save(model, folder / "model.onnx")
    return open_session(folder / "model.onnx").run(["logits"], {"image": as_given(images, form)})[0]


@torch.no_grad()
def logits_of(module, images):
    return module.eval()(floats(images)).numpy()


def assert_equal_files(model, small, shape, folder):
    """The modules of both files return what ONNX Runtime does."""
    images = draw_images(24, shape, seed=1)
    expected, found = logits_of_file(model, images, folder), logits_of(trainable(model), images)
    assert np.abs(found - expected).max() <= 1e-5 * max(1, np.abs(expected).max())
    expected = logits_of_file(small, images, folder)
    found = logits_of(fake_quantized(small, model), images)
    scales = {one.name: numpy_helper.to_array(one) for one in small.graph.initializer}
    step = scales.get("logits_scale", np.ptp(expected) / 255)
    assert np.abs(found - expected).max() <= 4.01 * step
    assert np.abs(found - expected).mean() <= 0.5 * step
    margin = np.sort(expected)[:, -1] - np.sort(expected)[:, -2]
    assert (found.argmax(1) == expected.argmax(1))[margin > 4 * step].all()


def test_both_modules_return_what_the_files_do(fp32, int8, tmp_path):
    assert_equal_files(fp32, int8, SHAPE, tmp_path)


@pytest.mark.parametrize("target", [pytest.param("x86", marks=x86_sums), "arm"])
def test_a_module_rounds_as_the_file_of_its_target(fp32, target, tmp_path):
    small = int8_of(fp32, as_given(draw_images(40), "pixels"), target)
    assert_equal_files(fp32, small, SHAPE, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "mnist-cnn",
        "mnist-mlp",
        pytest.param("torchvision:mobilenet_v3_small", marks=pytest.mark.nightly),
        "torchvision:resnet18",
        "torchvision:squeezenet1_1",
    ],
)
def test_the_networks_of_recipes_learn_as_their_files_compute(name, tmp_path):
    shape = (1, 12, 12) if name.startswith("mnist") else (3, 64, 64)
    model = make_onnx(with_statistics(build_model(name, shape, 10, seed=0)), shape, 10, 18)
    small = int8_of(model, as_given(draw_images(8, shape), "pixels"), "portable")
    assert_equal_files(model, small, shape, tmp_path)


@pytest.mark.parametrize("form", ["resize", "tensor"])
def test_every_input_form_has_the_same_module(fp32, form):
    images = draw_images(6)
    found = logits_of(trainable(made(form)), images)
    np.testing.assert_allclose(found, logits_of(trainable(fp32), images), atol=1e-6)


def test_all_weights_of_the_layers_learn_and_are_rounded(fp32, int8):
    module = fake_quantized(int8, fp32)
    in_files = {one.name for one in fp32.graph.initializer if len(one.dims) in (2, 4)}
    assert set(module.names) >= in_files
    integers = {one.name for one in int8.graph.initializer}
    rounded = {name for name in module.names if f"{name}_quantized" in integers}
    assert rounded == module.roundings.keys()
    module(floats(draw_images(6))).square().sum().backward()
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in module.weights)


def test_weights_are_rounded_to_the_integers_of_the_file_made_from_them(fp32):
    """After a step of learning, `to_int8` gives the weights that the module computed with."""
    pixels = as_given(draw_images(40), "pixels")
    small = int8_of(fp32, pixels, "x86")
    module = fake_quantized(small, fp32)
    with torch.no_grad():
        for one in module.weights:
            one.mul_(torch.linspace(0.5, 2, len(one)).reshape(-1, *[1] * (one.ndim - 1)))
    values = {name: module.get_buffer(place) for name, place in module.constants.items()}
    computed = module._weights(values)
    again = int8_of(with_weights(fp32, module), pixels, "x86")
    stored = {one.name: numpy_helper.to_array(one) for one in again.graph.initializer}
    weights = [name for name in module.names if f"{name}_scale" in stored]
    assert len(weights) >= 6
    for name in weights:
        rounding = module.roundings[name]
        shape = [1] * stored[f"{name}_quantized"].ndim
        shape[rounding.axis] = -1
        expected = stored[f"{name}_quantized"] * stored[f"{name}_scale"].reshape(shape)
        np.testing.assert_array_equal(computed[rounding.result].detach().numpy(), expected)


def test_the_file_of_changed_weights_returns_what_the_module_does(fp32, tmp_path):
    module, images = trainable(fp32), draw_images(6)
    before = fp32.SerializeToString()
    torch.manual_seed(1)
    with torch.no_grad():
        for one in module.weights:
            one.add_(0.1 * torch.randn_like(one))
    changed = with_weights(fp32, module)
    found, expected = logits_of_file(changed, images, tmp_path), logits_of(module, images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert np.abs(expected - logits_of(trainable(fp32), images)).max() > 0.1
    assert fp32.SerializeToString() == before
    assert [one.name for one in changed.graph.initializer] == [
        one.name for one in fp32.graph.initializer
    ]


def test_a_copy_is_independent_and_channels_last_changes_nothing(fp32, int8):
    module, images = fake_quantized(int8, fp32), draw_images(6)
    other = copy.deepcopy(module).to(memory_format=torch.channels_last)
    np.testing.assert_allclose(logits_of(other, images), logits_of(module, images), atol=1e-5)
    nn.init.zeros_(other.weights[0])
    assert module.weights[0].abs().sum() > 0


def edited(model, change):
    found = onnx.ModelProto()
    found.CopyFrom(model)
    change(found.graph)
    return found


def rename(operator, name):
    def change(graph):
        for node in graph.node:
            if node.op_type == operator:
                node.op_type = name

    return change


def set_attribute(graph):
    node = next(one for one in graph.node if one.op_type == "MaxPool")
    next(one for one in node.attribute if one.name == "auto_pad").s = b"SAME_LOWER"


def add_attribute(graph):
    node = next(one for one in graph.node if one.op_type == "Gemm")
    node.attribute.append(onnx.helper.make_attribute("nonsense", 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename("MaxPool", "LpPool"), r"no form of its nodes LpPool \(node_max_pool2d\); ship"),
        (rename("Conv", "Conv3"), r"Conv3 \(node_\w+\), Conv3 .*, Conv3 .* and 2 more; ship"),
        (add_attribute, r"Gemm \(\w+\): .*nonsense"),
        (set_attribute, r"MaxPool \(node_max_pool2d\): auto_pad = SAME_LOWER"),
    ],
)
def test_a_node_without_a_form_in_pytorch_is_named(fp32, change, message):
    with pytest.raises(KdtoolError, match=message):
        logits_of(trainable(edited(fp32, change)), draw_images(2))


def test_an_int8_file_of_another_network_is_refused(int8):
    other = make_onnx(nn.Sequential(nn.Flatten(), nn.Linear(768, 5)), SHAPE, 5, 18)
    (weight, *_) = weights_of(other.graph)
    with pytest.raises(KdtoolError, match=f"has no weight {weight}; make it from this fp32 file"):
        fake_quantized(int8, other)
