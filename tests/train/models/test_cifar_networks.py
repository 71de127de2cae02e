"""The networks of recipes/cifar_networks.py against what was published of them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import torchvision

from kdtool.train.export.onnx_file import answers, as_given, compare, make_onnx
from kdtool.train.models.count import count
from kdtool.train.models.networks import build_model
from kdtool.train.models.weights import fit_weights
from kdtool.train.models.weights_file import load_file_of_weights

CIFAR = (3, 32, 32)


@pytest.fixture(autouse=True)
def above_recipes(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[3])


def build(name, num_classes=10, shape=CIFAR):
    return build_model(f"recipes.cifar_networks:{name}", shape, num_classes, seed=0)


@pytest.mark.parametrize(
    ("name", "classes", "expected"),
    [
        # As the networks of the authors count; He et al. 2015, table 6, has 0.27 and 0.85 million.
        ("resnet20", 10, 269_722),  # akamaster/pytorch_resnet_cifar10
        ("resnet56", 10, 853_018),
        ("resnet8x4", 100, 1_233_540),  # megvii-research/mdistiller
        ("resnet32x4", 100, 7_433_860),
        ("resnet18", 10, 11_173_962),  # umutonuryasar/kd-capacity-gap
        ("resnet34", 10, 21_282_122),
    ],
)
def test_the_parameters_are_as_many_as_published(name, classes, expected):
    assert sum(each.numel() for each in build(name, classes).parameters()) == expected


@pytest.mark.parametrize(
    ("name", "widths", "num_blocks", "classes"),
    [
        ("resnet20", (16, 16, 32, 64), 3, 10),
        ("resnet56", (16, 16, 32, 64), 9, 10),
        ("resnet8x4", (32, 64, 128, 256), 1, 100),
        ("resnet32x4", (32, 64, 128, 256), 5, 100),
    ],
)
def test_the_macs_follow_from_the_layers(name, widths, num_blocks, classes):
    before, side = widths[0], 32
    macs = side**2 * 9 * 3 * before
    for width, stride in zip(widths[1:], (1, 2, 2), strict=True):
        side //= stride
        macs += side**2 * 9 * width * (before + (2 * num_blocks - 1) * width)
        if "x4" in name:  # a 1x1 convolution past the first block
            macs += side**2 * before * width
        before = width
    assert count(build(name, classes), CIFAR).num_macs == macs + before * classes


def test_the_shortcut_without_weights_keeps_every_other_pixel_between_channels_of_zeros():
    shortcut = build("resnet20").layer2[0].downsample
    features = torch.rand(2, 16, 8, 8)
    output = shortcut(features)
    assert torch.equal(output[:, 8:24], features[:, :, ::2, ::2])
    assert output.shape == (2, 32, 4, 4)
    assert not output[:, :8].any()
    assert not output[:, 24:].any()


def test_published_weights_of_he_networks_fit(tmp_path):
    """Their names as akamaster/pytorch_resnet_cifar10 wrote them, behind DataParallel."""
    layers = ["conv1", "bn1", "linear"]
    layers += [
        f"layer{stage}.{block}.{layer}"
        for stage in (1, 2, 3)
        for block in range(3)
        for layer in ("conv1", "bn1", "conv2", "bn2")
    ]
    network = build("resnet20")
    given = {
        name: torch.rand_like(tensor)
        for name, tensor in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert {name.rpartition(".")[0] for name in given} == set(layers)
    content = {f"module.{name}": tensor for name, tensor in given.items()}
    torch.save({"state_dict": content, "best_prec1": 91.78}, tmp_path / "resnet20.th")
    found = load_file_of_weights(tmp_path / "resnet20.th")
    assert fit_weights(network, found, 10, "resnet20.th", head="fits") == []
    assert all(torch.equal(network.state_dict()[name], given[name]) for name in given)


def test_with_a_stem_for_small_images_the_rest_is_torchvisions():
    ours, theirs = build("resnet18"), torchvision.models.resnet18(num_classes=10)
    shapes, expected = (
        {name: tensor.shape for name, tensor in network.state_dict().items()}
        for network in (ours, theirs)
    )
    assert shapes.pop("conv1.weight") == (64, 3, 3, 3)
    del expected["conv1.weight"]
    assert shapes == expected


@pytest.mark.parametrize("name", ["resnet8", "recipes.cifar_networks:resnet20"])
def test_the_exported_file_gives_the_outputs_of_pytorch(tmp_path, name):
    model = build_model(name, CIFAR, 10, seed=0).eval()
    images = np.random.default_rng(0).integers(0, 256, (20, *CIFAR), np.uint8)
    with torch.no_grad():
        logits = model(torch.from_numpy(images).float() / 255).numpy()
    onnx.save(make_onnx(model, CIFAR, 10, 18), tmp_path / "model.onnx")
    given, _ = answers(tmp_path / "model.onnx", as_given(images, "pixels"))
    assert compare(given, logits).passed
