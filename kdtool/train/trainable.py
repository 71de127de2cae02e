"""Which parts of a model learn, and how fast; the rest is frozen."""

import difflib

import torch
from torch import nn

from kdtool.errors import RecipeError
from kdtool.recipe_train import TrainTable
from kdtool.train.head import head_name
from kdtool.train.preprocess import network_of
from kdtool.train.schedule import Phase, phases_of


def check_trainable(model: nn.Module, table: TrainTable, num_logits: int) -> None:
    """Check, before anything is trained, that the parts that are to learn are there.

    Raises:
        RecipeError: One is not; the message names those that are.
    """
    for phase in phases_of(table, num_images=1):
        trained_parts(model, phase.train, num_logits)
        if phase.backbone_learning_rate is not None:
            head_name(network_of(model), num_logits)


def trained_parts(model: nn.Module, train: str, num_logits: int) -> list[nn.Module]:
    """Return the parts that learn.

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
            close = difflib.get_close_matches(place, ["head", *parts], n=1)
            hint = f'; did you mean "{close[0]}"?' if close else ""
            top = ", ".join(child for child, _ in network.named_children())
            raise RecipeError(
                f'got train = "{train}", but {type(network).__name__} has no part "{place}"{hint} '
                f"(expected all, head, or parts joined by +, such as layer4+head; its parts are "
                f"{top}, and what these consist of, by its name in full)"
            )
        found.append(parts[place])
    if not any(True for part in found for _ in part.parameters()):
        raise RecipeError(
            f'got train = "{train}", but there are no weights in it that could learn; '
            "expected all, head, or parts that have some"
        )
    return found


def freeze(model: nn.Module, train: str, num_logits: int) -> list[nn.Module]:
    """Let only some parts of a model learn.

    Returns:
        What must be in eval mode while the rest is trained: else BatchNorm would go on taking
        its statistics from the batches, and a frozen part would drift. Layers without parameters
        beside trained ones, such as the dropout before a head, are none of them.
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
    """Return the optimizer of a phase, in its fused form, over the parameters that learn.

    Each group keeps the rate that its schedule scales under "full_lr".
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
