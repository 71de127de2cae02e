"""The command report: of one study again, or of several on one page."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from kdtool.cli.checks import check_study_path, parse_log
from kdtool.cli.options import Json, Log, interruptible, logged, show


def report(
    studies: Annotated[
        list[Path],
        typer.Argument(metavar="STUDY...", help="Folders of finished studies, such as runs/mnist."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="With several studies, where to write the page: a folder, for studies.html and "
            "studies.md, or a file that ends in .html or .md.",
        ),
    ] = None,
    log: Log = None,
    as_json: Json = False,
) -> None:
    """Write a study's report again, or several studies on one page, from results.json alone.

    Nothing is trained or measured. Needs neither the images nor PyTorch. Several studies have to
    have the same classes; none of them is changed.
    """
    tools = parse_log(log)
    for study in studies:
        check_study_path(study)
    if len(studies) > 1:
        if tools:
            raise typer.BadParameter(
                f"--log {log} is for one study; give {len(studies)} commands, one for each"
            )
        _report_studies(studies, out, as_json=as_json)
        return
    if out is not None:
        raise typer.BadParameter(
            f"--out {out} is for several studies; the report of one is in its folder: remove --out"
        )
    from kdtool.study.written import write_report_again

    with interruptible():
        results = write_report_again(studies[0])
    with logged(results, studies[0], tools):
        show(results, studies[0], "study", as_json=as_json)


def _report_studies(folders: list[Path], out: Path | None, *, as_json: bool) -> None:
    from kdtool.study.studies import read_studies, write_studies

    found = read_studies(folders)
    with interruptible():
        written = write_studies(found, out) if out else []
    if as_json:
        from kdtool.results.base import to_json

        typer.echo(to_json(found), nl=False)
        return
    from kdtool.terminal.studies import show_studies
    from kdtool.terminal.text import output_console, show_next

    console = output_console()
    show_studies(console, found, written)
    if not written:
        again = shlex.join(["kdtool", "report", *map(str, folders), "--out", "FOLDER"])
        show_next(console, [("write this as a page", again)])
