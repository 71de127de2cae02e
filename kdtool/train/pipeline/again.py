"""Export and explain: a stage of a finished study runs again, with the models that it has."""

import math
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from kdtool.edge.kit.build import check_wheel
from kdtool.edge.targets.target import Folders
from kdtool.errors import StudyError
from kdtool.recipe.load import with_settings
from kdtool.results.base import ROLES, Role
from kdtool.results.study import Results, TrainingResult
from kdtool.study.folder import Study, load_study
from kdtool.study.ownership import check_same_recipe
from kdtool.study.stages import StageRecord
from kdtool.study.written import write_results
from kdtool.train.export.card import check_no_card, warn_of_old_card, write_card
from kdtool.train.export.kit import no_student, warn_of_old_kit, write_kit
from kdtool.train.export.targets.write import warn_of_old_targets, write_targets
from kdtool.train.pipeline.finish import Swept, conclude, with_devices
from kdtool.train.pipeline.roles import train_role
from kdtool.train.reporter import Reporter
from kdtool.train.run import Run, Trained, open_run


def again(
    folder: Path,
    stage: Literal["export", "explain"],
    settings: dict[str, object],
    reporter: Reporter,
    *,
    device: str,
    folders: Folders | None = None,
) -> Results:
    """Run a stage again with the checkpoints of a study, of an older kdtool too; train no model.

    An int8 file may be fine-tuned, as in the study itself.

    Args:
        folder: Of the study.
        stage: To run again.
        settings: Recipe keys and their new values.
        reporter: Shows progress.
        device: "auto" or a PyTorch device.
        folders: That export writes as well.

    Raises:
        KdtoolError: The folder holds no finished study, or a checkpoint is missing.
    """
    folders = folders or Folders()
    study, *_ = load_study(folder, reporter.warn)  # before the lock, which would make the folder
    with study.locked():
        _, recipe, old = load_study(folder)
        check_same_recipe(study, recipe, old)
        recipe = with_settings(recipe, settings)
        if (folders.kit or folders.card or folders.targets) and old.shipped is None:
            raise no_student(study.folder)
        if folders.card:
            check_no_card(study.folder)
        if folders.wheel is not None:
            check_wheel(folders.wheel)
        run = open_run(study, recipe, device, reporter)
        check_same_data(old, run)
        models = models_of(run, old)
        study.forget(stage)
        if stage == "export":
            study.forget("latency")
        results = conclude(run, models, Swept(old.sweep, old.methods), with_files=True)
        results = write_results(study, with_devices(run, results))
        study.record_recipe(recipe)
        if folders.kit:
            write_kit(run, results, folders.wheel)
        if folders.card and results.shipped:
            write_card(run, results, models[results.shipped])
        warn_of_old_kit(run, results)
        warn_of_old_card(run, results)
        if folders.targets:
            results = write_results(study, write_targets(run, results, models, folders))
        warn_of_old_targets(run, results)
        return results


def models_of(run: Run, results: Results) -> dict[Role, list[Trained]]:
    """Return the trained models that a study's results are about, whichever kdtool trained them.

    A model is found by its training record, which must equal the one in results.json. An ONNX
    teacher has no checkpoint: its file must give the validation loss that it gave before.

    Raises:
        StudyError: A model is missing or was changed.
    """
    models: dict[Role, list[Trained]] = {}
    for role in ROLES:
        if role not in results.models:
            continue
        if run.table(role).is_onnx:
            models[role] = train_role(run, role, models)
            check_same_teacher(run, models[role][0], results.models[role].seeds[0])
            continue
        models[role] = [
            recorded_model(run.study, role, one.seed, as_trained(one))
            for one in results.models[role].seeds
        ]
    return models


def check_same_teacher(run: Run, teacher: Trained, before: TrainingResult) -> None:
    """Raise StudyError if the file of an ONNX teacher is not the one that taught the students."""
    loss, loss_before = teacher.result.best.validation_loss, before.best.validation_loss
    if not math.isclose(loss, loss_before, rel_tol=1e-4):  # another runtime rounds differently
        raise StudyError(
            f"{run.table(teacher.role).model} is not the file that taught the students of "
            f"{run.study.folder}: its validation loss is {loss:.4g}, and was {loss_before:.4g}; "
            "put the old file back, or run `kdtool distill` with the study's recipe, which trains "
            "new students"
        )


def as_trained(seed: TrainingResult) -> TrainingResult:
    """Return the part of a seed's results that its training recorded."""
    fields = TrainingResult.model_fields
    return TrainingResult.model_validate({name: getattr(seed, name) for name in fields})


def recorded_model(study: Study, role: Role, seed: int, expected: TrainingResult) -> Trained:
    """Return the model that gave a training result.

    Raises:
        StudyError: Its record or its checkpoint is missing or was changed.
    """
    pattern = f"{role}-seed{seed}-*"
    for name, record in study.records(pattern):
        if training_result(record) == expected and study.has_files(name, record):
            checkpoint = study.folder / "checkpoints" / f"{name}.safetensors"
            return Trained(role, seed, record.key, checkpoint, expected)
    raise StudyError(
        f"{study.folder / 'checkpoints' / pattern}.safetensors or its record in "
        f"{study.folder / 'stages'} is missing or was changed; `kdtool distill` with the study's "
        "recipe trains the model again"
    )


def training_result(record: StageRecord) -> TrainingResult | None:
    """Return the result of a training; None if the record, of another kdtool, has none."""
    try:
        return TrainingResult.model_validate(record.result)
    except ValidationError:
        return None


def check_same_data(old: Results, run: Run) -> None:
    """Raise StudyError if the study has no teacher, or its recipe names other data now."""
    if "teacher" not in old.models:
        raise StudyError(f"{run.study.folder} has no teacher; `kdtool finetune RECIPE` trains it")
    if old.data.fingerprint != run.fingerprint:
        raise StudyError(
            f"{run.study.folder} was made from {old.data.description}, but its recipe now names "
            f"other data, {run.splits.result.description}; set data.root in "
            f"{run.study.recipe_path} to the path of the old data"
        )
