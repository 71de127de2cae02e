"""Options, start and end that commands on a study share."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kdtool.cli.completion import choices, recipe_keys
from kdtool.errors import GateError, InterruptedRunError

if TYPE_CHECKING:
    from kdtool.results.study import Results
    from kdtool.terminal.progress import Terminal


class Role(StrEnum):
    """The model that `finetune` trains."""

    teacher = "teacher"
    student = "student"

    @property
    def trains(self) -> Literal["teacher", "control"]:
        """The role in the study: a student without a teacher is the control."""
        return "teacher" if self is Role.teacher else "control"


RecipePath = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", help="TOML file that describes data and models."),
]
StudyPath = Annotated[
    Path, typer.Argument(metavar="STUDY", help="Folder of a finished study, such as runs/mnist.")
]
Out = Annotated[
    Path,
    typer.Option(
        "--out", metavar="FOLDER", help="Parent folder; the study is written to FOLDER/NAME."
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the recipe, such as teacher.epochs=5. Repeatable.",
        autocompletion=recipe_keys,
    ),
]
Sweep = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=V,V,...",
        help="Train students for each value and keep the best on validation, such as "
        "distill.temperature=1,4,16. At most two keys.",
        autocompletion=recipe_keys,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the results as JSON instead of a table.")]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="NAME",
        help="Where PyTorch computes: auto, cpu, cuda or mps.",
        autocompletion=choices("auto", "cpu", "cuda", "mps"),
    ),
]
Force = Annotated[
    bool,
    typer.Option("--force", help="Replace a study in this folder that has different settings."),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        metavar="N",
        min=1,
        show_default=False,
        help="Number of training processes, 1 or more. [default: auto]",
    ),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Print only warnings and the results, no progress.")
]


def split_list(text: str) -> list[str]:
    """Split "a, b" at its commas; spaces around a value do not count."""
    return [part.strip() for part in text.split(",")]


def start(*, quiet: bool) -> "Terminal":
    """Return the terminal and announce the imports that follow, which take seconds."""
    from kdtool.terminal.progress import Terminal

    terminal = Terminal(quiet=quiet)
    terminal.say("loading PyTorch")
    return terminal


@contextmanager
def resumable() -> Iterator[None]:
    """Turn Ctrl-C into one message and exit status 130.

    Standard output is for results only: what a user's own model prints goes to standard error.
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            "interrupted; run the same command again to resume after the last finished epoch"
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
