"""Checks of a pretrained teacher: better than chance, and its classes in the order of the data."""

import json
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.stats import mannwhitneyu
from torch import Tensor, nn

from kdtool.errors import KdtoolError, RecipeError, nearest
from kdtool.recipe.training import TrainTable
from kdtool.results.base import Metric
from kdtool.results.study import EpochRecord, TrainingResult
from kdtool.stats.chance import balanced_accuracy, is_above_chance
from kdtool.stats.intervals import mcnemar_p
from kdtool.stats.metrics import confusion_matrix
from kdtool.train.data.splits import Split, Splits
from kdtool.train.data.stratify import stratified_sample
from kdtool.train.models.count import graph_cost
from kdtool.train.models.networks import as_input
from kdtool.train.models.onnx_teacher import OnnxTeacher
from kdtool.train.models.predict import class_logits, predict, validate


class InOrder(nn.Module):
    """A model with its logits in another order; those of other classes are left out."""

    def __init__(self, model: nn.Module, outputs: Sequence[str], classes: Sequence[str]) -> None:
        """Select and order the outputs of `model`, which have the names `outputs`, by `classes`."""
        super().__init__()
        self.model, self.outputs = model, list(outputs)
        self.index = [self.outputs.index(name) for name in classes]

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits `(B, C)` of `model` at the positions `index`."""
        logits: Tensor = self.model(images)[:, self.index]
        return logits

    def extra_repr(self) -> str:
        """Return the order."""
        return f"index={self.index}"


def in_order(model: nn.Module, table: TrainTable, classes: Sequence[str]) -> nn.Module:
    """Return a pretrained teacher with one logit for each class of the data, in their order.

    Args:
        model: The teacher, with as many outputs as `table.classes` has names.
        table: Names its outputs, if the file does not.
        classes: Of the data.

    Raises:
        RecipeError: A class of the data has no output, or the names do not fit the outputs.
    """
    names, num_logits = table.classes, len(table.classes or classes)
    if isinstance(model, OnnxTeacher):
        names, num_logits = table.classes or model.classes, model.num_logits
    if len(names or classes) != num_logits:
        given = f"{len(names)} names" if names else f"no names, and the data {len(classes)} classes"
        raise RecipeError(
            f"{table.model} has {num_logits} outputs, but {given}; list the class of each output "
            "in teacher.classes, in order"
        )
    if names is None:
        return model
    if isinstance(model, OnnxTeacher) and names == model.classes and names != list(classes):
        model.notes.append(
            f"its classes are {', '.join(names[:20])}; reordered to those of the data"
        )
    missing = [name for name in classes if name not in names]
    if missing or len(set(names)) < len(names):
        raise RecipeError(_misnamed(table, names, classes, missing))
    return model if list(names) == list(classes) else InOrder(model, names, classes)


def classes_line(names: Sequence[str]) -> str:
    """Return the line of a recipe that names a teacher's outputs."""
    return f"teacher.classes = {json.dumps(list(names), ensure_ascii=False)}"


def _misnamed(
    table: TrainTable, names: Sequence[str], classes: Sequence[str], missing: Sequence[str]
) -> str:
    where = "teacher.classes" if table.classes else f"the list of outputs in {table.model}"
    if not missing:
        twice = next(name for name in names if list(names).count(name) > 1)
        return f"{where} contains {twice!r} twice; expected a different name for each output"
    close = nearest(missing[0], names)
    text = f"{where} lacks {missing[0]!r}, a class of the data"
    text += f"; is {close!r} that class?" if close else f": {', '.join(names[:20])}"
    if table.classes is None and len(names) == len(classes):
        text += f"; if they are the classes of the data in their order, set {classes_line(classes)}"
    elif table.classes is None:
        text += "; list the outputs by the names of the data's classes in teacher.classes"
    return text


