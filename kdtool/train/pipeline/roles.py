"""How the models of each role are trained: on labels, on subclasses, or on a teacher's answers."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kdtool.environment import collect_environment
from kdtool.errors import KdtoolError, RecipeError
from kdtool.files import replaced
from kdtool.results.base import TEACHER_OF, Role
from kdtool.results.study import TeacherTargets
from kdtool.study.folder import key_of
from kdtool.train.fit.batches import Batch
from kdtool.train.fit.loop import BatchLoss
from kdtool.train.fit.losses import (
    balanced_weights,
    distillation_loss,
    label_loss,
    subclass_teacher_loss,
)
from kdtool.train.fit.optimizer import check_trainable
from kdtool.train.models.device import autocast, choose_precision
from kdtool.train.models.predict import class_logits, predict
from kdtool.train.pipeline.train_model import train_model
from kdtool.train.run import SUBCLASSED, Run, Trained, load_model


def train_subclass_teacher(run: Run, class_weights: Tensor | None) -> Trained:
    """Train the teacher, of the first seed, on the labels and the auxiliary loss.

    Args:
        run: The study.
        class_weights: As of `kdtool.train.fit.losses.label_loss`.
    """
    table, num_classes = run.recipe.subclass, len(run.splits.classes)
    weight, temperature = table.auxiliary_weight, table.auxiliary_temperature

    def batch_loss(logits: Tensor, batch: Batch) -> Tensor:
        return subclass_teacher_loss(
            logits, batch.targets, num_classes, weight, temperature, class_weights
        )

    depends_on = ["subclasses", num_classes, weight, temperature]
    seed = run.recipe.seeds[0]
    return train_model(run, "subclass-teacher", seed, depends_on, lambda: batch_loss)


def check_subclasses(run: Run) -> None:
    """Check what only subclasses ask for, before anything is trained.

    Raises:
        RecipeError: The batch is too small, the subclasses too many for the memory, or the teacher
            has no head for them.
    """
    recipe = run.recipe
    if recipe.teacher.is_trained:
        raise RecipeError(
            f"[teacher] {recipe.teacher.without_paths.model} comes trained and cannot teach "
            "subclasses, for which a teacher is trained with a head of them; take one that is "
            "trained here, with `epochs` or phases, or use `kdtool distill`"
        )
    if recipe.teacher.batch_size == 1 and recipe.subclass.auxiliary_weight > 0:
        raise RecipeError(
            "got teacher.batch_size = 1, expected 2 or more: the auxiliary loss tells the images "
            "of a batch apart; set subclass.auxiliary_weight = 0 to do without it"
        )
    check_memory(run)
    run.terminal.say(
        f"subclasses: {recipe.subclass.per_class} in each of {len(run.splits.classes)} classes; "
        "the loss of their teacher may be negative"
    )
    for role in SUBCLASSED:
        try:
            check_trainable(run.build(role, seed=0), run.table(role), run.num_logits(role))
        except KdtoolError as error:
            num_classes, per_class = len(run.splits.classes), recipe.subclass.per_class
            raise RecipeError(
                f"{error}; a {role} needs a head of {run.num_logits(role)} logits, "
                f"{num_classes} classes of {per_class} subclasses each"
            ) from error


def check_memory(run: Run) -> None:
    """Raise RecipeError if the answers of the subclass teacher cannot fit into memory."""
    per_class, num_images = run.recipe.subclass.per_class, len(run.transfer.train)
    # float32: the answers while they are put together, and a head of some 1,000 inputs with its
    # gradient and Adam's two moments.
    needed = 4 * run.num_logits("subclass-teacher") * (2 * num_images + 4 * 1000)
    memory = memory_of(run.device)
    if memory is not None and needed > memory:
        most = max(1, per_class * memory // needed)
        raise RecipeError(
            f"got subclass.per_class = {per_class:,}: the answers to {num_images:,} images, for "
            f"{len(run.splits.classes)} classes of so many subclasses, take about "
            f"{needed / 2**30:,.1f} GiB, and this {run.device.type} has {memory / 2**30:,.1f} GiB; "
            f"at most {most:,} fit, and 2 to 10 are usual"
        )


def memory_of(device: torch.device) -> int | None:
    """Return the bytes of memory of a device; None where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[1])
    return collect_environment(None).memory_bytes


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
