"""The commands that train: distill, subclass-distill, finetune; `again` has export and explain."""

from dataclasses import dataclass, replace
from functools import partial
from statistics import fmean
from typing import Any

from kdtool.format import score_with_name
from kdtool.recipe.load import with_settings
from kdtool.recipe.schema import ExportTable, Recipe
from kdtool.results.base import ROLES, TEACHER_OF, Role
from kdtool.results.study import ModelResult, Results, load_results
from kdtool.study.finished import command_key, record_finished
from kdtool.study.folder import Study, swept_role
from kdtool.study.ownership import CHEAP, claim, files_made_otherwise, same_but_for_files
from kdtool.study.written import write_results
from kdtool.train.export.fp32 import check_exportable
from kdtool.train.export.kit import warn_of_old_kit
from kdtool.train.export.targets.write import warn_of_old_targets
from kdtool.train.models.networks import BUILT_IN
from kdtool.train.pipeline.finish import Swept, conclude, methods_of, sweep_points, with_devices
from kdtool.train.pipeline.inputs import inputs_of
from kdtool.train.pipeline.parallel.ahead import train_ahead
from kdtool.train.pipeline.parallel.cluster import check_answers, connected, warn_of_unused_gpus
from kdtool.train.pipeline.parallel.ranks import meet
from kdtool.train.pipeline.roles import (
    check_method,
    check_subclasses,
    plan_by_labels,
    plan_role,
    train_role,
)
from kdtool.train.pipeline.sweep import (
    Candidate,
    Settings,
    best_candidate,
    grid,
    settings_of,
    title_of,
)
from kdtool.train.pipeline.teachers import check_teachers, is_checked, warn_of_perfect_control
from kdtool.train.pipeline.train_model import find_trained, train_model, why_again
from kdtool.train.pipeline.workload import missing_models, numbered
from kdtool.train.ranks.group import ALONE, Ranks
from kdtool.train.reporter import Reporter
from kdtool.train.run import Run, Trained, check_models, open_run, roles_of, table_of

DEFAULT_OPSET = ExportTable().opset


@dataclass(frozen=True)
class Machine:
    """What a study may use of this machine, and of others."""

    asked: str  # the device as the user gives it, "auto" included
    device: str  # that is used; of several ranks that of this one
    jobs: int | None = None  # training processes; None: chosen by `jobs_of`
    cluster: str | None = None  # "local", "auto" or the address of a Ray cluster
    ranks: Ranks = ALONE  # that train each model together


@dataclass(frozen=True)
class Consent:
    """What is done only if the user asks for it."""

    force: bool = False  # take over a folder that another recipe made
    anyway: bool = False  # train students although every teacher is no better than the control


