"""How the models of each role are trained: on labels, on subclasses, or on a teacher's answers."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdtool.files import replaced
from kdtool.record import TEACHER_OF, Role
from kdtool.results import TeacherTargets
from kdtool.study import key_of
from kdtool.train.batch import Batch
from kdtool.train.device import autocast, choose_precision
from kdtool.train.loop import BatchLoss
from kdtool.train.losses import (
    balanced_weights,
    class_logits,
    distillation_loss,
    label_loss,
)
from kdtool.train.predict import predict
from kdtool.train.run import SUBCLASSED, Run, Trained, load_model
from kdtool.train.subclass_distill import train_subclass_teacher
from kdtool.train.train_model import train_model


def train_role(run: Run, role: Role, models: Mapping[Role, list[Trained]]) -> list[Trained]:
    """Train all models of one role, or find those that stand.

    Args:
        run: The study.
        role: One teacher, or one student or control a seed.
        models: Holds the teacher of a student.
    """
    if role in TEACHER_OF:
        return train_students(run, role, models[TEACHER_OF[role]][0])
    if role == "subclass-teacher":
        return [train_subclass_teacher(run, class_weights(run, role))]
    return train_by_labels(run, role)


def train_by_labels(run: Run, role: Role) -> list[Trained]:
    """Train one teacher, of the first seed, or one control a seed."""
    seeds = run.recipe.seeds[:1] if role == "teacher" else run.recipe.seeds
    weights = class_weights(run, role)

    def batch_loss(logits: Tensor, batch: Batch) -> Tensor:
        return label_loss(logits, batch.targets, weights)

    return [train_model(run, role, seed, "cross-entropy", lambda: batch_loss) for seed in seeds]


def class_weights(run: Run, role: Role) -> Tensor | None:
    """Return the weights `(C,)` of the classes in the loss of the labels; None: all alike."""
    if run.table(role).class_weights == "none":
        return None
    return balanced_weights(run.splits_of(role).train.labels, len(run.splits.classes))


def train_students(run: Run, role: Role, teacher: Trained) -> list[Trained]:
    """Train one student a seed on the soft targets of `teacher`."""
    table = run.recipe.subclass if role in SUBCLASSED else run.recipe.distill
    num_classes, temperature, soft_weight = (
        len(run.splits.classes),
        table.temperature,
        table.soft_weight,
    )

    weights = class_weights(run, role)

    def make_loss() -> BatchLoss:
        answers = teacher_answers(run, teacher, role)

        def batch_loss(logits: Tensor, batch: Batch) -> Tensor:
            soft = answers(batch)
            return distillation_loss(
                logits, soft, batch.targets, num_classes, temperature, soft_weight, weights
            )

        return batch_loss

    depends_on = [temperature, soft_weight, teacher.key]
    return [train_model(run, role, seed, depends_on, make_loss) for seed in run.recipe.seeds]


def sees_fixed_images(run: Run, role: Role) -> bool:
    """Say whether the models of a role see the same images in every epoch, as they are."""
    return not run.recipe.data.augment and not run.table(role).mixup


def teacher_answers(run: Run, teacher: Trained, role: Role) -> Callable[[Batch], Tensor]:
    """Return what gives the teacher's logits `(B, C * S)` of a batch.

    Images that are the same in every epoch are answered once, before; those that are augmented or
    mixed when the student sees them, and then the teacher sees the very same.

    Args:
        run: The study.
        teacher: Whom the student learns from.
        role: Of the student.
    """
    if sees_fixed_images(run, role):
        targets = teacher_logits(run, teacher)
        return lambda batch: targets[batch.index]
    model = load_model(run, teacher)
    precision = choose_precision(run.table(role).precision, run.device, model)

    def answer(batch: Batch) -> Tensor:
        with torch.no_grad(), autocast(run.device, precision):
            logits: Tensor = model(batch.images)
        return logits.float()

    return answer


def teacher_logits(run: Run, teacher: Trained) -> Tensor:
    """Return the teacher's logits of the images that students learn from, on the device.

    They are computed once, in eval mode, and kept under a hash of the teacher and the data, so
    that they cannot be those of another teacher or of other images.

    Returns:
        `(N, C * S)`, in the order of the transfer set.
    """
    key = key_of(teacher.key, run.fingerprint, run.splits.result.excluded)
    name = f"{teacher.role}-logits-{key[:8]}"
    path = run.study.folder / "predictions" / f"{name}.npy"

    def make() -> tuple[TeacherTargets, list[Path]]:
        train = run.transfer.train
        logits = predict(load_model(run, teacher), train)
        right = class_logits(logits, len(run.splits.classes)).argmax(dim=1) == train.labels
        with replaced(path) as unfinished:
            np.save(unfinished, logits.cpu().numpy())
        accuracy = right.float().mean().item()
        return TeacherTargets(num_images=len(logits), accuracy=accuracy), [path]

    run.study.stage(name, key, TeacherTargets, make)
    return torch.from_numpy(np.load(path, allow_pickle=False)).to(run.device)
