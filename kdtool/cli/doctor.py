"""The command that looks for what would fail later: doctor."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kdtool.cli.checks import check_device, check_out_folder, check_recipe_path
from kdtool.cli.options import (
    Device,
    Jobs,
    Json,
    Out,
    Quiet,
    Set,
    Subclasses,
    interruptible,
    resumable,
    start,
)
from kdtool.errors import KdtoolError, reason

if TYPE_CHECKING:
    from kdtool.recipe.schema import Recipe
    from kdtool.results.commands.doctor import DoctorReport, Finding
    from kdtool.train.pipeline.doctor.examine import Examined


@dataclass(frozen=True, slots=True)
class Given:
    """What the command was given with a recipe."""

    path: Path
    settings: list[str] | None
    out: Path
    device: str
    jobs: int | None
    subclasses: bool
    quiet: bool


def doctor(
    recipe: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RECIPE]",
            help="TOML file that describes data and models; without it only the machine is "
            "examined.",
        ),
    ] = None,
    out: Out = Path("runs"),
    settings: Set = None,
    subclasses: Subclasses = False,
    device: Device = "auto",
    jobs: Jobs = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look for what would fail later, on this machine and in a recipe, and say how to fix it.

    Without a recipe, versions, processors, memory, disks, limits and clocks, in seconds and without
    PyTorch. With one, also data, classes, teacher and losses, the time, memory and disk that
    training will take, and the differences that the study will be able to show. Nothing is
    written. Exit status 1 if something would fail.
    """
    check_device(device)
    of_recipes = {
        "--set": settings,
        "--jobs": jobs,
        "--subclasses": subclasses,
        "--device": device != "auto",
    }
    if recipe is None and (useless := [option for option, given in of_recipes.items() if given]):
        raise typer.BadParameter(
            f"got {useless[0]} without a recipe: kdtool doctor RECIPE {useless[0]}"
        )
    if recipe is not None:
        check_recipe_path(recipe)
    with interruptible():
        from kdtool.edge.machine.check import examine_machine
        from kdtool.results.commands.doctor import DoctorReport

        environment, findings = examine_machine(out)
        report = DoctorReport(
            environment=environment,
            recipe=None,
            findings=findings,
            forecast=None,
            num_test=None,
            num_seeds=None,
            detectable=[],
        )
    if recipe is not None:
        given = Given(recipe, settings, out, device, jobs, subclasses, quiet)
        report = _with_recipe(report, given)
    _show(report, as_json=as_json)
    if not report.passes:
        raise typer.Exit(1)


def _with_recipe(report: "DoctorReport", given: Given) -> "DoctorReport":
    """Return a report with what was found out about a recipe."""
    from kdtool.recipe.checks import load_checked

    try:
        recipe = load_checked(given.path, given.settings, given.out)
        check_out_folder(given.out, recipe.name)
    except KdtoolError as error:
        return _adding(report, [_stops("recipe", str(error))])
    report = report.model_copy(update={"recipe": recipe.name, "num_seeds": len(recipe.seeds)})
    if find_spec("torch") is None:
        from kdtool.install import install_command

        fault = _stops("recipe", "PyTorch is not installed", install_command("train"))
        return _adding(report, [fault])
    try:
        examined = _examined(recipe, given)
    except (ImportError, OSError) as error:
        fault = _stops(
            "recipe", f"PyTorch or a package that it needs cannot be loaded: {reason(error)}"
        )
        return _adding(report, [fault])
    return _adding(report, examined.findings).model_copy(
        update={
            "forecast": examined.forecast,
            "num_test": examined.num_test,
            "detectable": examined.detectable,
        }
    )


def _examined(recipe: "Recipe", given: Given) -> "Examined":
    with resumable() as work_begins:
        terminal = start(quiet=given.quiet)
        from kdtool.train.pipeline.doctor.examine import examine_recipe

        work_begins()
        return examine_recipe(
            given.out / recipe.name,
            recipe,
            terminal,
            device_name=given.device,
            jobs=given.jobs,
            subclasses=given.subclasses,
        )


def _adding(report: "DoctorReport", findings: list["Finding"]) -> "DoctorReport":
    return report.model_copy(update={"findings": [*report.findings, *findings]})


def _stops(topic: str, found: str, fix: str | None = None) -> "Finding":
    from kdtool.results.commands.doctor import Finding

    return Finding(topic=topic, mark="fails", found=found, means="the study stops here", fix=fix)


def _show(report: "DoctorReport", *, as_json: bool) -> None:
    if as_json:
        from kdtool.results.base import to_json

        typer.echo(to_json(report), nl=False)
        return
    from kdtool.terminal.commands.doctor import show_doctor
    from kdtool.terminal.text import output_console

    show_doctor(output_console(), report)
