"""Random changes of training images, drawn for each step, or once for each view of an image."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kdtool.recipe.augment import parse_augmentation
from kdtool.train.data.splits import Split
from kdtool.train.models.networks import as_input

GEOMETRY = {"crop", "rotate", "shift"}
LUMA = (0.2989, 0.587, 0.114)  # as torchvision's rgb_to_grayscale
VIEW_SEED = 0  # of the views of a set, which all models share

V = TypeVar("V", bound=np.generic)
Values = NDArray[np.float64]
# uint8 images, their positions in the split, number of the view -> images in [0, 1]
View = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True, slots=True)
class Changes:
    """What was drawn for N images; None: not asked for."""

    flip: NDArray[np.bool_] | None  # (N,)
    vflip: NDArray[np.bool_] | None  # (N,)
    to_source: Values | None  # (N, 2, 3), of `draw_affine`
    brightness: Values | None  # (N,) factors
    contrast: Values | None  # (N,) factors

    def of(self, index: NDArray[np.int64]) -> "Changes":
        """Return those of some images."""
        return Changes(
            flip=_some(self.flip, index),
            vflip=_some(self.vflip, index),
            to_source=_some(self.to_source, index),
            brightness=_some(self.brightness, index),
            contrast=_some(self.contrast, index),
        )


def _some(values: NDArray[V] | None, index: NDArray[np.int64]) -> NDArray[V] | None:
    return None if values is None else values[index]


def augment(images: Tensor, wanted: Sequence[str], rng: np.random.Generator) -> Tensor:
    """Augment every image at random.

    Args:
        images: `(B, C, H, W)` in [0, 1].
        wanted: `data.augment`.
        rng: Draws on the CPU, so that an image is augmented alike on every device.

    Returns:
        `(B, C, H, W)` in [0, 1].
    """
    height, width = images.shape[2:]
    return changed(images, draw_changes(wanted, len(images), width / height, rng))


def view_maker(train: Split, wanted: Sequence[str]) -> View:
    """Return the function that makes a view of some images.

    Its draws depend on the image and the view alone, and on no seed of a recipe and no step: every
    model that learns from these images sees the same.

    Args:
        train: The images.
        wanted: `data.augment`.
    """
    _, height, width = train.image_shape

    @lru_cache(maxsize=1)
    def drawn(view: int) -> Changes:
        rng = np.random.default_rng([VIEW_SEED, view])
        return draw_changes(wanted, len(train), width / height, rng)

    def view_of(pixels: Tensor, index: Tensor, view: int) -> Tensor:
        return changed(as_input(pixels), drawn(view).of(index.cpu().numpy()))

    return view_of


def draw_changes(
    wanted: Sequence[str], count: int, aspect: float, rng: np.random.Generator
) -> Changes:
    """Draw how `count` images are changed.

    Args:
        wanted: `data.augment`.
        count: Number of images.
        aspect: Width / height.
        rng: Source of the draws.
    """
    given = dict(parse_augmentation(text) for text in wanted)

    def factors(name: str) -> Values | None:
        return draw(rng, 1, given[name], count) if name in given else None

    return Changes(
        flip=rng.random(count) < given["flip"] if "flip" in given else None,
        vflip=rng.random(count) < given["vflip"] if "vflip" in given else None,
        to_source=draw_affine(given, count, aspect, rng) if GEOMETRY & given.keys() else None,
        brightness=factors("brightness"),
        contrast=factors("contrast"),
    )


def changed(images: Tensor, changes: Changes) -> Tensor:
    """Return augmented images.

    Cropping, rotating and shifting are one bilinear resampling. Beyond its border an image is
    mirrored: black corners occur in training only, and a network would learn them.

    Args:
        images: `(B, C, H, W)` in [0, 1].
        changes: Of these B images.

    Returns:
        `(B, C, H, W)` in [0, 1].
    """
    for mirrored, dim in ((changes.flip, 3), (changes.vflip, 2)):
        if mirrored is not None:
            chosen = on_device(mirrored, images).bool()
            images = torch.where(chosen, images.flip(dim), images)
    if changes.to_source is not None:
        theta = torch.from_numpy(changes.to_source).to(images)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    if changes.brightness is not None:
        images = (images * on_device(changes.brightness, images)).clamp(0, 1)
    if changes.contrast is not None:
        factor = on_device(changes.contrast, images)
        mean = grey(images).mean(dim=(1, 2, 3), keepdim=True)
        images = (mean + (images - mean) * factor).clamp(0, 1)
    return images


def draw_affine(
    given: dict[str, float], count: int, aspect: float, rng: np.random.Generator
) -> Values:
    """Draw the affine maps from augmented images to their sources.

    Args:
        given: Values of "crop", "rotate" and "shift"; missing ones are not applied.
        count: Number of images.
        aspect: Width / height.
        rng: Source of the draws.

    Returns:
        `(count, 2, 3)`, from positions in the new image to positions in the old one, both -1 to 1.

    Source: crop as torchvision's RandomResizedCrop: uniform area, log-uniform ratio of 3/4 to 4/3,
    here relative to the image's ratio, and closer to it where a side would exceed the image.
    """
    area = rng.uniform(given.get("crop", 1.0), 1.0, count)
    # Within these bounds no side exceeds the image, and the area is the one drawn.
    stretch = np.exp(draw(rng, 0, math.log(4 / 3), count)).clip(area, 1 / area)
    wide, high = np.sqrt(area * stretch), np.sqrt(area / stretch)
    angle = np.radians(draw(rng, 0, given.get("rotate", 0.0), count))
    shift = 2 * draw(rng, 0, given.get("shift", 0.0), (2, count))
    left, top = (rng.uniform(-1, 1, count) * (1 - side) for side in (wide, high))
    cos, sin = np.cos(angle), np.sin(angle)
    rows = [
        [wide * cos, -wide * sin / aspect, left - wide * shift[0]],
        [high * sin * aspect, high * cos, top - high * shift[1]],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=1)


def draw(
    rng: np.random.Generator, middle: float, most: float, shape: int | tuple[int, ...]
) -> Values:
    """Draw uniformly from `middle - most` to `middle + most`."""
    return rng.uniform(middle - most, middle + most, shape)


def on_device(values: NDArray[np.generic], images: Tensor) -> Tensor:
    """Return one value for each image, `(B, 1, 1, 1)`, on the device of the images."""
    return torch.from_numpy(values).to(images).reshape(-1, 1, 1, 1)


def grey(images: Tensor) -> Tensor:
    """Return the brightness `(B, 1, H, W)` of images of 1 or 3 channels."""
    if images.shape[1] != len(LUMA):
        return images.mean(dim=1, keepdim=True)
    weights = torch.tensor(LUMA, dtype=images.dtype, device=images.device).reshape(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)
