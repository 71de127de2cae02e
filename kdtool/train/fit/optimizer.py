"""Phases of training: which parts learn, at which rates, by which optimizer."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kdtool.errors import RecipeError, did_you_mean
from kdtool.recipe.training import Schedule, TrainTable
from kdtool.train.fit.batches import steps_per_epoch
from kdtool.train.models.preprocess import network_of
from kdtool.train.models.weights import head_name


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of training, with all values set."""

    epochs: int
    train: str
    learning_rate: float
    backbone_learning_rate: float | None
    warmup: float  # epochs
    schedule: Schedule


def phases_of(table: TrainTable, num_images: int) -> list[Phase]:
    """Return the phases of a table: its own, or one that is all of it.

    If a recipe sets `min_steps` and the epochs make fewer steps, all phases are longer by the same
    factor: few images need more epochs. See `epochs_warning`.
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


def epochs_warning(name: str, table: TrainTable, num_images: int) -> str | None:
    """Return the warning that `min_steps` raises the epochs; None if it does not.

    Args:
        name: Of the table, teacher or student.
        table: How its model is trained.
        num_images: Training images.
    """
    num_epochs = epochs_to_train(table, num_images)
    asked = sum(phase.epochs for phase in table.phase) or table.epochs
    if num_epochs == asked:
        return None
    return (
        f"{name}: {num_epochs} epochs instead of {asked}, to reach {name}.min_steps = "
        f"{table.min_steps}; --set {name}.min_steps=0 trains {asked}"
    )


def rates(phase: Phase, begun: int, num_per_epoch: int) -> Callable[[int], float]:
    """Return a function from the number of a step to its share of the full learning rate, above 0.

    It rises linearly over the warm-up, and is then constant or falls as half a cosine.

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
        # A phase may be all warm-up; whoever times its steps may take more than it has.
        progress = min(1.0, (step - num_warm) / max(1, num_steps - num_warm))
        return (1 + math.cos(math.pi * progress)) / 2

    return rate


def check_trainable(model: nn.Module, table: TrainTable, num_logits: int) -> None:
    """Check before training that the parts to train exist.

    Raises:
        RecipeError: One does not; the message lists those that do.
    """
    for phase in phases_of(table, num_images=1):
        trained_parts(model, phase.train, num_logits)
        if phase.backbone_learning_rate is not None:
            head_name(network_of(model), num_logits)


def trained_parts(model: nn.Module, train: str, num_logits: int) -> list[nn.Module]:
    """Return the parts to train.

    Args:
        model: With or without preprocessing.
        train: "all", or names of parts joined by +; "head" is the layer of the logits.
        num_logits: Length of the logits.
    """
    if train == "all":
        return [model]
    network = network_of(model)
    parts = dict(network.named_modules())
    found = []
    for name in train.split("+"):
        place = head_name(network, num_logits) if name.strip() == "head" else name.strip()
        if not place or place not in parts:
            hint = did_you_mean(place, ["head", *parts])
            top = ", ".join(child for child, _ in network.named_children())
            raise RecipeError(
                f'got train = "{train}", but {type(network).__name__} has no part "{place}"{hint} '
                f"(expected all, head, or parts joined by +, such as layer4+head; its parts are "
                f"{top}, and their own parts by full name)"
            )
        found.append(parts[place])
    if not any(True for part in found for _ in part.parameters()):
        raise RecipeError(
            f'got train = "{train}", but these parts have no weights; '
            "expected all, head, or parts with weights"
        )
    return found


def freeze(model: nn.Module, train: str, num_logits: int) -> list[nn.Module]:
    """Freeze all but some parts of a model.

    Returns:
        Modules that must be in eval mode while the rest is trained: otherwise BatchNorm would
        update its statistics, and a frozen part would drift. Layers without parameters
        next to trained ones, such as the dropout before a head, stay in train mode.
    """
    parts = trained_parts(model, train, num_logits)
    learning = {id(parameter) for part in parts for parameter in part.parameters()}
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) in learning)
    inside = {id(module) for part in parts for module in part.modules()}
    return [
        module
        for module in model.modules()
        if (own := [*module.parameters(), *module.buffers()])
        and not any(id(sub) in inside for sub in module.modules())
        and not any(id(tensor) in learning for tensor in own)
    ]


def make_optimizer(
    model: nn.Module, table: TrainTable, phase: Phase, num_logits: int
) -> torch.optim.Optimizer:
    """Return the fused optimizer of a phase over the parameters that are not frozen.

    Each group has, under "full_lr", the learning rate that the schedule scales.
    """
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    rate, of_rest = phase.learning_rate, phase.backbone_learning_rate
    by_rate: dict[float, list[nn.Parameter]] = {rate: learning}
    if of_rest is not None:
        network = network_of(model)
        layer = network.get_submodule(head_name(network, num_logits))
        head = {id(parameter) for parameter in layer.parameters()}
        by_rate = {rate: [], of_rest: []}
        for parameter in learning:
            by_rate[rate if id(parameter) in head else of_rest].append(parameter)
    groups = [
        {"params": parameters, "lr": rate, "full_lr": rate}
        for rate, parameters in by_rate.items()
        if parameters
    ]
    if table.optimizer == "sgd":
        return torch.optim.SGD(
            groups, momentum=table.momentum, weight_decay=table.weight_decay, fused=True
        )
    kind = torch.optim.AdamW if table.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, weight_decay=table.weight_decay, fused=True)
