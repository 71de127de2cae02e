"""The commands that make a study or parts of it: finetune, distill, export."""

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
    parse_targets,
    split_list,
)
from kdtool.cli.completion import choices
from kdtool.cli.explain import stage_again
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
    StudyPath,
    Sweep,
    check_cluster,
    logged,
    resumable,
    show,
    start,
)
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
    check_choice("--role", role, ("teacher", "student"))
    check_device(device)
    check_cluster(cluster, jobs)
    tools = parse_log(log)
    check_recipe_path(recipe)
    from kdtool.recipe.checks import load_checked

    trained: Literal["teacher", "control"] = "teacher" if role == "teacher" else "control"
    loaded = load_checked(recipe, settings, out)
    check_out_folder(out, loaded.name)
    with resumable():
        terminal = start(quiet=quiet)
        from kdtool.study.folder import Study
        from kdtool.train.pipeline import commands

        study = Study(out / loaded.name, terminal.warn)
        results = commands.finetune(
            study,
            loaded,
            terminal,
            role=trained,
            machine=commands.Machine(device, jobs, cluster),
            force=force,
        )
    options = [word for text in settings or [] for word in ("--set", text)]
    options += [] if out == Path("runs") else ["--out", str(out)]
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
    """Run a stage of a finished study again, with other settings, and print the results."""
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
        if not quiet:
            typer.echo(f"nothing left to do: {study.folder} is finished and unchanged", err=True)
        with logged(results, study.folder, tools):
            show(results, study.folder, "study", as_json=as_json)
        return
    check_out_folder(out, loaded.name)
    with resumable():
        terminal = start(quiet=quiet)
        from kdtool.train.pipeline.commands import Consent, Machine
        from kdtool.train.pipeline.commands import distill as command

        results = command(
            Study(study.folder, terminal.warn),
            loaded,
            terminal,
            subclasses=subclasses,
            machine=Machine(device, jobs, cluster),
            sweep=swept,
            consent=Consent(force=force, anyway=anyway),
        )
    with logged(results, study.folder, tools):
        show(results, study.folder, "study", as_json=as_json, warned=terminal.warned)


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
