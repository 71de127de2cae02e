"""The commands: parse, load, call, show; the only lazy imports live here."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kdtool import __version__
from kdtool.cli_device import Json, predict, profile
from kdtool.errors import GateError, InterruptedRunError, KdtoolError, RecipeError

if TYPE_CHECKING:
    from kdtool.results import Results
    from kdtool.terminal.progress import Terminal

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # help in plain text takes a third of the time
    help="Distil image classifiers for small devices, and prove that it helped.",
)

# What each module that may be absent comes with.
TRAIN_EXTRA = {
    "jinja2", "matplotlib", "mlxtend", "onnxscript", "safetensors", "scipy", "sklearn",
    "thop", "torch", "torchvision",
}  # fmt: skip


class Role(StrEnum):
    """Whom `finetune` trains."""

    teacher = "teacher"
    student = "student"

    @property
    def trains(self) -> Literal["teacher", "control"]:
        """The role in the study: without a teacher, a student is a control."""
        return "teacher" if self is Role.teacher else "control"


RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A TOML file.")]
StudyPath = Annotated[Path, typer.Argument(metavar="STUDY", help="Folder, such as runs/mnist.")]
Out = Annotated[Path, typer.Option("--out", help="Where the study's folder is made.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe. Repeatable."),
]
Sweep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=V,V,...",
        help="Fresh students for each value, chosen on validation. For one or two keys.",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Force = Annotated[
    bool, typer.Option("--force", help="Take over a folder that another recipe made.")
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        min=1,
        show_default=False,
        help="Processes that train; else as many as help.",
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show warnings and the results only.")]


@app.command()
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


@app.command()
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


@app.command("subclass-distill")
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


@app.command()
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
    }
    settings = {f"export.{key}": value for key, value in options.items() if value is not None}
    _again(study, "export", settings, device, kit=kit, as_json=as_json, quiet=quiet)


@app.command()
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


app.command()(profile)
app.command()(predict)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Take the options that stand before the command."""
    if version:
        typer.echo(f"kdtool {__version__}")
        raise typer.Exit


def main() -> None:
    """Entry point: errors the user can mend become one message on standard error."""
    try:
        app()
    except KdtoolError as error:
        fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAIN_EXTRA:
            raise
        fail(f'this command needs {error.name}: pip install "kdtool[cpu,train]"', 1)


def fail(message: str, exit_code: int) -> None:
    """Report and leave."""
    from rich.console import Console
    from rich.markup import escape

    console = Console(stderr=True, highlight=False)
    console.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=True)
    raise SystemExit(exit_code)


def start(*, quiet: bool) -> "Terminal":
    """Return where the command tells what it does; the imports that follow take seconds."""
    from kdtool.terminal.progress import Terminal

    terminal = Terminal(quiet=quiet)
    terminal.say("loading PyTorch")
    return terminal


@contextmanager
def resumable() -> Iterator[None]:
    """Turn Ctrl-C into one message and exit status 130.

    Standard output is kept for the results: what a model of the user's prints goes elsewhere.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            "interrupted; the same command goes on from the last whole epoch"
        ) from error


def show(
    results: "Results",
    folder: Path,
    ending: Literal["study", "files", "explained", "devices"] | Role,
    *,
    as_json: bool,
) -> None:
    """Print what a command made: for a person, or the whole results as one JSON document.

    Raises:
        GateError: A file that the recipe asks for lost too much accuracy and is not there.
    """
    if as_json:
        from kdtool.record import to_json

        typer.echo(to_json(results), nl=False)
    else:
        from rich.console import Console

        from kdtool.terminal.stages import show_explained, show_files, show_trained
        from kdtool.terminal.study import show_results

        console = Console()
        if isinstance(ending, Role):
            show_trained(console, results, folder, ending.trains)
        else:
            shows = {"files": show_files, "explained": show_explained}
            shows.get(ending, show_results)(console, results, folder)
    refused = [reason for model in results.models.values() for reason in model.refused.values()]
    if refused and ending in {"study", "files"}:
        raise GateError("; ".join(refused))


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
