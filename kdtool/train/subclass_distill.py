"""The teacher that invents subclasses inside each class."""

import os

import torch
from torch import Tensor

from kdtool.errors import RecipeError
from kdtool.train.losses import subclass_teacher_loss
from kdtool.train.run import Run, Trained, train_model


def train_subclass_teacher(run: Run) -> Trained:
    """Train the teacher, of the first seed, on the labels and the auxiliary loss."""
    table, num_classes = run.recipe.subclass, len(run.splits.classes)
    weight, temperature = table.auxiliary_weight, table.auxiliary_temperature

    def batch_loss(logits: Tensor, labels: Tensor, _index: Tensor) -> Tensor:
        return subclass_teacher_loss(logits, labels, num_classes, weight, temperature)

    depends_on = ["subclasses", num_classes, weight, temperature]
    seed = run.recipe.seeds[0]
    return train_model(run, "subclass-teacher", seed, depends_on, lambda: batch_loss)


def check_subclasses(run: Run) -> None:
    """Check what only subclasses ask for, before anything is trained.

    Raises:
        RecipeError: The batch is too small, the subclasses too many for the memory, or the teacher
            has no head for them.
    """
    recipe, num_classes = run.recipe, len(run.splits.classes)
    if recipe.teacher.batch_size == 1 and recipe.subclass.auxiliary_weight > 0:
        raise RecipeError(
            "got teacher.batch_size = 1, expected 2 or more: the auxiliary loss tells the images "
            "of a batch apart; set subclass.auxiliary_weight = 0 to do without it"
        )
    per_class = recipe.subclass.per_class
    # Logits of the train images, with as much again for the tests of validation and test images.
    needed = 4 * run.num_logits("subclass-teacher") * 2 * len(run.transfer.train)
    free = free_memory(run.device)
    if needed > free:
        raise RecipeError(
            f"got subclass.per_class = {per_class:,}: {num_classes} classes of so many subclasses "
            f"take {needed / 2**30:,.1f} GiB for the answers to {len(run.transfer.train):,} images "
            f"alone, and {free / 2**30:,.1f} GiB are free; expected at most "
            f"{max(1, per_class * free // needed):,}, and 2 to 10 are usual"
        )
    run.build("subclass-teacher", seed=0)
    run.build("subclass-student", seed=0)


def free_memory(device: torch.device) -> int:
    """Return the free bytes where the answers of a teacher are kept."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
