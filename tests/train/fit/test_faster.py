"""Parts of a network that are computed faster: the same function, and the same gradients."""

import platform
import subprocess
import sys

import pytest
import torch
from torch import nn

from kdtool.train.fit.faster import faster_parts, has_own_draws, pools_first, replaced
from kdtool.train.models.networks import build_model


def network(relu, pool):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), relu, pool, nn.Conv2d(8, 4, 3), relu, nn.Flatten(), nn.LazyLinear(5)
    )


def learned(model, images, parts):
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
    expected = learned(model, images.to(dtype), [])
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


def test_what_is_not_a_plain_sequence_or_dropout_stays_as_it_is():
    odd = [
        Residual(nn.ReLU(), nn.MaxPool2d(1)),
        nn.ModuleList([nn.ReLU(), nn.MaxPool2d(2)]),
        type("Mine", (nn.Dropout,), {})(0.5),
        nn.Dropout2d(0.5),
    ]
    changed_by_user = nn.Dropout(0.5)
    changed_by_user.forward = lambda x: x
    for module in [*odd, changed_by_user]:
        assert faster_parts(module) == []
    assert not any(has_own_draws(module) for module in odd)


def test_a_network_is_as_before_after_the_block():
    model = build_model("mnist-cnn", (1, 28, 28), 10, 0).train()
    names = [*model.state_dict()]
    parts = faster_parts(model)
    assert {type(module).__name__ for module, _ in parts} == {"Sequential", "Dropout"}
    with pytest.raises(RuntimeError), replaced(parts):
        model(torch.zeros(1, 1, 3, 3))  # too small an image
    assert [*model.state_dict()] == names
    assert not any("forward" in vars(module) for module in model.modules())


def test_dropout_of_a_frozen_part_stays_off():
    model = nn.Sequential(nn.Dropout(0.5))
    with replaced(faster_parts(model)):
        assert (model.train()(torch.ones(1000)) == 0).any()
        assert torch.equal(model.eval()(torch.ones(1000)), torch.ones(1000))


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
