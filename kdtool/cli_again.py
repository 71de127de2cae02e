"""The commands that work on a finished study: export, explain."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from kdtool.cli_shared import Device, Json, Quiet, StudyPath, resumable, show, start


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
    from kdtool.recipe_file import with_settings
    from kdtool.study import load_study

    _, recipe, _ = load_study(folder)
    with_settings(recipe, settings)  # an error now, and not seconds later
    with resumable():
        terminal = start(quiet=quiet)
        from kdtool.train.again import again

        results = again(folder, stage, settings, terminal, device=device, kit=kit)
    show(results, folder, "files" if stage == "export" else "explained", as_json=as_json)
