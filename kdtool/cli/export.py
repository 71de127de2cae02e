"""Stages of a finished study that run again: export, and what explain shares with it."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kdtool.cli.checks import (
    check_device,
    check_out_folder,
    check_study_path,
    parse_targets,
    split_list,
)
from kdtool.cli.options import Device, Ending, Json, Quiet, StudyPath, resumable, show, start
from kdtool.cli.shell.completion import choices
from kdtool.errors import RecipeError

if TYPE_CHECKING:
    from kdtool.edge.targets.target import Folders


def export(
    study: StudyPath,
    precisions: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...",
            help="Files of the student: fp32, and any of int8 and fp16.",
            autocompletion=choices("fp32", "fp32,int8", "fp32,fp16", "fp32,int8,fp16"),
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Processor that int8 files are for: x86, arm or portable.",
            autocompletion=choices("x86", "arm", "portable"),
        ),
    ] = None,
    given: Annotated[
        str | None,
        typer.Option(
            "--input",
            metavar="NAME",
            help="Input of the files: pixels (images of the model's size), resize (images of any "
            "size) or tensor (float32, as in PyTorch).",
            autocompletion=choices("pixels", "resize", "tensor"),
        ),
    ] = None,
    opset: Annotated[
        int | None, typer.Option(metavar="N", min=18, help="ONNX opset of the files, 18 or higher.")
    ] = None,
    calibrate: Annotated[
        bool | None,
        typer.Option(
            "--calibrate/--no-calibrate",
            help="Divide the logits by the temperature fitted on validation, so that "
            "probabilities are calibrated.",
        ),
    ] = None,
    operating_point: Annotated[
        str | None,
        typer.Option(
            metavar="RULE",
            help="With two classes, how to choose the threshold of the positive class: youden, "
            "f1, sensitivity:0.95, specificity:0.95, cost:5, or argmax for 0.5.",
            autocompletion=choices(
                "argmax", "youden", "f1", "sensitivity:", "specificity:", "cost:"
            ),
        ),
    ] = None,
    kit: Annotated[
        bool,
        typer.Option(
            "--kit", help="Also write STUDY/kit, a folder that runs on a device without kdtool."
        ),
    ] = False,
    wheel: Annotated[
        Path | None,
        typer.Option(
            metavar="KDTOOL.whl", help="Wheel of kdtool for the kit, from `uv build --wheel`."
        ),
    ] = None,
    card: Annotated[
        bool,
        typer.Option(
            "--card",
            help="Also write STUDY/card, a folder to publish: ONNX files, weights, a model card in "
            "the form of Hugging Face, and a CycloneDX bill of materials.",
        ),
    ] = False,
    targets: Annotated[
        str | None,
        typer.Option(
            "--for",
            metavar="NAME,...",
            help="Also write STUDY/targets/NAME for other runtimes: ort (its own format), "
            "openvino, opencv, tract, ncnn, executorch, litert, web (a page for browsers). Only "
            "where that runtime, run here, gives ONNX Runtime's class on every test image.",
            autocompletion=choices(
                "web", "ort", "openvino", "opencv", "tract", "ncnn", "executorch", "litert"
            ),
        ),
    ] = None,
    web_package: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Of --for web: npm's package onnxruntime-web, its .tgz file or folder. "
            "[default: downloaded]",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a study's ONNX files again, with other settings, and check them.

    Nothing is trained. What is not given stays as in the recipe. Each file is compared with
    PyTorch; an int8 or fp16 file that loses too much accuracy is not written, nor a file for a
    runtime that answers otherwise (exit status 3).
    """
    if wheel is not None and not kit:
        raise typer.BadParameter(f"--wheel {wheel} goes into the kit; add --kit")
    names = parse_targets(targets)
    if web_package is not None and "web" not in names:
        raise typer.BadParameter(f"--web-package {web_package} is of --for web; add it")
    from kdtool.edge.targets.target import Folders

    folders = Folders(kit=kit, wheel=wheel, card=card, targets=names, web_package=web_package)
    options: dict[str, object] = {
        "precisions": split_list(precisions) if precisions is not None else None,
        "target": target,
        "input": given,
        "opset": opset,
        "calibrate": calibrate,
        "operating_point": operating_point,
    }
    settings = {f"export.{key}": value for key, value in options.items() if value is not None}
    stage_again(study, "export", settings, device, folders, as_json=as_json, quiet=quiet)


def stage_again(
    folder: Path,
    stage: Literal["export", "explain"],
    settings: dict[str, object],
    device: str,
    folders: "Folders | None" = None,
    *,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run a stage of a finished study again, with other settings, and print the results."""
    check_device(device)
    check_study_path(folder)
    from kdtool.recipe.checks import check_again
    from kdtool.recipe.load import with_settings
    from kdtool.study.folder import load_study

    _, recipe, results = load_study(folder)
    try:  # before PyTorch is imported
        check_again(with_settings(recipe, settings), folder, results.data.classes)
    except RecipeError as error:
        raise RecipeError(_by_options(str(error), settings)) from error
    if folders and folders.wheel is not None:
        from kdtool.edge.kit.build import check_wheel

        check_wheel(folders.wheel)
    if folders and "web" in folders.targets:
        from kdtool.edge.targets.web.runtime import find_runtime

        find_runtime(folders.web_package)  # its files are written much later
    check_out_folder(folder)
    with resumable() as work_begins:
        terminal = start(quiet=quiet)
        from kdtool.train.pipeline.again import again

        work_begins()
        results = again(folder, stage, settings, terminal, device=device, folders=folders)
    ending: Ending = "explained"
    if folders is not None:
        ending = "kit" if folders.kit else "files"
    asked = folders.targets if folders else ()
    show(results, folder, ending, as_json=as_json, warned=terminal.warned, targets=asked)


def _by_options(text: str, settings: dict[str, object]) -> str:
    """Return an error with the options that were typed in place of the recipe's keys."""
    for key in settings:
        option = f"--{key.partition('.')[2].replace('_', '-')}"
        text = re.sub(rf"\b{re.escape(key)}(?:\.\d+)?: ", f"{option}: ", text)
    return text
