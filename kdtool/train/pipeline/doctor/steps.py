"""A few steps of training, timed as they will be run: batches, loss, optimizer, validation."""

import copy
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kdtool.results.base import TEACHER_OF, Role
from kdtool.train.fit.batch_norm import norm_layers, statistics_of
from kdtool.train.fit.batches import Batch, batch_maker, batches
from kdtool.train.fit.loop import BatchLoss, Passes, set_modes, smaller_batches, training_step
from kdtool.train.fit.losses import distillation_loss, label_loss, subclass_teacher_loss
from kdtool.train.fit.memory import keep_freed_memory
from kdtool.train.fit.methods import method_loss
from kdtool.train.fit.optimizer import Phase, freeze, make_optimizer, rates
from kdtool.train.models.device import autocast, choose_precision, explain_out_of_memory
from kdtool.train.models.predict import images_at_once, predict
from kdtool.train.pipeline.roles import class_weights, sees_fixed_images
from kdtool.train.pipeline.train_model import training_of
from kdtool.train.ranks.group import ALONE
from kdtool.train.run import SUBCLASSED, Run

NUM_WARM = 2  # steps that are not timed: memory is taken, and kernels are chosen
NUM_STEPS = 20  # that are timed
MOST_SECONDS = 20.0  # after which no more of them are, but for the first two
FORWARD_BATCHES = 4  # of validation that are timed, after one that is not


@dataclass(frozen=True, slots=True)
class Timed:
    """What a network takes in one phase of its training."""

    num_steps: int  # that were timed
    step_seconds: float  # mean of them
    image_seconds: float  # of a step, for each image
    forward_seconds: float  # of an image that is validated
    refresh_seconds: float  # of the statistics of BatchNorm after an epoch
    losses: list[float]  # of all steps, those that were not timed included


def time_steps(run: Run, role: Role, phase: Phase) -> Timed:
    """Train a copy of a role's network for a few steps.

    Args:
        run: The study. Nothing of it is changed.
        role: Of a network that learns.
        phase: The parts that learn, and how fast.

    Raises:
        KdtoolError: A batch does not fit into memory, or the weights cannot be loaded.
    """
    keep_freed_memory()
    run, seed = replace(run, ranks=ALONE), run.recipe.seeds_of(role)[0]
    table, splits, num_logits = run.table(role), run.splits_of(role), run.num_logits(role)
    training, device = training_of(run, role, seed), run.device
    model = run.build(role, seed, pretrained=True)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    frozen = freeze(model, phase.train, num_logits)
    set_modes(model, frozen)
    refresh = statistics_of(norm_layers(model), splits.train, training)
    make_batch = batch_maker(splits.train, training, len(splits.classes))
    step = training_step(
        model,
        make_optimizer(model, table, phase, num_logits),
        make_batch,
        loss_of(run, role),
        rates(phase, 0, max(1, len(splits.train) // table.batch_size)),
        Passes(choose_precision(table.precision, device, model), warn=run.reporter.warn),
    )
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
        explain_out_of_memory(table.batch_size, run.image_shape, smaller_batches(table)),
    ):
        torch.manual_seed(seed)
        order = itertools.cycle(batches(splits.train, table.batch_size, table.sampling))
        losses = [step(number, next(order)) for number in range(NUM_WARM)]
        wait(losses[-1])
        began, num_images = time.perf_counter(), 0
        for number in range(NUM_STEPS):
            index = next(order)
            losses.append(step(NUM_WARM + number, index))
            num_images += len(index)
            if number and time.perf_counter() - began > MOST_SECONDS:
                break
        wait(losses[-1])
        seconds = time.perf_counter() - began
    num_steps = len(losses) - NUM_WARM
    began = time.perf_counter()
    refresh(model)
    refresh_seconds = time.perf_counter() - began
    return Timed(
        num_steps,
        seconds / num_steps,
        seconds / num_images,
        time_forward(run, role, model),
        refresh_seconds,
        torch.stack(losses).tolist(),
    )


def time_forward(run: Run, role: Role, model: nn.Module) -> float:
    """Return the seconds that the validation of an image takes.

    Args:
        run: The study.
        role: Of the model.
        model: On the device; left in eval mode.
    """
    split = run.splits_of(role).validation
    size = images_at_once(model, split)
    wait(predict(model, split, rows=slice(0, size)))
    num_images = min(len(split), FORWARD_BATCHES * size)
    began = time.perf_counter()
    wait(predict(model, split, rows=slice(0, num_images)))
    return (time.perf_counter() - began) / num_images


def loss_of(run: Run, role: Role) -> BatchLoss:
    """Return the loss of a role, with random soft targets where a teacher's are known beforehand.

    What a teacher answers changes no time. Where it has to answer in each step, it does so here.
    """
    num_classes, weights = len(run.splits.classes), class_weights(run, role)
    subclass, table = run.recipe.subclass, run.recipe.distill
    if role == "subclass-teacher":
        return lambda logits, batch: subclass_teacher_loss(
            logits,
            batch.targets,
            num_classes,
            subclass.auxiliary_weight,
            subclass.auxiliary_temperature,
            weights,
        )
    if role not in TEACHER_OF:
        return lambda logits, batch: label_loss(logits, batch.targets, weights)
    answers = answers_of(run, role)
    if role not in SUBCLASSED and (options := table.chosen) is not None:
        return lambda logits, batch: method_loss(
            logits, answers(batch), batch.targets, options, 1.0, weights
        )
    temperature, soft_weight = (
        (subclass.temperature, subclass.soft_weight)
        if role in SUBCLASSED
        else (table.temperature, table.soft_weight)
    )
    return lambda logits, batch: distillation_loss(
        logits, answers(batch), batch.targets, num_classes, temperature, soft_weight, weights
    )


def answers_of(run: Run, role: Role) -> Callable[[Batch], Tensor]:
    """Return what takes the place of a student's teacher; see `loss_of`."""
    teacher = TEACHER_OF[role]
    if sees_fixed_images(run, role):
        drawn = torch.Generator().manual_seed(0)
        shape = len(run.splits_of(role).train), run.num_logits(teacher)
        targets = torch.randn(shape, generator=drawn).to(run.device)
        return lambda batch: targets[batch.index]
    network = run.network(teacher)
    model = network if run.table(teacher).is_onnx else copy.deepcopy(network).to(run.device)
    precision = choose_precision(run.table(role).precision, run.device, model)

    def answer(batch: Batch) -> Tensor:
        with torch.no_grad(), autocast(run.device, precision):
            logits: Tensor = model.eval()(batch.images)
        return logits.float()

    return answer


def wait(value: Tensor) -> None:
    """Wait until a value is there: a GPU computes while Python goes on."""
    value.sum().item()
