"""The teacher that invents subclasses inside each class."""

import torch
from torch import Tensor

from kdtool.environment import collect_environment
from kdtool.errors import KdtoolError, RecipeError
from kdtool.train.batch import Batch
from kdtool.train.losses import subclass_teacher_loss
from kdtool.train.run import SUBCLASSED, Run, Trained
from kdtool.train.train_model import train_model
from kdtool.train.trainable import check_trainable


def train_subclass_teacher(run: Run, class_weights: Tensor | None) -> Trained:
    """Train the teacher, of the first seed, on the labels and the auxiliary loss.

    Args:
        run: The study.
        class_weights: As of `kdtool.train.losses.label_loss`.
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