def distill(
    study: Study,
    recipe: Recipe,
    reporter: Reporter,
    *,
    subclasses: bool,
    machine: Machine,
    sweep: dict[str, list[Any]],
    consent: Consent,
) -> Results:
    """Run the whole study: teachers, controls, students, files, figures and verdicts.

    Args:
        study: Its folder.
        recipe: Of the study.
        reporter: Shows progress.
        subclasses: Whether to distil through subclasses too. A study that has subclass students
            keeps them, unless the folder is taken over.
        machine: What may be used of it.
        sweep: Recipe keys and the values to choose from, on validation; may be empty.
        consent: What the user allows.

    Raises:
        GateError: Every teacher is no better than the control.
        KdtoolError: The recipe, the data, a model, the device or the folder cannot be used.
    """
    check_answers(machine.cluster)
    settings = grid(recipe, sweep, subclasses=subclasses)
    command = command_key(recipe, subclasses=subclasses, sweep=sweep, device=machine.asked)
    with study.locked():
        run = open_run(study, recipe, machine.device, reporter, machine.ranks)
        check_models(run)
        meet(run, [recipe for _, recipe in settings], ["teacher", "student"])
        if not subclasses and not consent.force and has_subclasses(study):
            reporter.say("this study has subclass students too; they are kept")
            subclasses = True
        roles = roles_of(subclasses=subclasses)
        students = [role for role in roles if role in TEACHER_OF]
        check_settings(run, settings, sweep, subclasses=subclasses, force=consent.force)
        warn_of_retraining(run, roles)
        tried = settings_of(roles, settings)
        # With all students trained, the files may be made again whatever the teachers are.
        missing = missing_models(run, tried)
        anyway = consent.anyway or all(role not in students for role, _ in missing)
        check = partial(check_teachers, students=students, anyway=anyway)
        # A sweep of [subclass] has a subclass teacher for each of its settings.
        early = [role for role in roles if role not in students and len(tried[role]) == 1]
        with connected(machine.cluster, recipe) as cluster:
            warn_of_unused_gpus(run, machine.asked, cluster)
            run = numbered(run, tried, missing, machine.jobs, cluster)
            if not run.ranks.are_several:
                checked = partial(is_checked, run, early, check)
                train_ahead(run, tried, machine.jobs, cluster, checked)
        check(run, {role: train_role(run, role, {}) for role in early})
        if sweep:
            candidates = [try_settings(run, swept_role(sweep), *setting) for setting in settings]
            best = best_candidate(candidates)
            reporter.say(f"chosen on validation: {title_of(best.settings)}")
            run = replace(run, recipe=best.recipe)
        study.record_recipe(run.recipe)
        models: dict[Role, list[Trained]] = {}
        for role in roles:
            models[role] = train_role(run, role, models)
        check_teachers(run, models, students, anyway=True)
        warn_of_perfect_control(run, models)
        swept = Swept() if consent.force else earlier_sweep(run, sweep)
        if sweep:
            methods = methods_of(run, candidates, best, models["control"]) or swept.methods
            swept = Swept(swept.points + sweep_points(run, candidates, best), methods)
        results = conclude(run, models, swept, with_files=True)
        results = write_results(study, with_devices(run, results))
        warn_of_old_kit(run, results)
        warn_of_old_targets(run, results)
        record_finished(study, command, inputs_of(recipe))
        return results


def check_settings(
    run: Run,
    settings: list[tuple[Settings, Recipe]],
    sweep: dict[str, list[Any]],
    *,
    subclasses: bool,
    force: bool,
) -> None:
    """Check before training what a whole study needs, and bind its folder to the recipe.

    Args:
        run: The study.
        settings: Of `grid`.
        sweep: As of `distill`.
        subclasses: Whether there will be subclass students.
        force: As of `distill`.

    Raises:
        KdtoolError: The folder holds another study, or a model cannot be trained or exported.
    """
    for _, chosen in settings:
        check_method(replace(run, recipe=chosen))
        if subclasses:
            check_subclasses(replace(run, recipe=chosen))
    made_otherwise = files_made_otherwise(run.study, run.recipe)
    claim(run.study, run.recipe, run.splits.result, sweep=sweep, force=force)
    for text in made_otherwise:
        run.reporter.warn(text)
    roles: tuple[Role, ...] = ("teacher", "student")  # the others have the networks of these two
    for role in roles:
        # An export takes seconds; that the built-in networks can be exported is for kdtool's tests.
        if run.table(role).model not in BUILT_IN or run.recipe.export.opset != DEFAULT_OPSET:
            check_exportable(run, role)


def warn_of_retraining(run: Run, roles: list[Role]) -> None:
    """Warn, before training, which models of the study are trained again as kdtool changed."""
    changed: dict[Role, str] = {}
    for role in roles:
        if why := why_trained_again(run, role, changed):
            changed[role] = why
    for why in dict.fromkeys(changed.values()):
        names = ", ".join(role for role in changed if changed[role] == why)
        run.reporter.warn(
            f"an older kdtool trained the models in {run.study.folder}, and its algorithm changed "
            f"since ({why}). These are trained again: {names}. `kdtool export {run.study.folder}` "
            "and `kdtool explain` use the old models as they were trained; to keep them, interrupt "
            "now and give this run another folder with --out"
        )


def why_trained_again(run: Run, role: Role, changed: dict[Role, str]) -> str | None:
    """Return the changed algorithms for which the models of a role are trained again.

    Args:
        run: The study.
        role: Of the models.
        changed: What was found for its teacher; a student's key depends on its teacher's.
    """
    models: dict[Role, list[Trained]] = {}
    if teacher := TEACHER_OF.get(role):
        if teacher in changed:
            return changed[teacher] if any(run.study.records(f"{role}-seed*")) else None
        found = [find_trained(run, plan) for plan in plan_role(run, teacher, {})]
        models[teacher] = [one for one in found if one]
        if len(models[teacher]) < len(found):
            return None  # it was never trained, and so neither were its students
    plans = [plan for plan in plan_role(run, role, models) if find_trained(run, plan) is None]
    reasons = (", ".join(why_again(run.study, plan)) for plan in plans)
    return next(filter(None, reasons), None)


