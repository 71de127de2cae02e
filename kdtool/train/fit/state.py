"""How far the training of a model is: what is kept after each epoch, and gone on from."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from kdtool.results.study import EpochRecord
from kdtool.train.models.checkpoint import load_state, save_state

Weights = dict[str, Tensor]


@dataclass
class State:
    """A model that is being trained, and what came of it so far."""

    model: nn.Module
    averaged: AveragedModel | None  # its weights, averaged over the steps
    epochs: list[EpochRecord] = field(default_factory=list)
    best_weights: Weights = field(default_factory=dict)  # of the best epoch, on the CPU
    seconds: float = 0.0  # of training steps
    optimizer: dict[str, Any] | None = None  # its state when the last epoch ended

    @classmethod
    def load(cls, path: Path, model: nn.Module, ema: float) -> Self:
        """Go on from `path`, or begin where there is no such file.

        Args:
            path: Of an unfinished training.
            model: Gets the weights of then.
            ema: Decay a step of the averaged weights, in [0, 1); 0 averages none.

        Raises:
            StudyError: The file is damaged.

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
        """Keep all that the next epoch needs."""
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

    @property
    def learned(self) -> nn.Module:
        """The model that is tested and kept: with averaged weights, if there are any."""
        if self.averaged is None:
            return self.model
        averaged: nn.Module = self.averaged.module
        return averaged

    def attach(self, optimizer: torch.optim.Optimizer, phase: int) -> None:
        """Average the weights after each step; go on with a phase that had begun."""
        if self.optimizer is not None and self.epochs[-1].phase == phase:
            optimizer.load_state_dict(self.optimizer)
        if self.averaged is not None:
            average, model = self.averaged.update_parameters, self.model
            optimizer.register_step_post_hook(lambda *_: average(model))

    def add(self, epoch: EpochRecord) -> None:
        """Note an epoch; the weights of the best are kept."""
        self.epochs.append(epoch)
        if best_epoch(self.epochs) == epoch.epoch:
            weights = self.learned.state_dict()
            self.best_weights = {name: value.cpu().clone() for name, value in weights.items()}

    def is_stale(self, patience: float, before: int) -> bool:
        """Say whether as many epochs as `patience` brought none that is better.

        Args:
            patience: Number of epochs; infinity for no limit.
            before: Number of epochs that do not count, as they are of earlier phases.
        """
        if not self.epochs:
            return False
        return len(self.epochs) - max(best_epoch(self.epochs), before) >= patience


def patience_of(early_stop: int | None, *, last_phase: bool) -> float:
    """Return how many epochs may bring nothing: earlier phases run whole."""
    return early_stop if early_stop is not None and last_phase else math.inf


def best_epoch(epochs: list[EpochRecord]) -> int:
    """Highest metric on validation; among equals the lowest validation loss, then the first."""
    return max(epochs, key=lambda epoch: epoch.worth).epoch
