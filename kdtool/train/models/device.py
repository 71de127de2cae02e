"""Devices: which one trains, in which precision, and errors when its memory is full."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from kdtool.errors import KdtoolError

Precision = Literal["fp32", "bf16"]
# What PyTorch says where a CPU has no memory left: its own allocator, and oneDNN.
CPU_OUT_OF_MEMORY = ("DefaultCPUAllocator", "could not create a primitive")


def choose_device(name: str) -> torch.device:
    """Return the device `name`; "auto" is the fastest one available.

    Raises:
        KdtoolError: The device is not available.
    """
    found = ["cpu"]
    if torch.cuda.is_available():
        found.insert(0, "cuda")
    elif torch.backends.mps.is_available():
        found.insert(0, "mps")
    if name == "auto":
        return torch.device(found[0])
    kind, colon, number = name.partition(":")
    if kind not in {"cpu", "cuda", "mps"}:
        raise KdtoolError(f"got --device {name}, expected auto, cpu, cuda or mps")
    known = kind in found and (not colon or (kind == "cuda" and number.isdecimal()))
    if not known or (colon and int(number) >= torch.cuda.device_count()):
        raise KdtoolError(
            f"got --device {name}, but PyTorch finds only {' and '.join(found)} on this machine; "
            "use --device auto"
        )
    return torch.device(name)


def gpu_name(device: torch.device) -> str | None:
    """Return the name of the GPU that `device` is, or None."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU (MPS)" if device.type == "mps" else None


def check_precision(wanted: Literal["auto", "fp32", "bf16"], device: torch.device) -> None:
    """Raise KdtoolError if `wanted` is bf16 and the device has no instructions for it."""
    if wanted == "bf16" and not has_bf16(device):
        raise KdtoolError(
            f'got precision = "bf16", but this {device.type} has no bf16 instructions; use "auto"'
        )


def has_bf16(device: torch.device) -> bool:
    """Return whether a device has instructions for bf16; without them it is emulated, and slow."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
    return False  # MPS: not measured


def choose_precision(
    wanted: Literal["auto", "fp32", "bf16"], device: torch.device, model: nn.Module
) -> Precision:
    """Return "bf16" or "fp32".

    "auto" is bf16 on CUDA from Ampere on, and on a CPU with bf16 instructions for networks without
    grouped convolutions, as it was measured there (AVX512-BF16): a training step of mnist-cnn takes
    0.55, of mnist-mlp 0.4 and of ResNet18 0.7 of the time in fp32, but of MobileNetV2,
    MobileNetV3, ShuffleNetV2 and EfficientNet, with depthwise convolutions that PyTorch has no
    fast bf16 for, 1.1 to 2.4 times.

    Raises:
        KdtoolError: `wanted` is bf16 and the device has no instructions for it.
    """
    check_precision(wanted, device)
    if wanted != "auto":
        return wanted
    grouped = any(isinstance(one, nn.Conv2d) and one.groups > 1 for one in model.modules())
    slow = device.type == "cpu" and grouped
    return "bf16" if has_bf16(device) and not slow else "fp32"


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """Run the block's matrix products in `precision`; weights stay float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def exact_arithmetic() -> AbstractContextManager[object]:
    """Run the block's convolutions in float32, with the same bits each time.

    cuDNN's TF32, which is on by default, has 10 bits: an ONNX file in float32 could not agree with
    it.
    """
    flags: AbstractContextManager[object] = torch.backends.cudnn.flags(
        enabled=True, deterministic=True, allow_tf32=False
    )
    return flags


def room_on(device: torch.device) -> int | None:
    """Return the bytes of a GPU for images, half of what is free; None: they stay on the CPU."""
    return torch.cuda.mem_get_info(device)[0] // 2 if device.type == "cuda" else None


def check_room(images: Iterable[Tensor], device: torch.device) -> None:
    """Raise KdtoolError if the images, which are all kept on the device, do not fit its memory."""
    if device.type != "cuda":
        return
    needed = sum(tensor.nbytes for tensor in images)
    free, total = torch.cuda.mem_get_info(device)
    if needed > free:
        raise KdtoolError(
            f"the images take {needed / 2**30:.1f} GiB, and of the {total / 2**30:.1f} GiB of "
            f"{device} {free / 2**30:.1f} GiB are free; make them smaller with data.size, end "
            "other programs on it, use --device cpu, or have image files decoded into a file, "
            f'from which batches are read, with data.memory = "{free // 2 // 10**6} MB"'
        )


@contextmanager
def explain_out_of_memory(
    num_images: int, image_shape: Sequence[int], remedy: str
) -> Iterator[None]:
    """Turn running out of memory into one error message.

    Args:
        num_images: Of a batch.
        image_shape: C, H, W.
        remedy: How to fix it.

    Raises:
        KdtoolError: They do not fit.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        channels, height, width = image_shape
        raise KdtoolError(
            f"a batch of {num_images:,} images of {width} x {height} pixels and {channels} "
            f"channels does not fit into memory; {remedy}"
        ) from error


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of torch says that memory ran out, on a GPU or in the CPU's."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(
        text in str(error) for text in CPU_OUT_OF_MEMORY
    )
