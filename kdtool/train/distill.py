"""The whole study: teachers, controls, and students that learn from a teacher."""

from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from kdtool.claim import claim, files_made_otherwise
from kdtool.evidence import SweepPoint
from kdtool.recipe import Recipe
from kdtool.recipe_file import with_settings
from kdtool.record import ROLES, TEACHER_OF, Role
from kdtool.report.metrics import told, value
from kdtool.results import Results, load_results
from kdtool.study import Study, swept_role
from kdtool.terminal.progress import Terminal
from kdtool.train.ahead import train_ahead
from kdtool.train.conclude import conclude, sweep_points, write_results
from kdtool.train.export import check_exportable
from kdtool.train.kit import warn_of_old_kit
from kdtool.train.roles import train_role
from kdtool.train.run import SUBCLASSED, TEACHERS, Run, Trained, open_run
from kdtool.train.subclass_distill import check_subclasses
from kdtool.train.sweep import Candidate, best_candidate, grid, title_of


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
                    f"without a teacher the control has {told(run.recipe.metric, 1.0)} on the "
                    f"{len(run.splits.validation):,} validation images: distillation has nothing "
                    "left to better, or they are too few to tell"
                )
                return
            if score <= control:
                metric = run.recipe.metric
                run.terminal.warn(
                    f"the {role} is no better than the control, {told(metric, score)} against "
                    f"{value(metric, control)} on validation: it has little to teach; "
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
        f"{title_of(settings)}: {told(recipe.metric, score)} on validation, mean of the seeds"
    )
    return Candidate(role, settings, recipe, students)
