"""Rounding to 8 bits, through which a gradient passes: of activations, weights and biases."""

import torch
from torch import Tensor

RANGES = {torch.uint8: (0, 255), torch.int8: (-128, 127)}


class UnsupportedError(Exception):
    """An operator is used in a way that has no form here; the message says which."""


class Round(torch.autograd.Function):
    """Integers of `QuantizeLinear` as float32, with a straight-through gradient.

    The gradient is that of x / scale inside the range of the integers, and 0 outside.

    Source: Bengio, Léonard and Courville 2013, arXiv:1308.3432, section 2.3; with the range, Jacob
    et al. 2018, arXiv:1712.05877, section 3.
    """

    @staticmethod
    def forward(  # noqa: D102
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        low: int,
        high: int,
    ) -> Tensor:
        integers = (x / scale).round_().add_(zero_point)  # half to even, before the zero point
        ctx.save_for_backward((integers >= low) & (integers <= high), scale)
        return integers.clamp_(low, high)

    @staticmethod
    def backward(  # noqa: D102
        ctx: torch.autograd.function.BackwardCFunction, *gradients: Tensor
    ) -> tuple[Tensor, None, None, None, None]:
        inside, scale = ctx.saved_tensors  # type: ignore[misc]  # declared as one tensor
        return gradients[0] * inside / scale, None, None, None, None


def rounded(x: Tensor, scale: Tensor, zero_point: Tensor, low: int, high: int) -> Tensor:
    """Return `Round` of x."""
    integers: Tensor = Round.apply(x, scale, zero_point.to(x.dtype), low, high)
    return integers


def quantize(x: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: int = 1) -> Tensor:
    """QuantizeLinear, whose integers are float32 here: only so they have a gradient."""
    zero = torch.zeros_like(scale, dtype=torch.uint8) if zero_point is None else zero_point
    if zero.dtype not in RANGES:
        raise UnsupportedError(f"integers of type {zero.dtype}")
    low, high = RANGES[zero.dtype]
    return rounded(x, along(scale, x, axis), along(zero, x, axis), low, high)


def dequantize(x: Tensor, scale: Tensor, zero_point: Tensor | None = None, axis: int = 1) -> Tensor:
    """DequantizeLinear."""
    integers = x.to(scale.device, scale.dtype)
    if zero_point is not None:
        integers = integers - along(zero_point, x, axis).to(scale.dtype)
    return integers * along(scale, x, axis)


def along(values: Tensor, x: Tensor, axis: int) -> Tensor:
    """Return a scalar unchanged, and one value for each channel of x so that it broadcasts."""
    if values.numel() == 1:
        return values.reshape(())
    shape = [1] * x.ndim
    shape[axis] = -1
    return values.reshape(shape)


def weight_scale(weight: Tensor, axis: int | None, largest: int) -> Tensor:
    """Return the scale of each channel, so that it broadcasts, as `quantize_static` computes it.

    Args:
        weight: Of a layer.
        axis: Of the channels; None: one scale for all.
        largest: Integer that the largest magnitude of a channel becomes.

    Source: `compute_scale_zp` of onnxruntime.quantization; a channel of zeros gets scale 1.
    """
    magnitude = weight.detach().abs()
    if axis is None:
        scale = magnitude.max() / largest
    else:
        others = [one for one in range(weight.ndim) if one != axis % weight.ndim]
        scale = magnitude.amax(others, keepdim=True) / largest
    return torch.where(scale < torch.finfo(scale.dtype).tiny, 1.0, scale)


def in_steps(values: Tensor, scale: Tensor, largest: int) -> Tensor:
    """Return values rounded to multiples of scale, at most `largest` of them, straight through."""
    return rounded(values, scale, torch.zeros_like(scale), -largest, largest) * scale
