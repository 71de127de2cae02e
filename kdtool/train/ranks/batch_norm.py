"""BatchNorm over the whole batch, of which every rank has a part."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules._functions import SyncBatchNorm


class Statistics(NamedTuple):
    """Of the values of each channel, over the images of all ranks."""

    mean: Tensor  # (C,)
    variance: Tensor  # (C,), biased
    num: Tensor  # (1,), values of a channel


plain = F.batch_norm
NAME = "batch_norm"


@contextmanager
def synced_batch_norm() -> Iterator[None]:
    """Have `F.batch_norm`, where it trains, normalize by all ranks' images within the block.

    This reaches every module that calls it as an attribute of `torch.nn.functional`, as PyTorch's
    own and those of timm do, without replacing any; and also in the backward pass, where
    `torch.utils.checkpoint` computes parts again. A TorchFunctionMode is not active there. On a GPU
    it is what `torch.nn.SyncBatchNorm` calls, which PyTorch has for GPUs only.
    """
    setattr(F, NAME, synced)
    try:
        yield
    finally:
        setattr(F, NAME, plain)


def synced(  # noqa: PLR0913, PLR0917  arguments of F.batch_norm
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Compute `F.batch_norm` with mean and variance over the images of all ranks."""
    if not training:
        return plain(x, running_mean, running_var, weight, bias, False, momentum, eps)
    if x.is_cuda:
        group = dist.group.WORLD
        found: Tensor = SyncBatchNorm.apply(
            x, weight, bias, running_mean, running_var, eps, momentum, group, dist.get_world_size()
        )
        return found
    joint = joint_statistics(x)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(joint.mean.to(running_mean), momentum)
            unbiased = joint.variance * joint.num / (joint.num - 1)
            running_var.lerp_(unbiased.to(running_var), momentum)
    normalized: Tensor = Normalized.apply(x, weight, bias, joint, eps)
    return normalized


@torch.no_grad()
def joint_statistics(x: Tensor) -> Statistics:
    """Return mean, variance and number of the values over all ranks.

    Args:
        x: `(B, C, ...)`, the part of this rank.

    Source: for the variance of parts, Chan, Golub and LeVeque 1983: no difference of large sums.
    """
    count = x.new_full((1,), x.numel() // x.shape[1], dtype=torch.float64)
    variance, mean = torch.var_mean(x.float(), _all_but_channels(x), correction=0)
    variance, mean = variance.double(), mean.double()
    num_all, mean_all = _total(count, mean * count)
    mean_all = mean_all / num_all
    (deviation,) = _total((variance + (mean - mean_all).square()) * count)
    return Statistics(mean_all.float(), (deviation / num_all).float(), num_all.float())


class Normalized(torch.autograd.Function):
    """Normalization by statistics over all ranks, which depend on the images of all ranks.

    Source: Ioffe and Szegedy 2015, arXiv:1502.03167, section 3, with sums over all ranks.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        joint: Statistics,
        eps: float,
    ) -> Tensor:
        """Normalize the part of this rank."""
        scale = (joint.variance + eps).rsqrt()
        ctx.save_for_backward(x, weight, joint.mean, scale, joint.num)
        return F.batch_norm(x, joint.mean, joint.variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of x, and of weight and bias by the images of this rank."""
        (gradient,) = gradients
        x, weight, mean, scale, count = ctx.saved_tensors
        dims, shape = _all_but_channels(x), (1, -1, *[1] * (x.ndim - 2))
        normalized = (x.float() - mean.view(shape)) * scale.view(shape)
        gradient = gradient.float()
        of_bias, of_weight = gradient.sum(dims), (gradient * normalized).sum(dims)
        sum_all, product_all = (one / count for one in _total(of_bias, of_weight))
        found = gradient - sum_all.view(shape) - normalized * product_all.view(shape)
        found *= (scale if weight is None else scale * weight).view(shape)
        found = found.to(x.dtype)
        if weight is None:
            return found, None, None, None, None
        return found, of_weight, of_bias, None, None


def _all_but_channels(x: Tensor) -> list[int]:
    return [dim for dim in range(x.ndim) if dim != 1]


def _total(*parts: Tensor) -> list[Tensor]:
    """Return the sums of tensors over all ranks."""
    joint = torch.cat(parts)
    dist.all_reduce(joint)
    return list(torch.split(joint, [len(part) for part in parts]))
