"""A teacher that comes trained: it is tested on validation and checked, and stays as it is."""

import time
from pathlib import Path

from torch import nn

from kdtool.errors import RecipeError
from kdtool.learning import EpochRecord, TrainingResult
from kdtool.record import Metric
from kdtool.train.count import graph_cost
from kdtool.train.data.splits import Split, Splits
from kdtool.train.models import as_input
from kdtool.train.onnx_teacher import OnnxTeacher
from kdtool.train.predict import validate
from kdtool.train.teacher_check import check_trained


def as_it_is(model: nn.Module, splits: Splits, metric: Metric) -> TrainingResult:
    """Return what training would have, of a model that has nothing to learn: an epoch 0.

    Args:
        model: Gives logits `(B, C)`, on the device of the images.
        splits: `train` and `validation` are looked at.
        metric: Of the study.

    Raises:
        KdtoolError: Its classes stand in another order, or it is not shown to be above chance.
    """
    began, validation = time.perf_counter(), splits.validation
    check_trained(model, [splits.train, validation], splits.classes)
    found = validate(model, validation, len(splits.classes), metric, splits.positive)
    epoch = EpochRecord(
        epoch=0,
        train_loss=None,
        validation_loss=found.loss,
        validation_accuracy=found.accuracy,
        validation_score=found.score,
        seconds=time.perf_counter() - began,
    )
    return TrainingResult(
        epochs=[epoch],
        best_epoch=0,
        num_steps=0,
        images_per_second=0.0,
        device=validation.images.device.type,
        precision="fp32",
    )


def notes_of(model: nn.Module, images: Split) -> list[str]:
    """Return what the user should know of how a trained teacher answers; has it answer once.

    Raises:
        KdtoolError: It cannot answer to such images.
    """
    model.eval()(as_input(images.images[:1]))
    notes = []
    for file in (part for part in model.modules() if isinstance(part, OnnxTeacher)):
        notes += file.notes
        if operators := graph_cost(file).uncounted_ops:
            notes.append(
                f"{', '.join(operators)} cannot be counted: it has more parameters and MACs than "
                "the report says"
            )
    return notes


def check_place(path: Path, study: Path) -> None:
    """Raise RecipeError if the teacher's file lies where the study writes files of its own."""
    if path.resolve().parent == study.resolve():
        raise RecipeError(
            f"{path} lies in {study}, where the files of this study are written; give the study "
            "another name with --set name=..., or copy the teacher elsewhere"
        )