def has_subclasses(study: Study) -> bool:
    """Return whether the study has subclass students."""
    path = study.results_path
    return path.exists() and "subclass-student" in load_results(path).models


def earlier_sweep(run: Run, sweep: dict[str, list[Any]]) -> Swept:
    """Return what an earlier sweep found, if the recipe still has the setting that it chose.

    Args:
        run: The study.
        sweep: Of this command; a table that it sweeps again is left out.
    """
    if not run.study.results_path.exists():
        return Swept()
    old = load_results(run.study.results_path)
    points, kept = old.sweep, []
    for role in {point.role for point in points} - ({swept_role(sweep)} if sweep else set()):
        (chosen,) = [point for point in points if point.role == role and point.selected]
        if with_settings(run.recipe, dict(chosen.settings)) == run.recipe:
            kept += [point for point in points if point.role == role]
    return Swept(kept, old.methods if any(point.role == "student" for point in kept) else [])


def try_settings(run: Run, role: Role, settings: dict[str, Any], recipe: Recipe) -> Candidate:
    """Train the students of one setting of a sweep, and its teacher if the setting changes it."""
    run = replace(run, recipe=recipe)
    teacher = TEACHER_OF[role]
    students = train_role(run, role, {teacher: train_role(run, teacher, {})})
    score = fmean(student.result.best.score for student in students)
    run.reporter.say(
        f"{title_of(settings)}: {score_with_name(recipe.metric, score)} on validation, "
        "mean of the seeds"
    )
    return Candidate(role, settings, recipe, students)


def finetune(
    study: Study, recipe: Recipe, reporter: Reporter, *, role: Role, machine: Machine, force: bool
) -> Results:
    """Train and test the teacher, or with `role` "control" the student without a teacher.

    Raises:
        KdtoolError: The data, a model, the device or the folder cannot be used.
    """
    check_answers(machine.cluster)
    with study.locked():
        if not force:
            recipe = with_cheap_tables(study, recipe)
        run = open_run(study, recipe, machine.device, reporter, machine.ranks)
        check_models(run)
        meet(run, [recipe], [table_of(role)])
        claim(study, recipe, run.splits.result, sweep={}, force=force)
        warn_of_retraining(run, [role])
        with connected(machine.cluster, recipe) as cluster:
            warn_of_unused_gpus(run, machine.asked, cluster)
            if not run.ranks.are_several:
                train_ahead(run, {role: [({}, recipe)]}, machine.jobs, cluster, lambda: True)
        models = {role: [train_model(run, plan) for plan in plan_by_labels(run, role)]}
        results = conclude(run, models, Swept(), with_files=False)
        return write_results(study, with_devices(run, with_other_models(study, results)))


def with_cheap_tables(study: Study, recipe: Recipe) -> Recipe:
    """Return a recipe with its finished study's tables about files, which are not made here."""
    if not (study.results_path.exists() and study.recipe_path.exists()):
        return recipe
    recorded = study.load_recipe()
    return recipe.model_copy(update={table: getattr(recorded, table) for table in CHEAP})


def with_other_models(study: Study, results: Results) -> Results:
    """Add `results` to the models of the study, if those have the same recipe and data."""
    if not study.results_path.exists():
        return results
    old = load_results(study.results_path)
    same_data = old.data.fingerprint == results.data.fingerprint
    if not same_data or not same_but_for_files(old.recipe, results.recipe):
        return results
    for role, model in results.models.items():
        if role in old.models and without_files(old.models[role]) != without_files(model):
            return results  # the verdicts, figures and other models are about the one before
    models = results.models | old.models  # a model that is unchanged keeps its files
    in_order = {role: models[role] for role in ROLES if role in models}
    return old.model_copy(update={"models": in_order})


def without_files(model: ModelResult) -> dict[str, object]:
    """Return the results of training and testing a model."""
    return model.model_dump(exclude={"files", "refused", "recommended"})
