"""The whole study: teachers, controls, and students that learn from a teacher."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdtool.files import replaced
from kdtool.recipe import Recipe
from kdtool.record import ROLES, Role
from kdtool.results import Results, TeacherTargets, load_results
from kdtool.study import Study, key_of
from kdtool.terminal.progress import Terminal
from kdtool.train.conclude import conclude, portable, sweep_points, write_results
from kdtool.train.export import check_exportable
from kdtool.train.finetune import train_by_labels
from kdtool.train.kit import warn_of_old_kit
from kdtool.train.loop import BatchLoss
from kdtool.train.losses import class_logits, distillation_loss
from kdtool.train.predict import predict
from kdtool.train.run import SUBCLASSED, Run, Trained, load_model, open_run, train_model
from kdtool.train.subclass_distill import check_subclasses, train_subclass_teacher
from kdtool.train.sweep import Candidate, best_candidate, grid, swept_role

TEACHER_OF: dict[Role, Role] = {"student": "teacher", "subclass-student": "subclass-teacher"}


def distill(
    study: Study,
    recipe: Recipe,
    terminal: Terminal,
    *,
    subclasses: bool,
    device: str,
    sweep: dict[str, list[Any]],
    force: bool,
) -> Results:
    """Run the study: teachers, controls, students, files, figures and the verdicts.

    Args:
        study: Its folder.
        recipe: What to do.
        terminal: Shows progress.
        subclasses: Whether to distil through subclasses too; a study that did goes on doing so.
        device: "auto" or a PyTorch device.
        sweep: Recipe keys and the values to choose from, on validation; may be empty.
        force: Take over a folder that another recipe made.

    Raises:
        KdtoolError: The recipe, the data, a model, the device or the folder cannot be used.
    """
    settings = grid(recipe, sweep, subclasses=subclasses)
    with study.locked():
        run = open_run(study, recipe, device, terminal)
        study.claim(recipe, run.splits.result, sweep=sweep, force=force)
        subclasses = subclasses or has_subclasses(run)
        roles = [role for role in ROLES if subclasses or role not in SUBCLASSED]
        for _, chosen in settings:
            if subclasses:
                check_subclasses(replace(run, recipe=chosen))
        for role in roles:
            check_exportable(run, role)
        candidates, points = [], []
        if sweep:
            candidates = [try_settings(run, swept_role(sweep), *setting) for setting in settings]
            best = best_candidate(candidates)
            terminal.say(f"chosen on validation: {best.title}")
            run = replace(run, recipe=best.recipe)
        study.record_recipe(run.recipe)
        models: dict[Role, list[Trained]] = {}
        for role in roles:
            models[role] = train_role(run, role, models)
        if sweep:
            points = sweep_points(run, candidates, best)
        results = write_results(run, conclude(run, models, points, with_files=True))
        warn_of_old_kit(run, results)
        return results


def has_subclasses(run: Run) -> bool:
    """Say whether the study holds subclass students of the same recipe and data."""
    if not run.study.results_path.exists():
        return False
    old = load_results(run.study.results_path)
    return (
        "subclass-student" in old.models
        and old.data.fingerprint == run.fingerprint
        and old.recipe == portable(run.recipe)
    )


def try_settings(run: Run, role: Role, settings: dict[str, Any], recipe: Recipe) -> Candidate:
    """Train the students of one setting of a sweep, and before them a teacher that it changes."""
    run = replace(run, recipe=recipe)
    teacher = TEACHER_OF[role]
    models = {teacher: train_role(run, teacher, {})}
    candidate = Candidate(role, settings, recipe, [])
    run.terminal.say(candidate.title)
    return replace(candidate, students=train_role(run, role, models))


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
        return [train_subclass_teacher(run)]
    return train_by_labels(run, role)


def train_students(run: Run, role: Role, teacher: Trained) -> list[Trained]:
    """Train one student a seed on the soft targets of `teacher`."""
    table = run.recipe.subclass if role in SUBCLASSED else run.recipe.distill
    num_classes, temperature, soft_weight = (
        len(run.splits.classes),
        table.temperature,
        table.soft_weight,
    )

    def make_loss() -> BatchLoss:
        targets = teacher_logits(run, teacher)

        def batch_loss(logits: Tensor, labels: Tensor, index: Tensor) -> Tensor:
            return distillation_loss(
                logits, targets[index], labels, num_classes, temperature, soft_weight
            )

        return batch_loss

    depends_on = [temperature, soft_weight, teacher.key]
    return [train_model(run, role, seed, depends_on, make_loss) for seed in run.recipe.seeds]


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
