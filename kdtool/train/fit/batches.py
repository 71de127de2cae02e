"""The batches of training: order, images and targets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kdtool.recipe.training import TrainTable
from kdtool.results.base import Metric
from kdtool.train.data.splits import Split
from kdtool.train.fit.augment import changed, draw_changes, view_maker
from kdtool.train.models.networks import as_input
from kdtool.train.ranks.group import ALONE, Ranks


@dataclass(frozen=True, slots=True)
class Batch:
    """The images and targets of one step."""

    # (B, C, H, W) float32 in [0, 1], channels last, as the model sees them; of several ranks those
    # of this one
    images: Tensor
    targets: Tensor  # (B,) int64 classes, or (B, C) float32 probabilities that sum to 1
    index: Tensor  # (B,) int64, of the images in the split
    step: int  # number of the step, from 0
    view: int = 0  # with `data.views` the number of the view, from 0


@dataclass(frozen=True, slots=True)
class Training:
    """How a model is trained, without its loss."""

    table: TrainTable  # epochs, batch size, optimizer
    seed: int  # of the order of the images, their augmentation, and dropout
    metric: Metric = "accuracy"  # that chooses the epoch
    augment: Sequence[str] = ()  # `data.augment`
    num_logits: int | None = None  # of the model; None: one for each class
    views: int | None = None  # `data.views`
    memory: str | None = None  # `data.memory`
    ranks: Ranks = ALONE  # that share each batch

    @property
    def num_views(self) -> int | None:
        """How many images are made of each, the same in all epochs; None: new ones in each."""
        if self.table.mixup or (self.augment and not self.views):
            return None
        return self.views or 1

    def read(self, num: int) -> slice:
        """Return which of a batch's `num` images this rank reads: its own, with mixup all."""
        return slice(0, num) if self.table.mixup else self.ranks.rows(num)


MakeBatch = Callable[[int, Tensor], Batch]  # number of the step and positions of the images


def batch_maker(train: Split, training: Training, num_classes: int) -> MakeBatch:
    """Return the function that makes the batch of a step.

    Its random draws depend on the seed and the step alone, so that control and student see the
    same images, and several ranks those that one would see. Those of views do not depend on the
    seed either: all models see the same.

    Args:
        train: The images.
        training: Augmentation, mixup, label smoothing.
        num_classes: C.

    Source: mixup of Zhang et al. 2018, arXiv:1710.09412, one draw a batch as in the authors' code;
    label smoothing of Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    table = training.table
    view_of_step, view = view_number(train, training), view_maker(train, training.augment)
    _, height, width = train.image_shape

    def make(number: int, index: Tensor) -> Batch:
        read, of_step = training.read(len(index)), view_of_step(number)
        pixels, _ = train.batch(index[read])
        targets = train.labels.index_select(0, index.to(train.device))
        if training.augment or table.mixup:
            rng = np.random.default_rng([training.seed, number])
        if training.views:
            images = view(pixels, index[read], of_step)
        else:
            images = as_input(pixels)
            if training.augment:
                changes = draw_changes(training.augment, len(index), width / height, rng)
                images = changed(images, changes.of(np.arange(len(index))[read]))
        if table.label_smoothing or table.mixup:
            targets = smoothed(targets, table.label_smoothing, num_classes)
        if table.mixup:
            share = float(rng.beta(table.mixup, table.mixup))
            partner = torch.from_numpy(rng.permutation(len(index))).to(images.device)
            images = share * images + (1 - share) * images[partner]
            targets = share * targets + (1 - share) * targets[partner]
            images = images[training.ranks.rows(len(index))]
        images = images.contiguous(memory_format=torch.channels_last)
        return Batch(images, targets, index, number, of_step)

    return make


def view_number(train: Split, training: Training) -> Callable[[int], int]:
    """Return the function from the number of a step to that of its view: epoch e has e mod K."""
    num_steps, num_views = steps_per_epoch(len(train), training.table.batch_size), training.views
    return lambda number: number // num_steps % num_views if num_views else 0


def smoothed(labels: Tensor, smoothing: float, num_classes: int) -> Tensor:
    """Return labels `(B,)` as probabilities `(B, C)`.

    Args:
        labels: In [0, C).
        smoothing: Share that all classes get alike, in [0, 1).
        num_classes: C.
    """
    one_hot = F.one_hot(labels, num_classes).float()
    return (1 - smoothing) * one_hot + smoothing / num_classes


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
