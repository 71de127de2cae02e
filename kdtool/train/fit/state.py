"""The state of an unfinished training: saved after epochs, with a hash, and resumed from."""

import hashlib
import io
import math
import pickle
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kdtool.errors import StudyError
from kdtool.files import write_atomic
from kdtool.results.study import EpochRecord

Weights = dict[str, Tensor]
# Followed by a SHA-256, 32 bytes, and torch's archive. It is of the file's name, which identifies
# the training, and the archive: the state of another training is no state of this one.
MAGIC = b"kdtool state 2\n"
# Writing a state of 20 MB takes as long as an epoch of a small student on a few thousand images.
SECONDS_BETWEEN_SAVES = 10.0


@dataclass
class State:
    """A model that is being trained, with its epochs so far."""

    model: nn.Module
    averaged: AveragedModel | None  # its weights, averaged over the steps
    epochs: list[EpochRecord] = field(default_factory=list)
    best_weights: Weights = field(default_factory=dict)  # of the best epoch, on the CPU
    seconds: float = 0.0  # of training steps
    optimizer: dict[str, Any] | None = None  # its state when the last saved epoch ended
    saved_at: float = field(default_factory=time.monotonic)  # or begun or resumed

    @classmethod
    def load(cls, path: Path, model: nn.Module, ema: float) -> Self:
        """Resume from the file `path`; begin if there is none.

        Args:
            path: Of an unfinished training.
            model: Gets the saved weights.
            ema: Decay a step of the averaged weights, in [0, 1); 0: weights are not averaged.

        Raises:
            StudyError: The file cannot be read or is damaged.

        Source: of the average, Polyak and Juditsky 1992; in this form Tarvainen and Valpola 2017,
        arXiv:1703.01780, equation 1.
        """
        average = get_ema_multi_avg_fn(ema)  # type: ignore[no-untyped-call]
        averaged = AveragedModel(model, multi_avg_fn=average, use_buffers=True) if ema else None
        state, saved = cls(model, averaged), load_state(path)
        if saved is not None:
            model.load_state_dict(saved["model"])
            if averaged is not None:
                averaged.load_state_dict(saved["averaged"])
            state.epochs = [EpochRecord.model_validate(epoch) for epoch in saved["epochs"]]
            state.best_weights, state.seconds = saved["best_weights"], saved["seconds"]
            state.optimizer = saved["optimizer"]
        return state

    def save(self, path: Path, optimizer: torch.optim.Optimizer) -> None:
        """Save all that the next epoch needs, if the last save was a while ago."""
        if time.monotonic() - self.saved_at < SECONDS_BETWEEN_SAVES:
            return
        save_state(
            path,
            {
                "model": self.model.state_dict(),
                "averaged": None if self.averaged is None else self.averaged.state_dict(),
                "optimizer": optimizer.state_dict(),
                "epochs": [epoch.model_dump() for epoch in self.epochs],
                "best_weights": self.best_weights,
                "seconds": self.seconds,
            },
        )
        self.saved_at = time.monotonic()

    @property
    def learned(self) -> nn.Module:
        """The model that is validated and kept: with averaged weights if they are averaged."""
        if self.averaged is None:
            return self.model
        averaged: nn.Module = self.averaged.module
        return averaged

    def attach(self, optimizer: torch.optim.Optimizer, phase: int) -> None:
        """Average the weights after each step; restore the optimizer of a phase that had begun."""
        if self.optimizer is not None and self.epochs[-1].phase == phase:
            optimizer.load_state_dict(self.optimizer)
        if self.averaged is not None:
            average, model = self.averaged.update_parameters, self.model
            optimizer.register_step_post_hook(lambda *_: average(model))

    def add(self, epoch: EpochRecord) -> None:
        """Append an epoch; keep a copy of the weights if it is the best."""
        self.epochs.append(epoch)
        if best_epoch(self.epochs) == epoch.epoch:
            weights = self.learned.state_dict()
            self.best_weights = {name: value.cpu().clone() for name, value in weights.items()}

    def is_stale(self, patience: float, before: int) -> bool:
        """Return whether the last `patience` epochs brought no better one.

        Args:
            patience: Number of epochs; infinity for no limit.
            before: Number of epochs of earlier phases, which do not count.
        """
        if not self.epochs:
            return False
        return len(self.epochs) - max(best_epoch(self.epochs), before) >= patience


def patience_of(early_stop: int | None, *, last_phase: bool) -> float:
    """Return how many epochs may bring no improvement; only the last phase can stop early."""
    return early_stop if early_stop is not None and last_phase else math.inf


def best_epoch(epochs: list[EpochRecord]) -> int:
    """Return the epoch of the highest metric on validation; of equals that of the lowest loss."""
    return max(epochs, key=lambda epoch: epoch.worth).epoch


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write the state of an unfinished training, with its hash."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    archive = buffer.getvalue()
    write_atomic(path, MAGIC + _seal_of(path, archive) + archive)


def load_state(path: Path) -> dict[str, Any] | None:
    """Return the state of an unfinished training, or None if there is none.

    Raises:
        StudyError: The file cannot be read or is damaged.
    """
    content = _read(path)
    if content is None:
        return None
    if fault := _fault_of(path, content):
        raise StudyError(
            f"cannot resume from {path}: it {fault}; delete it to train from the start"
        )
    archive = io.BytesIO(content[len(MAGIC) + 32 :])
    try:
        state: dict[str, Any] = torch.load(archive, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise StudyError(
            f"cannot resume from {path}: PyTorch {torch.__version__} cannot read it; delete it to "
            "train this model from the start"
        ) from error
    return state


def damage_of(path: Path) -> str | None:
    """Return what is wrong with the state of an unfinished training; None: nothing, or no file.

    PyTorch does not check its archive: a flipped bit would become a weight.

    Raises:
        StudyError: The file exists and cannot be read.
    """
    content = _read(path)
    return None if content is None else _fault_of(path, content)


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StudyError(
            f"cannot read {path}: {error.strerror}; make it readable, or delete it to train this "
            "model from the start"
        ) from error


def _seal_of(path: Path, archive: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + b"\0" + archive).digest()


def _fault_of(path: Path, content: bytes) -> str | None:
    if not content.startswith(MAGIC):
        return "is not a training state of this kdtool"
    digest, archive = content[len(MAGIC) :][:32], content[len(MAGIC) + 32 :]
    if _seal_of(path, archive) != digest:
        return "was changed, or is of another training: it does not match its SHA-256"
    return None
