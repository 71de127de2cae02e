"""The commands that train: finetune, distill, subclass-distill."""

from pathlib import Path
from typing import Annotated

import typer

from kdtool.cli_shared import (
    Device,
    Force,
    Jobs,
    Json,
    Out,
    Quiet,
    RecipePath,
    Role,
    Set,
    Sweep,
    resumable,
    show,
    start,
)
from kdtool.errors import RecipeError


def finetune(
    recipe: RecipePath,
    role: Annotated[Role, typer.Option(help="student: the control, without a teacher.")] = (
        Role.teacher
    ),
    out: Out = Path("runs"),
    settings: Set = None,
    device: Device = "auto",
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train the teacher, or with --role student the control."""
    from kdtool.recipe_file import load_recipe
    from kdtool.study import Study

    loaded = load_recipe(recipe, settings)
    with resumable():
        terminal = start(quiet=quiet)
        from kdtool.train import finetune as command

        study = Study(out / loaded.name)
        results = command.finetune(
            study,
            loaded,
            terminal,
            role=role.trains,
            device=device,
            force=force,
        )
    show(results, study.folder, role, as_json=as_json)


def distill(
    recipe: RecipePath,
    out: Out = Path("runs"),
    settings: Set = None,
    sweep: Sweep = None,
    device: Device = "auto",
    jobs: Jobs = None,
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a whole study: teacher, control, student, report."""
    _distill(
        recipe,
        out,
        settings,
        sweep,
        subclasses=False,
        device=device,
        jobs=jobs,
        force=force,
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
    force: Force = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a whole study, with students that learn from subclasses too."""
    _distill(
        recipe,
        out,
        settings,
        sweep,
        subclasses=True,
        device=device,
        jobs=jobs,
        force=force,
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
    force: bool,
    as_json: bool,
    quiet: bool,
) -> None:
    from kdtool.recipe_file import load_recipe, parse_sweep
    from kdtool.study import Study

    loaded = load_recipe(recipe, settings)
    swept = dict(parse_sweep(text) for text in sweep or [])
    if len(swept) < len(sweep or []):
        raise RecipeError("got --sweep twice for one key; give all its values to one --sweep")
    with resumable():
        terminal = start(quiet=quiet)
        from kdtool.train.distill import Machine
        from kdtool.train.distill import distill as command

        study = Study(out / loaded.name)
        results = command(
            study,
            loaded,
            terminal,
            subclasses=subclasses,
            machine=Machine(device, jobs),
            sweep=swept,
            force=force,
        )
    show(results, study.folder, "study", as_json=as_json)
