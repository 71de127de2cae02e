"""One stage of a finished study once more: its ONNX files, or its saliency maps."""

from pathlib import Path
from typing import Literal

from kdtool import __version__
from kdtool.errors import StudyError
from kdtool.recipe_file import with_settings
from kdtool.record import ROLES, Role
from kdtool.results import Results
from kdtool.study import load_study
from kdtool.terminal.progress import Terminal
from kdtool.train.conclude import conclude, write_results
from kdtool.train.kit import no_student, warn_of_old_kit, write_kit
from kdtool.train.roles import train_role
from kdtool.train.run import Run, Trained, open_run


def again(
    folder: Path,
    stage: Literal["export", "explain"],
    settings: dict[str, object],
    terminal: Terminal,
    *,
    device: str,
    kit: bool = False,
) -> Results:
    """Make a stage's files anew from the checkpoints of the study; nothing is trained.

    Args:
        folder: Of the study.
        stage: Which files.
        settings: Recipe keys that are to have another value from now on.
        terminal: Shows progress.
        device: "auto" or a PyTorch device.
        kit: Write the kit of the study as well.

    Raises:
        KdtoolError: The folder holds no finished study, or a checkpoint is missing.
    """
    study, *_ = load_study(folder)  # before the lock, which would make the folder
    with study.locked():
        _, recipe, old = load_study(folder)
        recipe = with_settings(recipe, settings)
        if kit and old.shipped is None:
            raise no_student(study.folder)
        run = open_run(study, recipe, device, terminal, finished=old)
        check_same(old, run)
        models: dict[Role, list[Trained]] = {}
        for role in ROLES:
            if role in old.models:
                models[role] = train_role(run, role, models)
        study.forget(stage)
        if stage == "export":
            study.forget("latency")
        results = write_results(run, conclude(run, models, old.sweep, with_files=True))
        study.record_recipe(recipe)
        if kit:
            write_kit(run, results)
        warn_of_old_kit(run, results)
        return results


def check_same(old: Results, run: Run) -> None:
    """Raise StudyError if the study's models cannot be found again, and say why."""
    if "teacher" not in old.models:
        raise StudyError(f"{run.study.folder} holds no teacher; `kdtool finetune RECIPE` trains it")
    if old.environment.kdtool != __version__:
        raise StudyError(
            f"{run.study.folder} was made by kdtool {old.environment.kdtool}, and this is "
            f"{__version__}; `kdtool distill RECIPE` makes it again"
        )
    if old.data.fingerprint != run.fingerprint:
        raise StudyError(
            f"{run.study.folder} was made from {old.data.description}, and what the recipe names "
            f"now is {run.splits.result.description}; write the place of the old data "
            f"into {run.study.recipe_path} as data.root"
        )
