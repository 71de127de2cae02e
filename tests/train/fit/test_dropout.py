"""Dropout from 16 random bits: what is kept, how often, and the gradient."""

import math

import pytest
import torch

from kdtool.train.fit.dropout import dropout

MANY = 400_000


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [1e-3, 0.1, 0.5, 0.75, 0.999])
def test_values_are_kept_as_often_as_asked_and_scaled(p, dtype):
    torch.manual_seed(0)
    found = dropout(torch.ones(MANY, dtype=dtype), p)
    kept = found != 0
    assert abs(kept.float().mean().item() - (1 - p)) < 5 * math.sqrt(p * (1 - p) / MANY)
    scale = torch.ones(1, dtype=dtype).mul_(1 / (1 - round(p * 65536) / 65536))
    assert found[kept].unique().tolist() == scale.tolist()


def test_neighbours_are_drawn_independently():
    torch.manual_seed(0)
    kept = (dropout(torch.ones(MANY), 0.5) != 0).double() - 0.5
    for distance in range(1, 9):  # four share one random number
        correlation = (kept[:-distance] * kept[distance:]).mean().item() / 0.25
        assert abs(correlation) < 5 / math.sqrt(MANY)


def test_the_gradient_is_that_of_what_was_kept():
    torch.manual_seed(0)
    x = torch.randn(7, 13, requires_grad=True)
    found = dropout(x, 0.5)
    found.backward(torch.full_like(found, 3.0))
    assert torch.equal(x.grad, torch.where(found != 0, torch.tensor(6.0), 0.0))
    assert torch.equal(found, torch.where(found != 0, 2 * x.detach(), 0.0))


@pytest.mark.parametrize(("p", "expected"), [(0.0, 1.0), (1e-9, 1.0), (1.0, 0.0)])
def test_ends_of_the_range(p, expected):
    assert torch.equal(dropout(torch.ones(5), p), torch.full((5,), expected))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 3, 4, 5)])
def test_any_shape_and_memory_layout(shape):
    x = torch.ones(shape)
    if len(shape) == 4:
        x = x.contiguous(memory_format=torch.channels_last)
    torch.manual_seed(1)
    found = dropout(x, 0.5)
    assert found.shape == x.shape
    assert found.stride() == x.stride()
    torch.manual_seed(1)
    assert torch.equal(dropout(x, 0.5), found)
    torch.manual_seed(2)
    if x.numel() > 10:
        assert not torch.equal(dropout(x, 0.5), found)


def test_a_view_with_gaps_is_computed_as_its_copy():
    x = torch.ones(6, 8)[:, ::2]
    torch.manual_seed(0)
    found = dropout(x, 0.5)
    torch.manual_seed(0)
    assert torch.equal(found, dropout(x.contiguous(), 0.5))
