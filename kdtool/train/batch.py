"""What a model learns from in one step: which images, how they are changed, and their targets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kdtool.recipe_train import TrainTable
from kdtool.record import Metric
from kdtool.train.augment import augment
from kdtool.train.data.splits import Split
from kdtool.train.models import as_input


@dataclass(frozen=True, slots=True)
class Batch:
    """What a model learns from in one step."""

    images: Tensor  # (B, C, H, W) float32 in [0, 1], channels last, as the model sees them
    targets: Tensor  # (B,) int64 classes, or (B, C) float32 probabilities that sum to 1
    index: Tensor  # (B,) int64, of the images in the split


@dataclass(frozen=True, slots=True)
class Training:
    """How a model is trained, whatever its loss."""

    table: TrainTable  # epochs, batch size, optimizer
    seed: int  # of the order of the images, their augmentation, and dropout
    metric: Metric = "accuracy"  # what the epoch is chosen by
    augment: Sequence[str] = ()  # `data.augment`
    num_logits: int | None = None  # of the model; None: one a class


MakeBatch = Callable[[int, Tensor], Batch]  # from the number of the step and the images' index


def batch_maker(train: Split, training: Training, num_classes: int) -> MakeBatch:
    """Return what makes the batch of a step.

    What is drawn depends on the seed and the step alone, and on nothing that a model draws: so
    control and student see the very same images.

    Args:
        train: The images.
        training: Augmentation, mixup, label smoothing.
        num_classes: C.

    Source: mixup of Zhang et al. 2018, arXiv:1710.09412, one draw a batch as in the authors' code;
    label smoothing of Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    table = training.table

    def make(number: int, index: Tensor) -> Batch:
        pixels, targets = train.batch(index)
        images = as_input(pixels)
        if training.augment or table.mixup:
            rng = np.random.default_rng([training.seed, number])
        if training.augment:
            images = augment(images, training.augment, rng)
        if table.label_smoothing or table.mixup:
            smooth = table.label_smoothing
            targets = (1 - smooth) * F.one_hot(targets, num_classes).float() + smooth / num_classes
        if table.mixup:
            share = float(rng.beta(table.mixup, table.mixup))
            partner = torch.from_numpy(rng.permutation(len(index))).to(images.device)
            images = share * images + (1 - share) * images[partner]
            targets = share * targets + (1 - share) * targets[partner]
        return Batch(images.contiguous(memory_format=torch.channels_last), targets, index)

    return make


def batches(train: Split, batch_size: int, sampling: str = "shuffle") -> list[Tensor]:
    """Return the indices of an epoch's images in random order, cut into batches.

    Args:
        train: The images.
        batch_size: Of all batches but the last.
        sampling: "shuffle" is each image once; "balanced" each class about as often, its images
            drawn with replacement.
    """
    # Drawn on the CPU, so that the order is the same on every device.
    if sampling == "balanced":
        labels = train.labels.cpu()
        weights = 1 / torch.bincount(labels).double()[labels]
        order = torch.multinomial(weights, len(train), replacement=True)
    else:
        order = torch.randperm(len(train))
    parts = torch.split(order.to(train.images.device), batch_size)
    return list(parts[: steps_per_epoch(len(train), batch_size)])


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the number of batches; a last batch of one image is left out of its epoch."""
    full, rest = divmod(num_images, batch_size)
    return full + (rest > 1 or full == 0)  # BatchNorm has no variance over a single image
