"""The whole study: teachers, controls, and students that learn from a teacher."""

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from kdtool import __version__
from kdtool.edge.kit.build import check_wheel
from kdtool.errors import StudyError
from kdtool.format import score_text, score_with_name
from kdtool.recipe.load import load_recipe, with_settings
from kdtool.recipe.schema import Recipe
from kdtool.results.base import ROLES, TEACHER_OF, Role
from kdtool.results.evidence import SweepPoint
from kdtool.results.study import ModelResult, Results, load_results
from kdtool.study.folder import Study, load_study, swept_role
from kdtool.study.ownership import CHEAP, claim, files_made_otherwise, same_but_for_files
from kdtool.terminal.progress import Terminal
from kdtool.train.export.fp32 import check_exportable
from kdtool.train.export.kit import no_student, warn_of_old_kit, write_kit
from kdtool.train.pipeline.finish import conclude, sweep_points, write_results
from kdtool.train.pipeline.parallel import train_ahead
from kdtool.train.pipeline.roles import check_subclasses, train_by_labels, train_role
from kdtool.train.pipeline.sweep import Candidate, best_candidate, grid, title_of
from kdtool.train.run import SUBCLASSED, TEACHERS, Run, Trained, open_run


@dataclass(frozen=True)
class Machine:
    """What a study may use of the machine."""

    device: str  # "auto" or a PyTorch device
    jobs: int | None = None  # processes that train; None is as many as help


def distill(
    study: Study,
    recipe: Recipe,
    terminal: Terminal,
    *,
    subclasses: bool,
    machine: Machine,
    sweep: dict[str, list[Any]],
    force: bool,
) -> Results:
    """Run the study: teachers, controls, students, files, figures and the verdicts.

    Args:
        study: Its folder.
        recipe: What to do.
        terminal: Shows progress.
        subclasses: Whether to distil through subclasses too; a study that did goes on doing so,
            unless `force`.
        machine: What of it may be used.
        sweep: Recipe keys and the values to choose from, on validation; may be empty.
        force: Take over a folder that another recipe made.

    Raises:
        KdtoolError: The recipe, the data, a model, the device or the folder cannot be used.
    """
    settings = grid(recipe, sweep, subclasses=subclasses)
    with study.locked():
        run = open_run(study, recipe, machine.device, terminal)
        if not subclasses and not force and has_subclasses(study):
            terminal.say("this study holds subclass students too, which stay in it")
            subclasses = True
        roles = [role for role in ROLES if subclasses or role not in SUBCLASSED]
        for _, chosen in settings:
            if subclasses:
                check_subclasses(replace(run, recipe=chosen))
        made_otherwise = files_made_otherwise(study, recipe)
        claim(study, recipe, run.splits.result, sweep=sweep, force=force)
        for text in made_otherwise:
            terminal.warn(text)
        check_exportable(run, "teacher")
        check_exportable(run, "student")  # the other roles have the networks of these two
        train_ahead(run, roles, settings, machine.jobs)
        if sweep:
            candidates = [try_settings(run, swept_role(sweep), *setting) for setting in settings]
            best = best_candidate(candidates)
            terminal.say(f"chosen on validation: {title_of(best.settings)}")
            run = replace(run, recipe=best.recipe)
        study.record_recipe(run.recipe)
        models: dict[Role, list[Trained]] = {}
        for role in roles:
            models[role] = train_role(run, role, models)
        warn_of_weak_teachers(run, models)
        points = [] if force else standing_points(run, sweep)
        if sweep:
            points += sweep_points(run, candidates, best)
        results = write_results(run, conclude(run, models, points, with_files=True))
        warn_of_old_kit(run, results)
        return results


def warn_of_weak_teachers(run: Run, models: dict[Role, list[Trained]]) -> None:
    """Say so where a teacher is no better on validation than what it is to help."""
    control = fmean(one.result.best.score for one in models["control"])
    table = run.recipe.teacher
    key = "teacher.phase" if table.phase else "teacher.epochs"
    remedy = "" if table.is_trained else f"train it longer ({key}) or "
    for role in TEACHERS:
        for teacher in models.get(role, []):
            score = teacher.result.best.score
            if control == 1:
                run.terminal.warn(
                    f"without a teacher the control has {score_with_name(run.recipe.metric, 1.0)} "
                    f"on the {len(run.splits.validation):,} validation images: distillation has "
                    "nothing left to better, or they are too few to tell"
                )
                return
            if score <= control:
                metric = run.recipe.metric
                run.terminal.warn(
                    f"the {role} is no better than the control, {score_with_name(metric, score)} "
                    f"against {score_text(metric, control)} on validation: it has little to teach; "
                    f"{remedy}take a larger one (teacher.model)"
                )


