"""Knowledge distillation: the whole study, with students that learn from a teacher."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdtool.files import replaced
from kdtool.recipe import Recipe
from kdtool.record import Role
from kdtool.results import Results, TeacherTargets
from kdtool.study import Study, key_of
from kdtool.terminal.progress import Terminal
from kdtool.train.conclude import conclude, sweep_points, write_results
from kdtool.train.export import check_exportable
from kdtool.train.finetune import train_by_labels
from kdtool.train.kit import warn_of_old_kit
from kdtool.train.loop import BatchLoss
from kdtool.train.losses import distillation_loss
from kdtool.train.predict import predict
from kdtool.train.run import Run, Trained, load_model, open_run, train_model
from kdtool.train.sweep import Candidate, best_candidate, grid


def distill(
    study: Study,
    recipe: Recipe,
    terminal: Terminal,
    *,
    device: str,
    sweep: dict[str, list[Any]],
    force: bool,
) -> Results:
    """Run the study: teacher, controls, students, files, figures and the verdict.

    Args:
        study: Its folder.
        recipe: What to do.
        terminal: Shows progress.
        device: "auto" or a PyTorch device.
        sweep: Recipe keys and the values to choose from, on validation; may be empty.
        force: Take over a folder that another recipe made.

    Raises:
        KdtoolError: The recipe, the data, a model, the device or the folder cannot be used.
    """
    settings = grid(recipe, sweep)
    with study.locked():
        run = open_run(study, recipe, device, terminal)
        study.claim(recipe, run.splits.result, sweep=sweep, force=force)
        check_exportable(run, "teacher")
        check_exportable(run, "student")
        teachers = train_by_labels(run, "teacher")
        controls = train_by_labels(run, "control")
        candidates = []
        for values, chosen in settings:
            if values:
                terminal.say(", ".join(f"{key} = {value}" for key, value in values.items()))
            students = train_students(replace(run, recipe=chosen), teachers[0])
            candidates.append(Candidate(values, chosen, students))
        best = best_candidate(candidates)
        if sweep:
            winner = ", ".join(f"{key} = {value}" for key, value in best.settings.items())
            terminal.say(f"chosen on validation: {winner}")
        study.record_recipe(best.recipe)
        run = replace(run, recipe=best.recipe)
        points = sweep_points(run, candidates, best) if sweep else []
        models: dict[Role, list[Trained]] = {
            "teacher": teachers,
            "control": controls,
            "student": best.students,
        }
        results = write_results(run, conclude(run, models, points, with_files=True))
        warn_of_old_kit(run, results)
        return results


def train_students(run: Run, teacher: Trained) -> list[Trained]:
    """Train one student a seed on the soft targets of `teacher`."""
    table = run.recipe.distill
    depends_on = [table.model_dump(), teacher.key]

    def make_loss() -> BatchLoss:
        targets = teacher_logits(run, teacher)

        def batch_loss(logits: Tensor, labels: Tensor, index: Tensor) -> Tensor:
            return distillation_loss(
                logits, targets[index], labels, table.temperature, table.soft_weight
            )

        return batch_loss

    return [train_model(run, "student", seed, depends_on, make_loss) for seed in run.recipe.seeds]


def teacher_logits(run: Run, teacher: Trained) -> Tensor:
    """Return the teacher's logits of the train split, `(N, C)` in its order, on the device.

    They are computed once, in eval mode, and kept under a hash of the teacher and the data, so
    that they cannot be those of another teacher or of other images.
    """
    key = key_of(teacher.key, run.fingerprint)
    name = f"teacher-logits-{key[:8]}"
    path = run.study.folder / "predictions" / f"{name}.npy"

    def make() -> tuple[TeacherTargets, list[Path]]:
        logits = predict(load_model(run, teacher), run.splits.train)
        right = logits.argmax(dim=1) == run.splits.train.labels
        with replaced(path) as unfinished:
            np.save(unfinished, logits.cpu().numpy())
        accuracy = right.float().mean().item()
        return TeacherTargets(num_images=len(logits), accuracy=accuracy), [path]

    run.study.stage(name, key, TeacherTargets, make)
    return torch.from_numpy(np.load(path, allow_pickle=False)).to(run.device)
