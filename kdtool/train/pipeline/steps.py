"""A few steps of training, timed as they will be run: batches, loss, optimizer, validation."""

import copy
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kdtool.results.base import TEACHER_OF, Role
from kdtool.train.fit.batch_norm import norm_layers, statistics_of
from kdtool.train.fit.batches import Batch, batch_maker, batches
from kdtool.train.fit.loop import BatchLoss, Passes, Step, set_modes, smaller_batches, training_step
from kdtool.train.fit.memory import keep_freed_memory, within_free_memory
from kdtool.train.fit.optimizer import Phase, freeze, make_optimizer, rates
from kdtool.train.models.device import autocast, choose_precision, explain_out_of_memory
from kdtool.train.models.predict import images_at_once, predict
from kdtool.train.pipeline.roles import (
    Answers,
    loss_by_kd,
    loss_by_labels,
    loss_by_method,
    loss_by_subclasses,
    sees_fixed_images,
)
from kdtool.train.pipeline.train_model import training_of
from kdtool.train.ranks.group import ALONE
from kdtool.train.run import SUBCLASSED, Run

FORWARD_BATCHES = 4  # of validation that are timed, after one that is not
FORWARD = 1 / 3  # of a step, where validation is not timed: the backward pass takes twice as long


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is timed."""

    num_warm: int  # steps that are not: memory is taken, and kernels are chosen
    num_steps: int  # that are
    most_seconds: float  # after which no more steps are taken
    is_whole: bool  # also what an epoch has beside its steps: validation, statistics of BatchNorm


THOROUGH = Effort(num_warm=2, num_steps=20, most_seconds=20.0, is_whole=True)
# Before a study trains; a step that takes longer than that is taken once.
QUICK = Effort(num_warm=1, num_steps=3, most_seconds=3.0, is_whole=False)


@dataclass(frozen=True, slots=True)
class Timed:
    """What a network takes in one phase of its training."""

    num_steps: int  # that were timed; 1 may be the first one, where steps take long
    step_seconds: float  # mean of them
    image_seconds: float  # of a step, for each image
    forward_seconds: float  # of an image that is validated
    refresh_seconds: float  # of the statistics of BatchNorm after an epoch
    losses: list[float]  # of all steps, those that were not timed included


def time_steps(run: Run, role: Role, phase: Phase, effort: Effort = THOROUGH) -> Timed:
    """Train a copy of a role's network for a few steps.

    Args:
        run: The study. Nothing of it is changed.
        role: Of a network that learns.
        phase: The parts that learn, and how fast.
        effort: How many steps, and what else.

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
        within_free_memory(device),
        explain_out_of_memory(table.batch_size, run.image_shape, smaller_batches(table)),
    ):
        torch.manual_seed(seed)
        order = itertools.cycle(batches(splits.train, table.batch_size, table.sampling))
        first = counted = take(step, order, 0, effort.num_warm, effort.most_seconds)
        if first.seconds <= effort.most_seconds:
            counted = take(step, order, len(first.losses), effort.num_steps, effort.most_seconds)
    losses = first.losses if counted is first else [*first.losses, *counted.losses]
    image_seconds, refresh_seconds = counted.seconds / counted.num_images, 0.0
    forward_seconds = FORWARD * image_seconds
    if effort.is_whole:
        began = time.perf_counter()
        statistics_of(norm_layers(model), splits.train, training)(model)
        refresh_seconds = time.perf_counter() - began
        forward_seconds = time_forward(run, role, model)
    return Timed(
        len(counted.losses),
        counted.seconds / len(counted.losses),
        image_seconds,
        forward_seconds,
        refresh_seconds,
        torch.stack(losses).tolist(),
    )


@dataclass(frozen=True)
class Taken:
    """Steps that were taken."""

    seconds: float
    num_images: int
    losses: list[Tensor]


def take(
    step: Step, order: Iterator[Tensor], number: int, num_steps: int, most_seconds: float
) -> Taken:
    """Take some steps, fewer where they take longer than `most_seconds`.

    Args:
        step: Of training.
        order: The indices of the images of each step.
        number: Of the first step.
        num_steps: How many to take.
        most_seconds: After which no more of them begin.
    """
    losses, num_images = list[Tensor](), 0
    began = time.perf_counter()
    for index in itertools.islice(order, num_steps):
        losses.append(step(number + len(losses), index))
        num_images += len(index)
        if time.perf_counter() - began > most_seconds:
            break
    wait(losses[-1])
    return Taken(time.perf_counter() - began, num_images, losses)


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
    if role == "subclass-teacher":
        return loss_by_subclasses(run)
    if role not in TEACHER_OF:
        return loss_by_labels(run, role)
    answers = answers_of(run, role)
    options = None if role in SUBCLASSED else run.recipe.distill.chosen
    if options is None:
        return loss_by_kd(run, role, answers)
    return loss_by_method(run, role, answers, options)


def answers_of(run: Run, role: Role) -> Answers:
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