def has_subclasses(study: Study) -> bool:
    """Say whether the study holds subclass students."""
    path = study.results_path
    return path.exists() and "subclass-student" in load_results(path).models


def standing_points(run: Run, sweep: dict[str, list[Any]]) -> list[SweepPoint]:
    """Return what an earlier sweep found, if the recipe still has the setting that it chose.

    Args:
        run: The study.
        sweep: Of this command; what it sweeps anew is left out.
    """
    path = run.study.results_path
    points = load_results(path).sweep if path.exists() else []
    kept = []
    for role in {point.role for point in points} - ({swept_role(sweep)} if sweep else set()):
        (chosen,) = [point for point in points if point.role == role and point.selected]
        if with_settings(run.recipe, dict(chosen.settings)) == run.recipe:
            kept += [point for point in points if point.role == role]
    return kept


def try_settings(run: Run, role: Role, settings: dict[str, Any], recipe: Recipe) -> Candidate:
    """Train the students of one setting of a sweep, and before them a teacher that it changes."""
    run = replace(run, recipe=recipe)
    teacher = TEACHER_OF[role]
    students = train_role(run, role, {teacher: train_role(run, teacher, {})})
    score = fmean(student.result.best.score for student in students)
    run.terminal.say(
        f"{title_of(settings)}: {score_with_name(recipe.metric, score)} on validation, "
        "mean of the seeds"
    )
    return Candidate(role, settings, recipe, students)


def again(
    folder: Path,
    stage: Literal["export", "explain"],
    settings: dict[str, object],
    terminal: Terminal,
    *,
    device: str,
    kit: bool = False,
    wheel: Path | None = None,
) -> Results:
    """Make a stage's files anew from the checkpoints of the study; nothing is trained.

    Args:
        folder: Of the study.
        stage: Which files.
        settings: Recipe keys that are to have another value from now on.
        terminal: Shows progress.
        device: "auto" or a PyTorch device.
        kit: Write the kit of the study as well.
        wheel: Of kdtool, for the kit.

    Raises:
        KdtoolError: The folder holds no finished study, or a checkpoint is missing.
    """
    study, *_ = load_study(folder)  # before the lock, which would make the folder
    with study.locked():
        _, recipe, old = load_study(folder)
        recipe = with_settings(recipe, settings)
        if kit and old.shipped is None:
            raise no_student(study.folder)
        if wheel is not None:
            check_wheel(wheel)
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
            write_kit(run, results, wheel)
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


def finetune(
    study: Study, recipe: Recipe, terminal: Terminal, *, role: Role, device: str, force: bool
) -> Results:
    """Train the teacher, or with `role` "control" the student on its own, and test it.

    Raises:
        KdtoolError: The data, a model, the device or the folder cannot be used.
    """
    with study.locked():
        if not force:
            recipe = with_cheap_tables(study, recipe)
        run = open_run(study, recipe, device, terminal)
        claim(study, recipe, run.splits.result, sweep={}, force=force)
        models: dict[Role, list[Trained]] = {role: train_by_labels(run, role)}
        return write_results(run, beside_others(study, conclude(run, models, [], with_files=False)))


def with_cheap_tables(study: Study, recipe: Recipe) -> Recipe:
    """Return a recipe with what its finished study says of files, which are not made here."""
    if not (study.results_path.exists() and study.recipe_path.exists()):
        return recipe
    standing = load_recipe(study.recipe_path)
    return recipe.model_copy(update={table: getattr(standing, table) for table in CHEAP})


def beside_others(study: Study, results: Results) -> Results:
    """Add `results` to what the study holds already, if that is of the same recipe and data."""
    if not study.results_path.exists():
        return results
    old = load_results(study.results_path)
    same_data = old.data.fingerprint == results.data.fingerprint
    if not same_data or not same_but_for_files(old.recipe, results.recipe):
        return results
    if any(files_changed(old, results, role) for role in results.models):
        return results  # what else stands there was made with other files
    models = old.models | {
        role: model
        for role, model in results.models.items()
        # a model that stood already keeps its files
        if role not in old.models or without_files(old.models[role]) != without_files(model)
    }
    in_order = {role: models[role] for role in ROLES if role in models}
    return old.model_copy(update={"models": in_order})


def files_changed(old: Results, results: Results, role: Role) -> bool:
    """Say whether a model that starts from a file is another one than that which stood."""
    starts = results.recipe["teacher" if role == "teacher" else "student"]
    assert isinstance(starts, dict)
    return (
        role in old.models
        and (starts.get("weights") is not None or str(starts["model"]).lower().endswith(".onnx"))
        and without_files(old.models[role]) != without_files(results.models[role])
    )


def without_files(model: ModelResult) -> dict[str, object]:
    """Return what training and testing gave."""
    return model.model_dump(exclude={"files", "refused", "recommended"})
