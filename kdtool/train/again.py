"""One stage of a finished study once more: its ONNX files, or its saliency maps."""

from pathlib import Path
from typing import Literal

from kdtool.recipe_file import with_settings
from kdtool.results import Results, Role
from kdtool.study import load_study
from kdtool.terminal.progress import Terminal
from kdtool.train.conclude import conclude, write_results
from kdtool.train.distill import train_students
from kdtool.train.finetune import train_by_labels
from kdtool.train.run import Trained, open_run


def again(
    folder: Path,
    stage: Literal["export", "explain"],
    settings: dict[str, object],
    terminal: Terminal,
    *,
    device: str,
) -> Results:
    """Make a stage's files anew from the checkpoints of the study; nothing is trained.

    Args:
        folder: Of the study.
        stage: Which files.
        settings: Recipe keys that are to have another value from now on.
        terminal: Shows progress.
        device: "auto" or a PyTorch device.

    Raises:
        KdtoolError: The folder holds no finished study, or a checkpoint is missing.
    """
    study, recipe, old = load_study(folder)
    with study.locked():
        recipe = with_settings(recipe, settings)
        run = open_run(study, recipe, device, terminal, may_train=False)
        models: dict[Role, list[Trained]] = {}
        for role in old.models:
            if role == "student":
                models[role] = train_students(run, models["teacher"][0])
            else:
                models[role] = train_by_labels(run, role)
        study.forget(stage)
        study.record_recipe(recipe)
        return write_results(run, conclude(run, models, old.sweep, ship=True))
