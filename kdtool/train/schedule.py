"""How long a model is trained, in which phases, and how fast it learns."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kdtool.recipe_train import Schedule, TrainTable
from kdtool.train.batch import steps_per_epoch


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of training, with nothing left open."""

    epochs: int
    train: str
    learning_rate: float
    backbone_learning_rate: float | None
    warmup: float  # epochs
    schedule: Schedule


def phases_of(table: TrainTable, num_images: int) -> list[Phase]:
    """Return the phases of a table: its own, or one that is all of it.

    Where they make fewer than `min_steps` steps, all are longer by the same factor: few images
    need more epochs.
    """
    lengths = [phase.epochs for phase in table.phase] or [table.epochs]
    needed = -(-table.min_steps // steps_per_epoch(num_images, table.batch_size))
    total = sum(lengths)
    if 0 < total < needed:
        lengths = [-(-length * needed // total) for length in lengths]
    given = [phase.model_dump(exclude_none=True) for phase in table.phase] or [{}]
    default: dict[str, Any] = {
        "train": table.train,
        "learning_rate": table.learning_rate,
        "backbone_learning_rate": table.backbone_learning_rate,
        "warmup": table.warmup,
        "schedule": table.schedule,
    }
    return [
        Phase(**(default | phase | {"epochs": length}))
        for phase, length in zip(given, lengths, strict=True)
    ]


def epochs_to_train(table: TrainTable, num_images: int) -> int:
    """Return the epochs of all phases."""
    return sum(phase.epochs for phase in phases_of(table, num_images))


def rates(phase: Phase, begun: int, num_per_epoch: int) -> Callable[[int], float]:
    """Return what gives the learning rate of a step as a share of the full one, above 0.

    It rises in a line over the warm-up, and then stays, or falls as half a cosine.

    Args:
        phase: Its length, warm-up and schedule.
        begun: Number of its first step.
        num_per_epoch: Steps in an epoch.

    Source: for "cosine", Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5, no restarts;
    for the warm-up, Goyal et al. 2017, arXiv:1706.02677, section 2.2.
    """
    num_steps, num_warm = phase.epochs * num_per_epoch, round(phase.warmup * num_per_epoch)

    def rate(number: int) -> float:
        step = number - begun
        if step < num_warm:
            return (step + 1) / num_warm
        if phase.schedule == "constant":
            return 1.0
        progress = (step - num_warm) / (num_steps - num_warm)
        return (1 + math.cos(math.pi * progress)) / 2

    return rate
