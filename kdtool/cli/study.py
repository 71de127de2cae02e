"""The commands that train: finetune, distill, subclass-distill."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from kdtool.cli.options import (
    Device,
    Force,
    Jobs,
    Json,
    Out,
    Quiet,
    RecipePath,
    Role,
    Set,
    StudyPath,
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
    from kdtool.recipe.checks import load_checked

    loaded = load_checked(recipe, settings, device, out)
    with resumable():
        terminal = start(quiet=quiet)
        from kdtool.study.folder import Study
        from kdtool.train.pipeline import commands

        study = Study(out / loaded.name)
        results = commands.finetune(
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
    from kdtool.recipe.checks import load_checked
    from kdtool.recipe.load import check_sweep, parse_sweep

    loaded = load_checked(recipe, settings, device, out)
    swept = dict(parse_sweep(text) for text in sweep or [])
    if len(swept) < len(sweep or []):
        raise RecipeError("got --sweep twice for one key; give all its values to one --sweep")
    check_sweep(loaded, swept, subclasses=subclasses)
    with resumable():
        terminal = start(quiet=quiet)
        from kdtool.study.folder import Study
        from kdtool.train.pipeline.commands import Machine
        from kdtool.train.pipeline.commands import distill as command

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


def export(
    study: StudyPath,
    precisions: Annotated[
        str | None, typer.Option(metavar="P,P,...", help="Of the student: fp32,int8,fp16.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Processor for int8: x86, arm or portable.")
    ] = None,
    given: Annotated[
        str | None, typer.Option("--input", help="What the files take: pixels, resize or tensor.")
    ] = None,
    opset: Annotated[int | None, typer.Option(help="Write this ONNX opset, 18 or above.")] = None,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            "--calibrate/--no-calibrate", help="Put the temperature fitted on validation into them."
        ),
    ] = None,
    operating_point: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="Of two classes: from which probability on the positive one is called, such as "
            "youden, sensitivity:0.95 or cost:5.",
        ),
    ] = None,
    kit: Annotated[
        bool, typer.Option("--kit", help="Write STUDY/kit, which runs where no kdtool is.")
    ] = False,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write and check the ONNX files of a study again."""
    options: dict[str, object] = {
        "precisions": precisions.split(",") if precisions else None,
        "target": target,
        "input": given,
        "opset": opset,
        "calibrate": calibrate,
        "operating_point": operating_point,
    }
    settings = {f"export.{key}": value for key, value in options.items() if value is not None}
    _again(study, "export", settings, device, kit=kit, as_json=as_json, quiet=quiet)


def explain(
    study: StudyPath,
    images: Annotated[int | None, typer.Option(help="How many test images to show.")] = None,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compute the saliency maps of a study again."""
    settings: dict[str, object] = {} if images is None else {"explain.images": images}
    _again(study, "explain", settings, device, as_json=as_json, quiet=quiet)


def _again(
    folder: Path,
    stage: Literal["export", "explain"],
    settings: dict[str, object],
    device: str,
    *,
    kit: bool = False,
    as_json: bool,
    quiet: bool,
) -> None:
    from kdtool.recipe.checks import check_again
    from kdtool.recipe.load import with_settings
    from kdtool.study.folder import load_study

    _, recipe, _ = load_study(folder)
    check_again(with_settings(recipe, settings), device)  # before PyTorch is imported
    with resumable():
        terminal = start(quiet=quiet)
        from kdtool.train.pipeline.commands import again

        results = again(folder, stage, settings, terminal, device=device, kit=kit)
    show(results, folder, "files" if stage == "export" else "explained", as_json=as_json)
