"""What share of the rate of a large matrix product a training reaches; shared by benchmarks."""

import time
from statistics import median

import torch
from torch.utils.flop_counter import FlopCounterMode

MATRIX_SIDE = 2048


def seconds(function, device):
    """Return the seconds that a function takes, with the work that it left to a GPU."""
    began = time.perf_counter()
    function()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


def matrix_rate(device, precision):
    """Return the FLOP/s of a large matrix product."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    one = torch.randn(MATRIX_SIDE, MATRIX_SIDE, device=device, dtype=dtype)
    rates = [2 * MATRIX_SIDE**3 / seconds(lambda: one @ one, device) for _ in range(8)]
    return median(rates[2:])


def flops_of_step(model, image_shape):
    """Return the floating-point operations of one image in a training step.

    A step counts as three forward passes.

    Args:
        model: On the CPU, with any weights.
        image_shape: C, H, W.
    """
    model = model.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as flops:
        model(torch.zeros(1, *image_shape))
    return 3 * flops.get_total_flops()


def share_of_rate(images_per_second, flops, device, precision):
    """Return in words which share of the matrix rate a training reaches.

    Args:
        images_per_second: Its speed.
        flops: Of `flops_of_step`.
        device: That trains.
        precision: That it trains in.
    """
    rate = matrix_rate(device, precision)
    return (
        f"{images_per_second * flops / rate:.0%} of the {rate / 1e9:,.0f} GFLOP/s of a matrix "
        "product"
    )
