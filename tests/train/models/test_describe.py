"""The hash of a network changes with the network, and with nothing else."""

import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdtool.train.models.describe import describe_model, has_batch_norm
from kdtool.train.models.networks import build_model


class Block(nn.Module):
    """A layer of the user's, whose hyperparameters are attributes of all kinds."""

    def __init__(self, rate=0.5, act=F.relu, sizes=(1, 2), options=None):
        super().__init__()
        self._rate, self.act, self.sizes, self.options = rate, act, sizes, options or {}
        self.scale = nn.Parameter(torch.ones(3))


def net(*layers):
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), *layers)


NEIGHBOURS = {
    "relu": lambda: net(nn.ReLU()),
    "gelu": lambda: net(nn.GELU()),
    "gelu by tanh": lambda: net(nn.GELU(approximate="tanh")),
    "leaky": lambda: net(nn.LeakyReLU(0.01)),
    "leakier": lambda: net(nn.LeakyReLU(0.02)),
    "dropout": lambda: net(nn.Dropout(0.1)),
    "more dropout": lambda: net(nn.Dropout(0.2)),
    "pool": lambda: net(nn.MaxPool2d(2)),
    "pool of stride 1": lambda: net(nn.MaxPool2d(2, stride=1)),
    "convolution": lambda: net(nn.Conv2d(4, 4, 3, padding=1)),
    "stride": lambda: net(nn.Conv2d(4, 4, 3, padding=1, stride=2)),
    "dilation": lambda: net(nn.Conv2d(4, 4, 3, padding=1, dilation=2)),
    "padding of zeros": lambda: net(nn.Conv2d(4, 4, 3)),
    "padding by reflection": lambda: net(nn.Conv2d(4, 4, 3, padding_mode="reflect")),
    "no bias": lambda: net(nn.Conv2d(4, 4, 3, bias=False)),
    "momentum": lambda: net(nn.BatchNorm2d(4, momentum=0.01)),
    "epsilon": lambda: net(nn.BatchNorm2d(4, eps=1e-3)),
    "no affine": lambda: net(nn.BatchNorm2d(4, affine=False)),
    "order": lambda: net(nn.ReLU(), nn.Dropout(0.1)),
    "other order": lambda: net(nn.Dropout(0.1), nn.ReLU()),
    "heads": lambda: net(nn.MultiheadAttention(8, 2)),
    "more heads": lambda: net(nn.MultiheadAttention(8, 4)),
    "block": lambda: net(Block()),
    "private rate": lambda: net(Block(rate=0.4)),
    "function": lambda: net(Block(act=F.gelu)),
    "bound function": lambda: net(Block(act=partial(F.gelu, approximate="tanh"))),
    "bound otherwise": lambda: net(Block(act=partial(F.gelu, approximate="none"))),
    "sizes": lambda: net(Block(sizes=(1, 3))),
    "options": lambda: net(Block(options={"depth": {"first": 1}})),
    "other options": lambda: net(Block(options={"depth": {"first": 2}})),
}


def tied(*, share):
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    if share:
        second.weight = first.weight
    return nn.Sequential(first, second)


def test_neighbours_have_different_hashes_and_equal_networks_the_same():
    one, other = (
        {describe_model("mnist-mlp", make()): name for name, make in NEIGHBOURS.items()}
        for _ in range(2)
    )
    assert sorted(one.values()) == sorted(NEIGHBOURS)
    assert one == other


def test_tied_weights_are_part_of_a_network():
    assert describe_model("mnist-mlp", tied(share=True)) != describe_model(
        "mnist-mlp", tied(share=False)
    )


def test_weights_mode_and_what_pytorch_prints_do_not_matter(monkeypatch):
    names = ["mnist-cnn", "torchvision:shufflenet_v2_x0_5"]
    for name in names:
        model = build_model(name, (1, 32, 32), 10, seed=0)
        before = describe_model(name, model)
        assert describe_model(name, build_model(name, (1, 32, 32), 10, seed=1).eval()) == before
        with monkeypatch.context() as patch:
            for kind in {type(part) for part in model.modules()}:
                patch.setattr(kind, "__repr__", lambda _self: "printed otherwise")
                patch.setattr(kind, "extra_repr", lambda _self: "printed otherwise")
            assert describe_model(name, model) == before


def test_a_layer_that_the_network_imports_is_part_of_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("layers_of_mine.py").write_text(
        "from torch import nn\nclass Mine(nn.Flatten):\n    def forward(self, x):\n"
        "        return super().forward(x) * 2\n"
    )
    Path("nets_of_mine.py").write_text(
        "from torch import nn\nfrom layers_of_mine import Mine\n"
        "def small(shape, classes):\n    return nn.Sequential(Mine(), nn.Linear(16, classes))\n"
    )
    name = "nets_of_mine:small"
    try:
        model = build_model(name, (1, 4, 4), 3, seed=0)
        before = describe_model(name, model)
        for changed in ("layers_of_mine.py", "nets_of_mine.py"):
            text = Path(changed).read_text()
            Path(changed).write_text(text + "# changed")
            assert describe_model(name, model) != before
            Path(changed).write_text(text)
        assert describe_model(name, model) == before
    finally:
        for module in ("layers_of_mine", "nets_of_mine"):
            sys.modules.pop(module, None)


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (nn.BatchNorm2d(4), True),
        (nn.SyncBatchNorm(4), True),
        (nn.BatchNorm2d(4, track_running_stats=False), False),
        (nn.GroupNorm(2, 4), False),
        (nn.ReLU(), False),
    ],
)
def test_batch_norm_is_what_keeps_running_statistics(layer, expected):
    assert has_batch_norm(nn.Sequential(nn.Conv2d(1, 4, 3), layer)) is expected
