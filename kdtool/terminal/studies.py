"""What `kdtool report STUDY STUDY` prints: the studies side by side, and what differs."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdtool.format import printable
from kdtool.report.parts.cells import Cell
from kdtool.report.studies import COLUMNS, ShownStudy, shown_studies, shown_value
from kdtool.results.studies import StudiesReport
from kdtool.terminal.study import show_sentence
from kdtool.terminal.text import new_table, plain_text, print_table, print_text


def show_studies(console: Console, report: StudiesReport, written: Sequence[Path]) -> None:
    """Print several studies.

    Args:
        console: The output; every line fits 80 columns.
        report: The studies.
        written: The files of the page; empty: none was asked for.
    """
    studies = shown_studies(report)
    print_table(console, _side_by_side(console, studies))
    console.print()
    for one in studies:
        if one.ship is None:
            show_sentence(console, f"{one.title} ships nothing: {one.because}")
    for warning in report.warnings:
        print_text(console, plain_text(console, printable(f"warning: {warning}"), "yellow"))
    if report.differences:
        print_table(console, _differences(console, studies, report))
        console.print()
    else:
        show_sentence(console, "The recipes differ in nothing but the name.")
    show_sentence(console, f"Compared {len(studies)} studies; none was changed.")
    for path in written:
        line = Text("Report: ") + plain_text(console, str(path), "bold")
        console.print(line, soft_wrap=True)


def _side_by_side(console: Console, studies: Sequence[ShownStudy]) -> Table:
    table = new_table()
    table.add_column("study", overflow="fold")
    for head in ("ship", *(name.lower() for name in COLUMNS), "timed on"):
        table.add_column(head, no_wrap=True)
    for one in studies:
        time = one.cells[COLUMNS.index("Median time")]
        cells = (one.title, one.ship or "NOTHING", *map(_text, one.cells))
        texts = (*cells, time.relative if time else "-")
        table.add_row(*(plain_text(console, text) for text in texts))
    return table


def _differences(console: Console, studies: Sequence[ShownStudy], report: StudiesReport) -> Table:
    table = new_table()
    for head in ("recipe", *(one.title for one in studies)):
        table.add_column(plain_text(console, head), overflow="fold")
    for entry in report.differences:
        texts = (entry.key, *map(shown_value, entry.values))
        table.add_row(*(plain_text(console, printable(text)) for text in texts))
    return table


def _text(cell: Cell | None) -> str:
    if cell is None:
        return "-"
    return f"{cell.value} ({cell.interval})" if cell.interval else cell.value
