"""Train the teacher, or the control: models that learn from the labels alone."""

from torch import Tensor
from torch.nn import functional as F

from kdtool.recipe import Recipe
from kdtool.results import Results, Role
from kdtool.study import Study
from kdtool.terminal.progress import Terminal
from kdtool.train.conclude import conclude
from kdtool.train.run import Run, Trained, open_run, train_model


def finetune(
    study: Study, recipe: Recipe, terminal: Terminal, *, role: Role, device: str, force: bool
) -> Results:
    """Train the teacher, or with `role` "control" the student on its own, and test it.

    Raises:
        KdtoolError: The data, a model, the device or the folder cannot be used.
    """
    with study.locked():
        study.claim(recipe, sweep={}, force=force)
        run = open_run(study, recipe, device, terminal)
        models: dict[Role, list[Trained]] = {role: train_by_labels(run, role)}
        return conclude(run, models, [], ship=False)


def train_by_labels(run: Run, role: Role) -> list[Trained]:
    """Train one teacher, of the first seed, or one control a seed."""
    seeds = run.recipe.seeds[:1] if role == "teacher" else run.recipe.seeds
    return [train_model(run, role, seed, "cross-entropy", lambda: label_loss) for seed in seeds]


def label_loss(logits: Tensor, labels: Tensor, _index: Tensor) -> Tensor:
    """Cross-entropy with the labels; scalar, in nats, mean over the batch."""
    return F.cross_entropy(logits, labels)