MOST_IMAGES = 2000
LEVEL = 0.001  # of the test that another order of the classes is better
CHANCE_LEVEL = 0.025  # one-sided, as the lower end of a 95 % interval is

Labels = NDArray[np.int64]


def check_trained(model: nn.Module, splits: Sequence[Split], classes: Sequence[str]) -> None:
    """Check a pretrained teacher on images of the study.

    Args:
        model: Gives logits `(B, C)`, in eval mode, on the device of the images.
        splits: Training and validation images.
        classes: The C of the data.

    Raises:
        KdtoolError: Its classes are in another order, or it is not shown to be above chance.
    """
    sample = sampled(splits)
    labels, logits = sample.labels.cpu().numpy(), predict(model, sample).cpu().numpy()
    called = logits.argmax(axis=1)
    order = better_order(labels, called, len(classes))
    if order is not None:
        outputs = model.outputs if isinstance(model, InOrder) else list(classes)
        raise KdtoolError(_reordered(labels, called, order, classes, outputs))
    if (fault := below_chance(labels, called, len(classes))) and not ranks(labels, logits):
        raise KdtoolError(
            f"the teacher {fault}: check the file, the scaling of its images "
            "(teacher.normalize) and the order of its classes (teacher.classes)"
        )


def chance_warning(model: nn.Module, validation: Split, num_classes: int) -> str | None:
    """Return a warning if a teacher trained here is not shown to be above chance; None: it is.

    Args:
        model: Gives logits `(B, C * S)`.
        validation: Images that it did not learn from.
        num_classes: C.
    """
    fault = chance_fault(predict(model, validation), validation, num_classes)
    return fault and (
        f"{fault}: it has nothing to teach; train it longer or with another learning rate"
    )


def chance_fault(logits: Tensor, validation: Split, num_classes: int) -> str | None:
    """Return in words that a model is not shown to be above chance; None: it is.

    Args:
        logits: `(V, C * S)` of the model on the images.
        validation: Images that it did not learn from.
        num_classes: C.
    """
    of_classes = class_logits(logits, num_classes).cpu().numpy()
    labels = validation.labels.cpu().numpy()
    fault = below_chance(labels, of_classes.argmax(axis=1), num_classes)
    return None if ranks(labels, of_classes) else fault


def sampled(splits: Sequence[Split]) -> Split:
    """Return about `MOST_IMAGES` images of the splits at most, stratified by class."""
    labels = torch.cat([split.labels for split in splits])
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    chosen[stratified_sample(labels.cpu().numpy(), MOST_IMAGES)] = True
    # Only the chosen images are copied: all of them might not fit into memory twice.
    parts = [
        split.batch(kept.nonzero().flatten())
        for split, kept in zip(
            splits, torch.split(chosen, [len(one) for one in splits]), strict=True
        )
    ]
    images, found = (torch.cat(both) for both in zip(*parts, strict=True))
    return Split(images, found)


def below_chance(labels: Labels, predictions: Labels, num_classes: int) -> str | None:
    """Return the balanced accuracy as text if it is not shown to be above chance; None: it is.

    A model that ignores the image has a balanced accuracy of 1 / C on average.

    Args:
        labels: `(N,)` true classes.
        predictions: `(N,)`.
        num_classes: C.
    """
    confusion = confusion_matrix(labels, predictions, num_classes).tolist()
    if is_above_chance(confusion):
        return None
    balanced, _ = balanced_accuracy(confusion)
    return (
        f"recognizes {balanced:.1%} of {len(labels):,} images, mean over the classes, which is not "
        f"shown to be above chance, {1 / num_classes:.1%}"
    )


