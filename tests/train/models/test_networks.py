import importlib
import sys
from pathlib import Path

import pytest
import torch

from kdtool.errors import KdtoolError
from kdtool.train.models.describe import describe_model
from kdtool.train.models.networks import as_input, build_model

MNIST = (1, 28, 28)


def num_params(model):
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(("name", "expected"), [("mnist-cnn", 1_011_466), ("mnist-mlp", 1_238_730)])
def test_the_models_of_the_course_report(name, expected):
    assert num_params(build_model(name, MNIST, 10, seed=0)) == expected


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 20)])
@pytest.mark.parametrize("name", ["mnist-cnn", "mnist-mlp", "resnet8"])
def test_built_in_models_follow_the_data(name, shape):
    model = build_model(name, shape, 3, seed=0)
    assert model(torch.rand(4, *shape)).shape == (4, 3)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_torchvision_model_takes_the_channels_and_classes_of_the_data(channels):
    model = build_model("torchvision:mobilenet_v2", (channels, 32, 32), 2, seed=0)
    assert model(torch.rand(2, channels, 32, 32)).shape == (2, 2)
    # 2,226,434 for RGB, as torchvision counts; the first convolution has 32 filters of 3x3
    assert num_params(model) == 2_226_434 + (channels - 3) * 32 * 9


def test_a_timm_model_takes_the_channels_and_classes_of_the_data():
    pytest.importorskip("timm")
    model = build_model("timm:resnet18", (1, 32, 32), 2, seed=0)
    assert model(torch.rand(2, 1, 32, 32)).shape == (2, 2)


def test_the_seed_decides_the_weights_and_nothing_else_changes():
    before = torch.random.get_rng_state()
    first, again, other = (build_model("mnist-mlp", MNIST, 10, seed) for seed in (1, 1, 2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert torch.equal(first.hidden1.weight, again.hidden1.weight)
    assert not torch.equal(first.hidden1.weight, other.hidden1.weight)


USERS_MODULE = """
from torch import nn

def small(image_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(image_shape[1] * image_shape[2], num_classes))

def wrong(image_shape, num_classes):
    return small(image_shape, num_classes + 1)

def none(image_shape, num_classes):
    return None

class View(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)
        self.linear = nn.Linear(4 * 26 * 26, num_classes)

    def forward(self, images):
        features = self.conv(images)
        return self.linear(features.view(len(features), -1))

def view(image_shape, num_classes):
    return View(num_classes)

text = "no function"
"""


@pytest.fixture
def users_folder(tmp_path, monkeypatch):
    (tmp_path / "users_models.py").write_text(USERS_MODULE)
    (tmp_path / "users_globals.py").write_text("globals()['small'] = print")
    (tmp_path / "users_imports.py").write_text("from no_such_module import missing")
    (tmp_path / "users_torn.py").write_text("from math import torn")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [place for place in sys.path if place])
    for name in ("users_models", "users_globals"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("users_folder")
def test_a_function_of_the_users_from_the_working_folder():
    assert num_params(build_model("users_models:small", (1, 4, 4), 3, seed=0)) == 16 * 3 + 3


@pytest.mark.usefixtures("users_folder")
def test_the_source_of_a_function_of_the_users_is_part_of_what_its_weights_depend_on():
    model = build_model("users_models:small", (1, 4, 4), 3, seed=0)
    before = describe_model("users_models:small", model)
    assert before == describe_model("users_models:small", model)
    Path("users_models.py").write_text(USERS_MODULE + "# changed")
    assert before != describe_model("users_models:small", model)


def test_the_layers_are_part_of_what_the_weights_depend_on():
    small, large = (build_model("mnist-mlp", (1, size, size), 10, seed=0) for size in (4, 5))
    assert describe_model("mnist-mlp", small) != describe_model("mnist-mlp", large)


@pytest.mark.usefixtures("users_folder")
@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("mnist-cn", MNIST, 'did you mean "mnist-cnn"?'),
        ("torchvision:resnet8", MNIST, 'did you mean "torchvision:resnet18"?'),
        ("resnet18", MNIST, 'did you mean "torchvision:resnet18"?'),
        ("torchvision:alexnet", MNIST, "cannot be used for images of 28x28 with 1 channel"),
        (
            "torchvision:alexnet",
            MNIST,
            "input_size = 224, or fewer if it takes fewer, has",
        ),
        ("nets/w.PTH", MNIST, 'set the file as its weights: weights = "nets/w.PTH"'),
        ("mnist-cnn", (1, 5, 5), "mnist-cnn cannot be used for images of 5x5"),
        ("no_such_module:small", MNIST, "there is no module no_such_module"),
        ("users_imports:missing", MNIST, "cannot import no_such_module"),
        ("users_torn:torn", MNIST, "cannot import 'users_torn'"),
        ("users_models:large", MNIST, "has no function large; it has small"),
        ("users_globals:large", MNIST, "users_globals has no large"),
        ("users_models:text", MNIST, "text is not a function"),
        ("users_models:none", MNIST, "got a NoneType, expected a torch.nn.Module"),
        ("users_models:view", MNIST, "Use .reshape(...) instead"),
        (":small", MNIST, "expected package.module:function"),
        ("./nets.py:small", MNIST, "expected package.module:function"),
        ("users_models:wrong", MNIST, "got an output of (2, 11) for 2 images, expected (2, 10)"),
        ("users_models:none", MNIST, "it is called as none((1, 28, 28), 10)"),
    ],
)
def test_a_model_that_cannot_be_used(name, shape, message):
    with pytest.raises(KdtoolError) as caught:
        build_model(name, shape, 10, seed=0)
    assert message in str(caught.value)


def test_pixels_become_shares_of_one():
    images = torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8)
    torch.testing.assert_close(as_input(images), torch.tensor([[[[0.0, 0.2, 1.0]]]]))


@pytest.mark.usefixtures("users_folder")
def test_a_file_of_the_working_folder_never_replaces_a_library(monkeypatch):
    for name in ("tomllib", "timm", "colorsys"):
        Path(f"{name}.py").write_text("raise SystemExit('this file must not run')")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    before = list(sys.path)
    build_model("users_models:small", (1, 4, 4), 3, seed=0)
    assert sys.path == before
    assert importlib.import_module("colorsys").rgb_to_hsv
    with pytest.raises(
        KdtoolError, match=r"tomllib\.py has the name of another module, tomllib, wh"
    ):
        build_model("tomllib:small", (1, 4, 4), 3, seed=0)


@pytest.mark.usefixtures("users_folder")
def test_a_function_of_the_users_may_import_files_beside_it_whenever_it_is_called():
    Path("users_parts.py").write_text("from torch import nn\nlayer = nn.Flatten\n")
    Path("users_whole.py").write_text(
        "from torch import nn\n"
        "def net(shape, classes):\n"
        "    from users_parts import layer\n"
        "    return nn.Sequential(layer(), nn.Linear(16, classes))\n"
    )
    assert num_params(build_model("users_whole:net", (1, 4, 4), 3, seed=0)) == 16 * 3 + 3


@pytest.mark.parametrize("name", ["os:getcwd", "subprocess:run", "builtins:print"])
def test_functions_of_python_are_not_called(name, capfd):
    with pytest.raises(KdtoolError, match="is a module of Python; expected one with a network"):
        build_model(name, (1, 4, 4), 3, seed=0)
    assert capfd.readouterr() == ("", "")
