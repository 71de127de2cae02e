"""The one training loop; what differs between commands is the loss of a batch."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdtool.errors import KdtoolError
from kdtool.recipe_train import TrainTable
from kdtool.record import Metric
from kdtool.results import EpochRecord, TrainingResult
from kdtool.terminal.progress import Update
from kdtool.train.checkpoint import load_state, save_state
from kdtool.train.data.splits import Split, Splits
from kdtool.train.device import Precision, autocast, choose_precision
from kdtool.train.predict import channels_last_input, validate
from kdtool.train.schedule import (
    batches,
    epochs_to_train,
    learning_rate,
    make_optimizer,
    steps_per_epoch,
)


@dataclass(frozen=True, slots=True)
class Batch:
    """What a model learns from in one step."""

    images: Tensor  # (B, C, H, W) float32 in [0, 1], as the model sees them
    targets: Tensor  # (B,) int64 classes, or (B, C) float32 probabilities that sum to 1
    index: Tensor  # (B,) int64, of the images in the split


@dataclass(frozen=True, slots=True)
class Training:
    """How a model is trained, whatever its loss."""

    table: TrainTable  # epochs, batch size, optimizer
    seed: int  # of the order of the images, their augmentation, and dropout
    metric: Metric = "accuracy"  # what the epoch is chosen by
    augment: Sequence[str] = ()  # `data.augment`


# Loss of a batch, a scalar; logits `(B, C * S)`.
BatchLoss = Callable[[Tensor, Batch], Tensor]
Step = Callable[[int, Tensor], Tensor]  # number of the step and the images' index -> loss
Weights = dict[str, Tensor]

REMEDY = 'lower learning_rate, or set precision = "fp32"'
STEPS_BETWEEN_CHECKS = 10  # of the loss: each waits for the GPU


def fit(
    model: nn.Module,
    splits: Splits,
    training: Training,
    batch_loss: BatchLoss,
    state_path: Path,
    update: Update,
) -> tuple[TrainingResult, Weights]:
    """Train `model` on the device where `splits` lies; choose the epoch on validation.

    The order of the images and every other draw depend on `seed` and the epoch alone. So two runs
    of one seed see the same batches, and a run that was cut off goes on from its last whole epoch
    to the same weights as one that was not.

    Args:
        model: Its initial weights; changed in place.
        splits: `train` to learn from and `validation` to choose the epoch on.
        training: How.
        batch_loss: Loss of a batch.
        state_path: Where the state is kept after each epoch.
        update: Shows progress, counted in images.

    Returns:
        What was measured, and the weights of the best epoch.

    Raises:
        KdtoolError: The loss is not finite.
    """
    table, seed = training.table, training.seed
    train, device = splits.train, splits.train.images.device
    precision = choose_precision(table.precision, device)
    model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, table)
    step = training_step(model, optimizer, train, table, batch_loss, precision)
    epochs, best_weights, seconds = _resume(state_path, model, optimizer)
    num_epochs = epochs_to_train(table, len(train))
    for epoch in range(len(epochs) + 1, num_epochs + 1):
        began = time.perf_counter()
        show = _progress_of(update, epochs, num_epochs, len(train), table.batch_size)
        with _reproducible(seed, epoch, device):
            model.train()
            train_loss = train_epoch(step, batches(train, table.batch_size), epoch, show)
        seconds += time.perf_counter() - began
        found = validate(
            model, splits.validation, len(splits.classes), training.metric, splits.positive
        )
        if not math.isfinite(found.loss):
            raise KdtoolError(f"the validation loss is {found.loss} after epoch {epoch}; {REMEDY}")
        epochs.append(
            EpochRecord(
                epoch=epoch,
                train_loss=train_loss,
                validation_loss=found.loss,
                validation_accuracy=found.accuracy,
                validation_score=found.score,
                seconds=time.perf_counter() - began,
            )
        )
        if best_epoch(epochs) == epoch:
            best_weights = {name: value.cpu().clone() for name, value in model.state_dict().items()}
        save_state(state_path, _state(model, optimizer, epochs, best_weights, seconds))
    result = TrainingResult(
        epochs=epochs,
        best_epoch=best_epoch(epochs),
        num_steps=num_epochs * steps_per_epoch(len(train), table.batch_size),
        images_per_second=num_epochs * len(train) / seconds,
        device=device.type,
        precision=precision,
    )
    return result, best_weights


def training_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Split,
    table: TrainTable,
    batch_loss: BatchLoss,
    precision: Precision,
) -> Step:
    """Return the function that learns from one batch and returns its loss, a scalar."""
    num_steps = epochs_to_train(table, len(train)) * steps_per_epoch(len(train), table.batch_size)

    def step(number: int, index: Tensor) -> Tensor:
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(table, number / num_steps)
        images, labels = train.batch(index)
        batch = Batch(channels_last_input(images), labels, index)
        with autocast(images.device, precision):
            logits = model(batch.images)
        loss = batch_loss(logits.float(), batch)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.detach()

    return step


def train_epoch(
    step: Step, index_batches: list[Tensor], epoch: int, show: Callable[[int, float], None]
) -> float:
    """Learn from every batch once; return the mean loss.

    Raises:
        KdtoolError: A loss is not finite; names epoch and step.
    """
    losses: list[Tensor] = []
    num_before = (epoch - 1) * len(index_batches)
    for number, index in enumerate(index_batches, start=1):
        losses.append(step(num_before + number - 1, index))
        if number % STEPS_BETWEEN_CHECKS == 0 or number == len(index_batches):
            finite = torch.stack(losses).isfinite()
            if not finite.all():
                first = int(finite.long().argmin()) + 1
                raise KdtoolError(
                    f"the loss is {losses[first - 1].item()} in epoch {epoch}, step {first} of "
                    f"{len(index_batches)}; {REMEDY}"
                )
            show(number, losses[-1].item())
    return torch.stack(losses).mean().item()


def best_epoch(epochs: list[EpochRecord]) -> int:
    """Highest metric on validation; among equals the lowest validation loss, then the first."""
    return max(epochs, key=lambda epoch: epoch.worth).epoch


@contextmanager
def _reproducible(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Make every draw of the block depend on seed and epoch alone, and cuDNN repeat itself."""
    with (
        torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        # An odd factor keeps the seeds of different runs apart; epochs never reach it.
        torch.manual_seed(seed * 1_000_003 + epoch)
        yield


def _progress_of(
    update: Update, epochs: list[EpochRecord], num_epochs: int, num_images: int, batch_size: int
) -> Callable[[int, float], None]:
    began, done = time.perf_counter(), len(epochs)
    accuracy = f", validation {epochs[-1].validation_accuracy:.1%}" if epochs else ""

    def show(num_steps: int, loss: float) -> None:
        images = min(num_steps * batch_size, num_images)
        rate = images / (time.perf_counter() - began)
        text = f"epoch {done + 1}/{num_epochs}, loss {loss:.3f}{accuracy}, {rate:,.0f} images/s"
        update(done * num_images + images, text)

    return show


def _state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    epochs: list[EpochRecord],
    best_weights: Weights,
    seconds: float,
) -> dict[str, Any]:
    return {
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "epochs": [epoch.model_dump() for epoch in epochs],
        "best_weights": best_weights,
        "seconds": seconds,
    }


def _resume(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[list[EpochRecord], Weights, float]:
    state = load_state(path)
    if state is None:
        return [], {}, 0.0
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    epochs = [EpochRecord.model_validate(epoch) for epoch in state["epochs"]]
    return epochs, state["best_weights"], state["seconds"]