def ranks(labels: Labels, logits: NDArray[np.floating]) -> bool:
    """Return whether a model is shown to rank two classes better than chance.

    A model may never predict a rare class and still rank it: its probabilities teach, whatever the
    threshold. With more than two classes, a model that has learned anything predicts two of them.

    Args:
        labels: `(N,)` true classes, each at least once.
        logits: `(N, C)`; False if C is not 2.

    Source: Mann and Whitney 1947, Annals of Mathematical Statistics 18, 50.
    """
    if logits.shape[1] != 2:
        return False
    odds = logits[:, 1] - logits[:, 0]
    test = mannwhitneyu(odds[labels == 1], odds[labels == 0], alternative="greater")
    return bool(test.pvalue < CHANCE_LEVEL)


def better_order(labels: Labels, predictions: Labels, num_classes: int) -> list[int] | None:
    """Return the output of each class, if another order of the outputs clearly fits better.

    The best order is found on one half of the images and tested on the other, since among so many
    orders one always fits better by chance.

    Args:
        labels: `(N,)` true classes.
        predictions: `(N,)` outputs.
        num_classes: C.

    Returns:
        `(C,)`: the output of each class; None: none is clearly better.
    """
    by_class = np.argsort(labels, kind="stable")
    found, tested = by_class[0::2], by_class[1::2]
    counts = confusion_matrix(labels[found], predictions[found], num_classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    order = linear_sum_assignment(shares, maximize=True)[1]
    labels, predictions = labels[tested], predictions[tested]
    as_given, reordered = predictions == labels, predictions == order[labels]
    places = np.argsort(order)  # the class of each output
    if (
        reordered.sum() > as_given.sum()
        and mcnemar_p(reordered, as_given) < LEVEL
        and below_chance(labels, places[predictions], num_classes) is None
    ):
        return [int(output) for output in order]
    return None


def _reordered(
    labels: Labels,
    predictions: Labels,
    order: Sequence[int],
    classes: Sequence[str],
    outputs: list[str],
) -> str:
    """Return the error message: the order that was found, and how to set it."""
    num_classes, named = len(classes), list(outputs)
    for name, output in zip(classes, order, strict=True):
        named[outputs.index(classes[output])] = name
    moved = [
        f"output {outputs.index(classes[output])} is {classes[c]}, expected {classes[output]}"
        for c, output in enumerate(order)
        if c != output
    ]
    reordered = np.argsort(order)[predictions]
    before, after = (
        balanced_accuracy(confusion_matrix(labels, called, num_classes).tolist())[0]
        for called in (predictions, reordered)
    )
    text = (
        f"teacher outputs are in a different class order: {', '.join(moved[:10])}. Its balanced "
        f"accuracy on {len(labels):,} images is {before:.1%}, and {after:.1%} in the order found; "
        f"set {classes_line(named)}"
    )
    if after < (1 + 1 / num_classes) / 2:  # half way from chance to 1
        text += (
            ". That is still low: check that it is trained, and that its images are scaled as in "
            "its training (teacher.normalize)"
        )
    return text


def evaluate_pretrained(model: nn.Module, splits: Splits, metric: Metric) -> TrainingResult:
    """Evaluate a pretrained teacher; its result has a single epoch, number 0.

    Args:
        model: Gives logits `(B, C)`, on the device of the images.
        splits: `train` and `validation` are used.
        metric: Of the study.

    Raises:
        KdtoolError: Its classes are in another order, or it is not shown to be above chance.
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
        device=validation.device.type,
        precision="fp32",
    )


def notes_of(model: nn.Module, images: Split) -> list[str]:
    """Run a pretrained teacher on one image; return notes for the user.

    Raises:
        KdtoolError: It does not take such images.
    """
    model.eval()(as_input(images.batch(torch.arange(1))[0]))
    notes = []
    for file in (part for part in model.modules() if isinstance(part, OnnxTeacher)):
        notes += file.notes
        cost = graph_cost(file)
        gaps = (("parameters", cost.uncounted_params), ("MACs", cost.uncounted_macs))
        for kind, operators in gaps:
            if operators:
                notes.append(
                    f"the {kind} of {', '.join(operators)} are not counted: its {kind} in the "
                    "report are at least what it says"
                )
    return notes
