"""The commands that train a study or parts of it: finetune, distill, subclass-distill."""

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from kdtool.cli.checks import (
    check_choice,
    check_device,
    check_out_folder,
    check_recipe_path,
    parse_log,
)
from kdtool.cli.options import (
    Anyway,
    Cluster,
    Device,
    Force,
    Jobs,
    Json,
    Log,
    Out,
    Quiet,
    RecipePath,
    Set,
    Sweep,
    check_alone,
    check_cluster,
    dismiss_others,
    follows,
    leads,
    logged,
    resumable,
    show,
    start,
)
from kdtool.cli.shell.completion import choices
from kdtool.errors import RecipeError


def finetune(
    recipe: RecipePath,
    role: Annotated[
        str,
        typer.Option(
            metavar="ROLE",
            help="Model to train: teacher, or student (the control, trained without a teacher).",
            autocompletion=choices("teacher", "student"),
        ),
    ] = "teacher",
    out: Out = Path("runs"),
    settings: Set = None,
    device: Device = "auto",
    jobs: Jobs = None,
    cluster: Cluster = None,
    force: Force = False,
    log: Log = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train one model of a study: the teacher, or with --role student the control.

    A later `kdtool distill` with the same recipe uses the trained model and trains the others.
    """
    if follows(device):
        return
    check_alone(jobs, cluster)
    check_choice("--role", role, ("teacher", "student"))
    check_device(device)
    check_cluster(cluster, jobs)
    tools = parse_log(log)
    check_recipe_path(recipe)
    from kdtool.recipe.checks import load_checked

    trained: Literal["teacher", "control"] = "teacher" if role == "teacher" else "control"
    loaded = load_checked(recipe, settings, out)
    check_out_folder(out, loaded.name)
    with resumable() as work_begins:
        terminal = start(quiet=quiet)
        from kdtool.study.folder import Study
        from kdtool.train.pipeline import commands

        work_begins()
        study = Study(out / loaded.name, terminal.warn)
        with leads(device, terminal) as (ranks, own_device):
            results = commands.finetune(
                study,
                loaded,
                terminal,
                role=trained,
                machine=commands.Machine(device, own_device, jobs, cluster, ranks),
                force=force,
            )
    options = [word for text in settings or [] for word in ("--set", text)]
    options += [] if out == Path("runs") else ["--out", str(out)]
    options += [] if device == "auto" else ["--device", device]  # of which models are trained again
    distillation = shlex.join(["kdtool", "distill", str(recipe), *options])
    next_step = ("train the other models and compare them", distillation)
    with logged(results, study.folder, tools):
        show(
            results,
            study.folder,
            "trained",
            as_json=as_json,
            warned=terminal.warned,
            trained=trained,
            next_step=None if "student" in results.models else next_step,
        )


def distill(
    recipe: RecipePath,
    out: Out = Path("runs"),
    settings: Set = None,
    sweep: Sweep = None,
    device: Device = "auto",
    jobs: Jobs = None,
    cluster: Cluster = None,
    force: Force = False,
    anyway: Anyway = False,
    log: Log = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a study: train teacher, control and student, test whether distillation helped, report.

    Writes weights, ONNX files, results.json and report.html to the study's folder. The control is
    the same network as the student, trained without a teacher. After an interruption the same
    command resumes.
    """
    _distill(
        recipe,
        out,
        settings,
        sweep,
        subclasses=False,
        device=device,
        jobs=jobs,
        cluster=cluster,
        force=force,
        anyway=anyway,
        log=log,
        as_json=as_json,
        quiet=quiet,
    )


def subclass_distill(
    recipe: RecipePath,
    out: Out = Path("runs"),
    settings: Set = None,
    sweep: Sweep = None,
    device: Device = "auto",
    jobs: Jobs = None,
    cluster: Cluster = None,
    force: Force = False,
    anyway: Anyway = False,
    log: Log = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a study that also distils through subclasses, for data with few classes.

    As `kdtool distill`, with one more teacher, which splits each class into subclasses, and one
    more student, which learns to predict them.
    """
    _distill(
        recipe,
        out,
        settings,
        sweep,
        subclasses=True,
        device=device,
        jobs=jobs,
        cluster=cluster,
        force=force,
        anyway=anyway,
        log=log,
        as_json=as_json,
        quiet=quiet,
    )


def _distill(
    recipe: Path,
    out: Path,
    settings: list[str] | None,
    sweep: list[str] | None,
    *,
    subclasses: bool,
    device: str,
    jobs: int | None,
    cluster: str | None,
    force: bool,
    anyway: bool,
    log: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a study, or if it is finished, print its results."""
    if follows(device):
        return
    check_alone(jobs, cluster)
    check_device(device)
    check_cluster(cluster, jobs)
    tools = parse_log(log)
    check_recipe_path(recipe)
    from kdtool.recipe.checks import load_checked
    from kdtool.recipe.load import check_sweep, parse_sweep

    loaded = load_checked(recipe, settings, out)
    swept = dict(parse_sweep(text) for text in sweep or [])
    if len(swept) < len(sweep or []):
        raise RecipeError("got --sweep twice for one key; give all its values to one --sweep")
    check_sweep(loaded, swept, subclasses=subclasses)
    from kdtool.study.finished import command_key, finished_results
    from kdtool.study.folder import Study

    study = Study(out / loaded.name)
    key = command_key(loaded, subclasses=subclasses, sweep=swept, device=device)
    if not force and (results := finished_results(study, key)):
        dismiss_others(device)
        if not quiet:
            from kdtool.terminal.progress import Terminal

            Terminal().say(f"nothing left to do: {study.folder} is finished and unchanged")
        with logged(results, study.folder, tools):
            show(results, study.folder, "study", as_json=as_json)
        return
    check_out_folder(out, loaded.name)
    with resumable() as work_begins:
        terminal = start(quiet=quiet)
        from kdtool.train.pipeline.commands import Consent, Machine
        from kdtool.train.pipeline.commands import distill as command

        work_begins()
        with leads(device, terminal) as (ranks, own_device):
            results = command(
                Study(study.folder, terminal.warn),
                loaded,
                terminal,
                subclasses=subclasses,
                machine=Machine(device, own_device, jobs, cluster, ranks),
                sweep=swept,
                consent=Consent(force=force, anyway=anyway),
            )
    with logged(results, study.folder, tools):
        show(results, study.folder, "study", as_json=as_json, warned=terminal.warned)
