"""How an ONNX file takes images: type, layout, size, normalization."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdtool.edge.session import InferenceSession
from kdtool.errors import ModelFileError, RecipeError
from kdtool.recipe_train import Normalization, TrainTable

DTYPES: dict[str, Any] = {
    "tensor(uint8)": np.uint8,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}
# What `Image.NominalPixelRange` says -> mean and std that make it of [0, 1].
# Source: docs/MetadataProps.md of onnx.
RANGES = {
    "NominalRange_0_255": (0.0, 1 / 255),
    "Normalized_0_1": (0.0, 1.0),
    "Normalized_1_1": (0.5, 0.5),
}
IMAGENET = Normalization(mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])


@dataclass(frozen=True)
class ImageInput:
    """The input of a file, as it takes images."""

    name: str
    dtype: Any
    channels_last: bool
    channels: int  # 1 or 3
    size: tuple[int, int] | None  # height and width; None: any
    batch: int | None  # None: any

    @property
    def words(self) -> str:
        """What it takes, in words."""
        size = "any size" if self.size is None else f"{self.size[0]}x{self.size[1]}"
        return f"{np.dtype(self.dtype).name} images of {size} with {self.channels} channel" + (
            "s" if self.channels > 1 else ""
        )


def image_input(
    session: InferenceSession, path: Path, input_size: int | None, *, any_size: bool
) -> ImageInput:
    """Return what the file takes.

    Args:
        session: Of the file.
        path: Of the file.
        input_size: `teacher.input_size`, for a file that leaves the size open.
        any_size: Whether the file scales images by itself.

    Raises:
        ModelFileError: It takes no images, or not one alone.
        RecipeError: It has another size than `input_size`.
    """
    inputs = session.get_inputs()
    shape = list(inputs[0].shape) if inputs else []
    channels_last = _channels_last(shape, inputs[0].type) if len(inputs) == 1 else None
    if channels_last is None or inputs[0].type not in DTYPES:
        given = ", ".join(f"{entry.name}: {entry.type} {entry.shape}" for entry in inputs)
        raise ModelFileError(
            f"{path} takes {given or 'nothing'}; expected one input of images, uint8, float32 or "
            "float16, (N, C, H, W) or (N, H, W, C) with 1 or 3 channels, fixed in the file"
        )
    batch, *rest = shape
    channels = rest.pop(2 if channels_last else 0)
    sides = [side if isinstance(side, int) and side > 0 else None for side in rest]
    if input_size is not None and any(side not in (None, input_size) for side in sides):
        raise RecipeError(
            f"got teacher.input_size = {input_size}, but {path} takes images of "
            f"{sides[0] or 'any'}x{sides[1] or 'any'}; leave it out"
        )
    height, width = (side or input_size for side in sides)
    return ImageInput(
        name=inputs[0].name,
        dtype=DTYPES[inputs[0].type],
        channels_last=channels_last,
        channels=channels,
        size=(height, width) if height and width and not (any_size and not input_size) else None,
        batch=batch if isinstance(batch, int) and batch > 0 else None,
    )


def _channels_last(shape: Sequence[int | str | None], dtype: str) -> bool | None:
    """Say where the channels stand; None: nowhere."""
    if len(shape) != 4:
        return None
    first, last = shape[1] in (1, 3), shape[3] in (1, 3)
    if first and last:  # images of 1 or 3 pixels: as such types usually come
        return dtype == "tensor(uint8)"
    return last if first or last else None


def normalization(
    table: TrainTable, path: Path, taken: ImageInput, said: str | None
) -> tuple[list[float], list[float]]:
    """Return mean and std of the channels, for pixels in [0, 1].

    Args:
        table: `teacher.normalize`.
        path: Of the file.
        taken: What it takes.
        said: Key of `RANGES`, if the file says so.

    Raises:
        RecipeError: Neither the recipe nor the file says it, or not for these channels.
    """
    wanted = table.normalize
    if taken.dtype is np.uint8:
        if wanted not in ("weights", "none"):
            raise RecipeError(
                f"got teacher.normalize, but {path} takes uint8 images and so normalizes "
                "them itself; leave it out"
            )
        return [0.0], [1 / 255]
    if wanted == "imagenet":
        wanted = IMAGENET
    if isinstance(wanted, Normalization):
        if not {len(wanted.mean), len(wanted.std)} <= {1, taken.channels}:
            raise RecipeError(
                f"got teacher.normalize of {len(wanted.mean)} means and {len(wanted.std)} "
                f"standard deviations, but {path} takes {taken.words}; expected one "
                "for each channel, or one for all"
            )
        return wanted.mean, wanted.std
    if wanted == "none":
        return [0.0], [1.0]
    if said not in RANGES:
        raise RecipeError(
            f"{path} takes {taken.words} and does not say how their pixels are "
            'scaled; set teacher.normalize = "imagenet", "none" for pixels in [0, 1], or '
            "{ mean = [...], std = [...] }, such as { mean = [0], std = [0.00392157] } for "
            "pixels from 0 to 255"
        )
    mean, std = RANGES[said]
    return [mean], [std]
