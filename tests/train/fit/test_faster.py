"""Parts of a network that are computed faster: the same function, and the same gradients."""

import platform
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdtool.train.fit.dropout import dropout
from kdtool.train.fit.faster import CheapDropout, faster_parts, has_own_draws, pools_first, replaced
from kdtool.train.models.networks import build_model


def network(relu, pool):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), relu, pool, nn.Conv2d(8, 4, 3), relu, nn.Flatten(), nn.LazyLinear(5)
    )


def learned(model, images, parts=()):
    """Logits of a model, and the gradients of its weights."""
    model.zero_grad()
    with replaced(parts):
        logits = model(images)
    logits.square().sum().backward()
    return [logits.detach(), *(one.grad.clone() for one in model.parameters())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("relu", [nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6()])
@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d(2),
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(3, 2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, dilation=2),
    ],
)
def test_a_pool_before_its_relu_is_equal_to_the_bit(pool, relu, dtype):
    model = network(relu, pool)
    images = 4 * torch.randn(6, 3, 13, 13)
    model(images)  # the size of the last layer
    model.to(dtype)
    parts = faster_parts(model)
    assert [module for module, _ in parts] == [model]
    expected = learned(model, images.to(dtype))
    for one, other in zip(learned(model, images.to(dtype), parts), expected, strict=True):
        assert torch.equal(one, other)


RELU, POOL, NORM = nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(3)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([RELU, POOL], [POOL, RELU]),
        ([NORM, RELU, POOL, NORM], [NORM, POOL, RELU, NORM]),
        ([RELU, POOL, POOL], [POOL, POOL, RELU]),
        ([POOL, RELU], [POOL, RELU]),
        ([RELU, NORM, POOL], [RELU, NORM, POOL]),
        ([nn.SiLU(), POOL], None),  # falls, and rises again
        ([RELU, nn.AvgPool2d(2)], None),
        ([RELU, nn.MaxPool2d(2, return_indices=True)], None),
        ([], []),
    ],
)
def test_which_modules_change_places(given, expected):
    assert pools_first(given) == (given if expected is None else expected)


class Residual(nn.Sequential):
    def forward(self, x):
        return x + super().forward(x)


def test_what_is_not_a_plain_sequence_stays_as_it_is():
    for module in (
        Residual(nn.ReLU(), nn.MaxPool2d(1)),
        nn.ModuleList([nn.ReLU(), nn.MaxPool2d(2)]),
        nn.Sequential(nn.ReLU(), nn.Dropout(0.5)),
    ):
        assert faster_parts(module) == []


class Dropped(nn.Module):
    """A network with dropout that no module shows."""

    def __init__(self, p=0.5, *, inplace=False):
        super().__init__()
        self.p, self.inplace = p, inplace

    def forward(self, x):
        dropped = F.dropout(x, self.p, self.training, self.inplace)
        return x if self.inplace else dropped


DRAWING = [
    nn.Dropout(0.5),
    nn.Dropout(0.5, inplace=True),
    type("Mine", (nn.Dropout,), {})(0.5),
    Dropped(),
    Dropped(inplace=True),
]


@pytest.mark.parametrize("model", DRAWING)
def test_dropout_is_drawn_here_however_it_is_called(model):
    assert has_own_draws(model, (1, 2, 2))
    images = torch.ones(4, 1000)
    torch.manual_seed(0)
    expected = dropout(images, 0.5)
    torch.manual_seed(0)
    with CheapDropout():
        assert torch.equal(model.train()(images.clone()), expected)
        assert torch.equal(model.eval()(images.clone()), images)


@pytest.mark.parametrize("model", [Dropped(0.0), nn.Dropout2d(0.5), nn.Identity()])
def test_a_network_without_dropout_draws_as_pytorch_does(model):
    assert not has_own_draws(model, (1, 2, 2))
    images = torch.ones(4, 3, 2, 2)
    torch.manual_seed(0)
    expected = model.train()(images)
    torch.manual_seed(0)
    with CheapDropout():
        assert torch.equal(model(images), expected)


def test_gradients_pass_a_dropout_that_changes_its_input():
    images = torch.ones(4, 1000, requires_grad=True)
    with CheapDropout():
        given = images * 1
        Dropped(inplace=True).train()(given).sum().backward()
    assert torch.equal(images.grad, given.detach())


def test_looking_for_dropout_changes_neither_a_network_nor_the_draws():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), Dropped()).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    assert has_own_draws(model, (1, 2, 2))
    assert torch.equal(torch.rand(3), expected)
    assert not model.training
    torch.testing.assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


def test_a_network_is_as_before_after_the_block():
    model = build_model("mnist-cnn", (1, 28, 28), 10, 0).train()
    names = [*model.state_dict()]
    parts = faster_parts(model)
    assert {type(module) for module, _ in parts} == {nn.Sequential}
    with pytest.raises(RuntimeError), replaced(parts):
        model(torch.zeros(1, 1, 3, 3))  # too small an image
    assert [*model.state_dict()] == names
    assert not any("forward" in vars(module) for module in model.modules())


SCRIPT = """
import resource, torch
from kdtool.train.fit.memory import keep_freed_memory
keep_freed_memory()

def pages_of_20_tensors():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(2**24)  # 64 MiB, freed at once
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

pages_of_20_tensors()
print(pages_of_20_tensors() * resource.getpagesize())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="no other allocator is asked")
def test_the_memory_of_a_freed_tensor_is_used_again():
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 2**26  # bytes that are new to the process, for 20 tensors of 2**26
