"""The commands that train nothing and change no study: init, check, status."""

from pathlib import Path
from typing import Annotated

import typer

from kdtool.cli.checks import check_begun_study
from kdtool.cli.options import Json


def status(
    study: Annotated[
        Path,
        typer.Argument(metavar="STUDY", help="Folder of a study, finished or not."),
    ],
    as_json: Json = False,
) -> None:
    """Report how far a study is: what is trained, running and left, and what was decided.

    Nothing is changed. Needs neither the images nor PyTorch, and works while the study runs.
    """
    check_begun_study(study)
    from kdtool.study.status import status_of

    found = status_of(study)
    if as_json:
        from kdtool.results.base import to_json

        typer.echo(to_json(found), nl=False)
        return
    from rich.console import Console

    from kdtool.terminal.status import show_status

    console = Console()
    show_status(console, found)
    if found.decision and not found.left:
        from kdtool.results.study import load_results
        from kdtool.terminal import study as shown
        from kdtool.terminal.text import show_next

        results = load_results(study / "results.json")
        shown.show_decision(console, results)
        shown.show_paths(console, study)
        show_next(console, shown.next_steps(results, study, kit=False))
