"""How long, in which order, and by which optimizer a model is trained."""

import math

import torch
from torch import Tensor, nn

from kdtool.recipe_train import TrainTable
from kdtool.train.data.splits import Split


def batches(train: Split, batch_size: int) -> list[Tensor]:
    """Return the indices of all images in random order, cut into batches."""
    # Drawn on the CPU, so that the order is the same on every device.
    order = torch.randperm(len(train)).to(train.images.device)
    parts = torch.split(order, batch_size)
    return list(parts[: steps_per_epoch(len(train), batch_size)])


def steps_per_epoch(num_images: int, batch_size: int) -> int:
    """Return the number of batches; a last batch of one image is left out of its epoch."""
    full, rest = divmod(num_images, batch_size)
    return full + (rest > 1 or full == 0)  # BatchNorm has no variance over a single image


def epochs_to_train(table: TrainTable, num_images: int) -> int:
    """Return the recipe's epochs, or as many more as `min_steps` takes: few images need them."""
    return max(table.epochs, -(-table.min_steps // steps_per_epoch(num_images, table.batch_size)))


def make_optimizer(model: nn.Module, table: TrainTable) -> torch.optim.Optimizer:
    """Return the optimizer of the recipe, in its fused form."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if table.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            table.learning_rate,
            momentum=table.momentum,
            weight_decay=table.weight_decay,
            fused=True,
        )
    return torch.optim.Adam(
        parameters, table.learning_rate, weight_decay=table.weight_decay, fused=True
    )


def learning_rate(table: TrainTable, progress: float) -> float:
    """Return the learning rate at `progress` in [0, 1) of all steps.

    Source: for "cosine", Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, no restarts.
    """
    if table.schedule == "constant":
        return table.learning_rate
    return table.learning_rate * (1 + math.cos(math.pi * progress)) / 2
