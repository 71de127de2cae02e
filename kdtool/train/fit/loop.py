"""The one training loop; what differs between commands is the loss of a batch."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kdtool.errors import KdtoolError
from kdtool.format import score_text
from kdtool.recipe.training import TrainTable
from kdtool.results.study import EpochRecord, TrainingResult
from kdtool.train.data.splits import Split, Splits
from kdtool.train.fit.batch_norm import mode_warning, norm_layers, statistics_of
from kdtool.train.fit.batches import (
    Batch,
    MakeBatch,
    Training,
    batches,
    steps_per_epoch,
)
from kdtool.train.fit.faster import faster_parts, replaced
from kdtool.train.fit.features import learner_of
from kdtool.train.fit.memory import keep_freed_memory, within_free_memory
from kdtool.train.fit.micro_batch import LearnWhatFits, learn_whole
from kdtool.train.fit.optimizer import freeze, make_optimizer, phases_of, rates
from kdtool.train.fit.state import State, Weights, best_epoch, patience_of
from kdtool.train.models.checkpoint import set_weights
from kdtool.train.models.device import Precision, autocast, choose_precision, explain_out_of_memory
from kdtool.train.models.predict import Validation, scored
from kdtool.train.models.trained_teacher import chance_fault
from kdtool.train.ranks.batch_norm import synced_batch_norm
from kdtool.train.ranks.group import ALONE, Ranks
from kdtool.train.reporter import Update

# Loss of a batch, a scalar; logits `(B, C * S)`.
BatchLoss = Callable[[Tensor, Batch], Tensor]
Step = Callable[[int, Tensor], Tensor]  # number of the step and the images' index -> loss

REMEDY = 'lower learning_rate, or set precision = "fp32"'
FEWEST_EPOCHS = 4  # fewer, and half of them is too early to say anything
STEPS_BETWEEN_CHECKS = 10  # of the loss: each check waits for the GPU


@dataclass(frozen=True, slots=True)
class Passes:
    """How the images of a batch pass a network that learns."""

    precision: Precision  # of matrix products and convolutions
    # That compute a part of each batch each. The loss is that of the whole batch, whose logits
    # every rank gets, and so is the gradient.
    ranks: Ranks = ALONE
    # Is told where a batch that does not fit into memory passes in parts; None: it is an error, as
    # it is with several ranks, which would all have to run out of it in the same step.
    warn: Callable[[str], None] | None = None


def fit(
    model: nn.Module,
    splits: Splits,
    training: Training,
    batch_loss: BatchLoss,
    state_path: Path,
    update: Update,
    warn: Callable[[str], None],
) -> tuple[TrainingResult, Weights]:
    """Train `model` on the device of `splits`; choose the epoch on validation.

    The order of the images and every other random draw depend on the seed and the epoch alone: two
    runs of one seed see the same batches, and an interrupted run continues after its last saved
    epoch to the same weights as an uninterrupted one.

    Args:
        model: With its initial weights; changed in place.
        splits: `train` to learn from and `validation` to choose the epoch on.
        training: Its settings.
        batch_loss: Loss of a batch.
        state_path: File of the state, written after an epoch, every ten seconds at most.
        update: Shows progress, counted in images.
        warn: Is given a text if the model has learned nothing after half of its epochs.

    Returns:
        The result, and the weights of the best epoch.

    Raises:
        KdtoolError: The loss is not finite, or a batch does not fit into memory.
    """
    keep_freed_memory()
    table, num_images, device = training.table, len(splits.train), splits.train.device
    ranks = training.ranks
    num_logits = training.num_logits or len(splits.classes)
    precision = choose_precision(table.precision, device, model)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ranks.copy(model)
    state = State.load(state_path, model, table.ema)
    phases, begun = phases_of(table, num_images), 0
    noted: list[str] = []
    update(len(state.epochs) * num_images, "begins")
    num_epochs = sum(phase.epochs for phase in phases)
    num_per_epoch = steps_per_epoch(num_images, table.batch_size)
    for number, phase in enumerate(phases, start=1):
        patience = patience_of(table.early_stop, last_phase=number == len(phases))
        frozen = freeze(model, phase.train, num_logits)
        optimizer = make_optimizer(model, table, phase, num_logits)
        state.attach(optimizer, number)
        rate = rates(phase, begun * num_per_epoch, num_per_epoch)
        set_modes(model, frozen)
        learner = learner_of(
            model, splits, training, phase.train, precision, state_path.parent, warn
        )
        step = training_step(
            learner.network,
            optimizer,
            learner.make_batch,
            batch_loss,
            rate,
            Passes(precision, ranks, noted.append),
        )
        refresh = statistics_of(norm_layers(model), splits.train, training)
        while len(state.epochs) < begun + phase.epochs and not state.is_stale(patience, begun):
            epoch, began = len(state.epochs) + 1, time.perf_counter()
            show = _progress_of(update, state.epochs, training, num_epochs, num_images)
            with (
                _reproducible(training.seed, epoch, device),
                within_free_memory(device),
                explain_out_of_memory(
                    table.batch_size, splits.result.image_shape, smaller_batches(table)
                ),
            ):
                set_modes(model, frozen)
                order = batches(splits.train, table.batch_size, table.sampling)
                draw_apart(ranks)
                read = [index[training.read(len(index))] for index in order]
                learn = ahead(step, splits.train, read) if learner.sees_images else step
                loss = train_epoch(learn, order, epoch, show)
            state.seconds += time.perf_counter() - began
            refresh(state.learned)
            # Statistics other than BatchNorm's are those of the part of each rank.
            ranks.copy_buffers(state.learned)
            logits = learner.validate(state.learned)
            found = ranks.same(judged(logits, splits, training, epoch))
            state.add(
                EpochRecord(
                    epoch=epoch,
                    train_loss=loss,
                    validation_loss=found.loss,
                    validation_accuracy=found.accuracy,
                    validation_score=found.score,
                    phase=number,
                    seconds=time.perf_counter() - began,
                )
            )
            if ranks.leads:
                state.save(state_path, optimizer)
            if ranks.leads and epoch == num_epochs // 2 >= FEWEST_EPOCHS / 2:
                warn_at_chance(logits, splits, phase.learning_rate, warn)
        begun += phase.epochs
    learned, best = state.learned, best_epoch(state.epochs)
    set_weights(learned, state.best_weights)
    set_modes(learned, freeze(learned, phases[state.epochs[best - 1].phase - 1].train, num_logits))
    if ranks.leads and (
        warning := mode_warning(learned, splits.train, training, len(splits.classes))
    ):
        noted.append(warning)
    result = TrainingResult(
        epochs=state.epochs,
        best_epoch=best,
        num_steps=len(state.epochs) * num_per_epoch,
        images_per_second=len(state.epochs) * num_images / state.seconds,
        device=device.type,
        precision=precision,
        num_ranks=ranks.count,
        warnings=noted,
    )
    return result, state.best_weights


def judged(logits: Tensor, splits: Splits, training: Training, epoch: int) -> Validation:
    """Return the scores of an epoch, of logits `(V, C * S)` of the validation images.

    Raises:
        KdtoolError: The loss is not finite.
    """
    found = scored(logits, splits.validation, len(splits.classes), training.metric, splits.positive)
    if not math.isfinite(found.loss):
        raise KdtoolError(f"the validation loss is {found.loss} after epoch {epoch}; {REMEDY}")
    return found


def smaller_batches(table: TrainTable) -> str:
    """Return what to do where a batch does not fit into memory."""
    return (
        f"halve it, --set student.batch_size={max(1, table.batch_size // 2)} or "
        "teacher.batch_size, or make the images smaller (--set data.size)"
    )


def warn_at_chance(
    logits: Tensor, splits: Splits, rate: float, warn: Callable[[str], None]
) -> None:
    """Warn if a model is not shown to be above chance on validation, with what to try."""
    if fault := chance_fault(logits, splits.validation, len(splits.classes)):
        warn(
            f"after half of its epochs it {fault}. If that does not change, interrupt (Ctrl-C) and "
            f"try a learning_rate of {rate / 10:g} (it is {rate:g}), more epochs, or, if the "
            'classes are uneven, class_weights = "balanced"'
        )


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    make_batch: MakeBatch,
    batch_loss: BatchLoss,
    rate: Callable[[int], float],
    passes: Passes,
) -> Step:
    """Return the function that learns from one batch and returns its loss, a scalar.

    Args:
        model: In train mode, except frozen parts.
        optimizer: Of `make_optimizer`.
        make_batch: Of `batch_maker`.
        batch_loss: Loss of a batch.
        rate: From the number of the step to the share of the full learning rate.
        passes: How the images pass the model.
    """
    ranks, parts = passes.ranks, faster_parts(model)
    network = shared(model, ranks)
    joint = synced_batch_norm if ranks.are_several else nullcontext

    def forward(images: Tensor) -> Tensor:
        with autocast(images.device, passes.precision):
            logits: Tensor = network(images)
        return logits.float()

    learn = (
        learn_whole(forward)
        if passes.warn is None or ranks.are_several
        else LearnWhatFits(forward, model, passes.warn)
    )

    def step(number: int, index: Tensor) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = group["full_lr"] * rate(number)
        batch = make_batch(number, index)
        optimizer.zero_grad()
        # In the backward pass too, where `torch.utils.checkpoint` computes parts again.
        with replaced(parts), joint():
            loss = learn(
                batch.images, lambda logits: batch_loss(ranks.whole(logits, len(index)), batch)
            )
        optimizer.step()
        return loss

    return step


def shared(model: nn.Module, ranks: Ranks) -> nn.Module:
    """Return a model whose gradients become the means of those of all ranks."""
    if not ranks.are_several:
        return model
    return DistributedDataParallel(model, broadcast_buffers=False, find_unused_parameters=True)


def draw_apart(ranks: Ranks) -> None:
    """Let each rank make random draws of its own from now on, as for dropout."""
    if ranks.are_several:
        # A CPU's generator takes 32 bits of it: the factor keeps ranks, epochs and seeds apart.
        torch.manual_seed(torch.initial_seed() + (ranks.number + 1) * 2_654_435_761)


def ahead(step: Step, train: Split, order: list[Tensor]) -> Step:
    """Return `step`, before which the images of the step after it begin to be read.

    Args:
        step: Learns from one batch.
        train: The images.
        order: Of an epoch's batches.
    """

    def read_and_step(number: int, index: Tensor) -> Tensor:
        train.expect(order[(number + 1) % len(order)])
        return step(number, index)

    return read_and_step


def train_epoch(
    step: Step, index_batches: list[Tensor], epoch: int, show: Callable[[int, float], None]
) -> float:
    """Learn from every batch once; return the mean loss of the images.

    Raises:
        KdtoolError: A loss is not finite; names epoch and step.
    """
    losses = torch.empty(len(index_batches), device=index_batches[0].device)  # as in `predict`
    sizes = torch.tensor([len(index) for index in index_batches], dtype=torch.float64)
    num_before = (epoch - 1) * len(index_batches)
    for number, index in enumerate(index_batches, start=1):
        losses[number - 1] = step(num_before + number - 1, index)
        if number % STEPS_BETWEEN_CHECKS == 0 or number == len(index_batches):
            finite = losses[:number].isfinite()
            if not finite.all():
                first = int(finite.long().argmin()) + 1
                raise KdtoolError(
                    f"the loss is {losses[first - 1].item()} in epoch {epoch}, step {first} of "
                    f"{len(index_batches)}; {REMEDY}"
                )
            show(number, losses[number - 1].item())
    return float(losses.cpu().double() @ sizes / sizes.sum())


def set_modes(model: nn.Module, frozen: list[nn.Module]) -> None:
    """Put a model into train mode, and what `freeze` returned into eval mode."""
    model.train()
    for module in frozen:
        module.eval()


@contextmanager
def _reproducible(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Make random draws of the block depend on seed and epoch alone, and cuDNN deterministic."""
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        # The factor keeps the seeds of different runs apart; epochs never reach it.
        torch.manual_seed(seed * 1_000_003 + epoch)
        yield


def _progress_of(
    update: Update, epochs: list[EpochRecord], training: Training, num_epochs: int, num_images: int
) -> Callable[[int, float], None]:
    began, done = time.perf_counter(), len(epochs)
    score = f", validation {score_text(training.metric, epochs[-1].score)}" if epochs else ""

    def show(num_steps: int, loss: float) -> None:
        images = min(num_steps * training.table.batch_size, num_images)
        rate = images / (time.perf_counter() - began)
        text = f"epoch {done + 1}/{num_epochs}, loss {loss:.3f}{score}, {rate:,.0f} images/s"
        update(done * num_images + images, text)

    return show
