"""What the commands that work on a study share: their options, their beginning and their end."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kdtool.errors import GateError, InterruptedRunError

if TYPE_CHECKING:
    from kdtool.results.study import Results
    from kdtool.terminal.progress import Terminal


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
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
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
        from kdtool.results.base import to_json

        typer.echo(to_json(results), nl=False)
    else:
        from rich.console import Console

        from kdtool.terminal.study import show_explained, show_files, show_results, show_trained

        console = Console()
        if isinstance(ending, Role):
            show_trained(console, results, folder, ending.trains)
        else:
            shows = {"files": show_files, "explained": show_explained}
            shows.get(ending, show_results)(console, results, folder)
    refused = [reason for model in results.models.values() for reason in model.refused.values()]
    if refused and ending in {"study", "files"}:
        raise GateError("; ".join(refused))
