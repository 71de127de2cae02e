"""The batches of training: order, augmentation and targets of the images."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kdtool.recipe.data import parse_augmentation
from kdtool.recipe.training import TrainTable
from kdtool.results.base import Metric
from kdtool.train.data.splits import Split
from kdtool.train.models.networks import as_input
from kdtool.train.ranks.group import ALONE, Ranks

GEOMETRY = {"crop", "rotate", "shift"}
LUMA = (0.2989, 0.587, 0.114)  # as torchvision's rgb_to_grayscale


class PartOf:
    """Draws for all images of a batch, and returns those of a part of them."""

    def __init__(self, rng: np.random.Generator, part: slice, num: int) -> None:
        self.rng, self.part, self.num = rng, part, num

    def random(self, _size: int) -> NDArray[np.float64]:
        """Draw from 0 to 1, `(B,)`."""
        drawn: NDArray[np.float64] = self.rng.random(self.num)[self.part]
        return drawn

    def uniform(self, low: float, high: float, size: int | tuple[int, ...]) -> NDArray[np.float64]:
        """Draw from `low` to `high`, `(..., B)`."""
        before = size[:-1] if isinstance(size, tuple) else ()
        drawn: NDArray[np.float64] = self.rng.uniform(low, high, (*before, self.num))
        return drawn[..., self.part]


Rng = np.random.Generator | PartOf


def augment(images: Tensor, wanted: Sequence[str], rng: Rng) -> Tensor:
    """Augment every image at random.

    Cropping, rotating and shifting are one bilinear resampling. Beyond its border an image is
    mirrored: black corners occur in training only, and a network would learn them.

    Args:
        images: `(B, C, H, W)` in [0, 1].
        wanted: `data.augment`.
        rng: Draws on the CPU, so that an image is augmented alike on every device.

    Returns:
        `(B, C, H, W)` in [0, 1].
    """
    given = dict(parse_augmentation(text) for text in wanted)
    for name, dim in (("flip", 3), ("vflip", 2)):
        if name in given:
            mirrored = on_device(rng.random(len(images)) < given[name], images)
            images = torch.where(mirrored.bool(), images.flip(dim), images)
    if GEOMETRY & given.keys():
        height, width = images.shape[2:]
        to_source = draw_affine(given, len(images), width / height, rng)
        theta = torch.from_numpy(to_source).to(images)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    if "brightness" in given:
        factor = on_device(draw(rng, 1, given["brightness"], len(images)), images)
        images = (images * factor).clamp(0, 1)
    if "contrast" in given:
        factor = on_device(draw(rng, 1, given["contrast"], len(images)), images)
        mean = grey(images).mean(dim=(1, 2, 3), keepdim=True)
        images = (mean + (images - mean) * factor).clamp(0, 1)
    return images


def draw_affine(
    given: dict[str, float], count: int, aspect: float, rng: Rng
) -> NDArray[np.float64]:
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


def draw(rng: Rng, middle: float, most: float, shape: int | tuple[int, ...]) -> NDArray[np.float64]:
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


@dataclass(frozen=True, slots=True)
class Batch:
    """The images and targets of one step."""

    # (B, C, H, W) float32 in [0, 1], channels last, as the model sees them; of several ranks those
    # of this one
    images: Tensor
    targets: Tensor  # (B,) int64 classes, or (B, C) float32 probabilities that sum to 1
    index: Tensor  # (B,) int64, of the images in the split
    step: int  # number of the step, from 0


@dataclass(frozen=True, slots=True)
class Training:
    """How a model is trained, without its loss."""

    table: TrainTable  # epochs, batch size, optimizer
    seed: int  # of the order of the images, their augmentation, and dropout
    metric: Metric = "accuracy"  # that chooses the epoch
    augment: Sequence[str] = ()  # `data.augment`
    num_logits: int | None = None  # of the model; None: one for each class
    ranks: Ranks = ALONE  # that share each batch

    def read(self, num: int) -> slice:
        """Return which of a batch's `num` images this rank reads: its own, with mixup all."""
        return slice(0, num) if self.table.mixup else self.ranks.rows(num)


MakeBatch = Callable[[int, Tensor], Batch]  # number of the step and positions of the images


def batch_maker(train: Split, training: Training, num_classes: int) -> MakeBatch:
    """Return the function that makes the batch of a step.

    Its random draws depend on the seed and the step alone, so that control and student see the
    same images, and several ranks those that one would see.

    Args:
        train: The images.
        training: Augmentation, mixup, label smoothing.
        num_classes: C.

    Source: mixup of Zhang et al. 2018, arXiv:1710.09412, one draw a batch as in the authors' code;
    label smoothing of Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    table = training.table

    def make(number: int, index: Tensor) -> Batch:
        read = training.read(len(index))
        images = as_input(train.batch(index[read])[0])
        targets = train.labels.index_select(0, index.to(train.device))
        if training.augment or table.mixup:
            rng = np.random.default_rng([training.seed, number])
        if training.augment:
            images = augment(images, training.augment, PartOf(rng, read, len(index)))
        if table.label_smoothing or table.mixup:
            smooth = table.label_smoothing
            targets = (1 - smooth) * F.one_hot(targets, num_classes).float() + smooth / num_classes
        if table.mixup:
            share = float(rng.beta(table.mixup, table.mixup))
            partner = torch.from_numpy(rng.permutation(len(index))).to(images.device)
            images = share * images + (1 - share) * images[partner]
            targets = share * targets + (1 - share) * targets[partner]
            images = images[training.ranks.rows(len(index))]
        images = images.contiguous(memory_format=torch.channels_last)
        return Batch(images, targets, index, number)

    return make


def batches(train: Split, batch_size: int, sampling: str = "shuffle") -> list[Tensor]:
    """Return the indices of an epoch's images in random order, cut into batches.

    Args:
        train: The images.
        batch_size: Of all batches except the last.
        sampling: "shuffle": each image once; "balanced": images are drawn with replacement, each
            class about as often.
    """
    parts = torch.split(epoch_order(train, sampling), batch_size)
    return list(parts[: steps_per_epoch(len(train), batch_size)])


def epoch_order(train: Split, sampling: str) -> Tensor:
    """Draw the positions `(N,)` of an epoch's images, by torch's global generator."""
    # Drawn on the CPU, so that the order is the same on every device.
    if sampling == "balanced":
        labels = train.labels.cpu()
        weights = 1 / torch.bincount(labels).double()[labels]
        order = torch.multinomial(weights, len(train), replacement=True)
    else:
        order = torch.randperm(len(train))
    return order.to(train.device)


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the number of batches; a last batch of one image is left out of its epoch."""
    full, rest = divmod(num_images, batch_size)
    return full + (rest > 1 or full == 0)  # BatchNorm has no variance over a single image
