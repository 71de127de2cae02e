"""The end of a study in the terminal: warnings, verdict, comparison, and where the report lies."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdtool.report import words
from kdtool.report.comparison import Cell, comparison
from kdtool.report.costs import file_of, parity_sentence
from kdtool.results import Results

# Of the rows of the comparison, those that fit beside each other in 80 columns.
SHOWN = {
    "accuracy": "Accuracy",
    "num_params": "Parameters",
    "num_flops": "FLOPs",
    "size": "File size",
    "p50": "Latency p50",
}
ROLE_STYLES = {"teacher": "blue", "control": "bright_black", "student": "dark_orange3"}
VERDICT_STYLES = {"HELPED": "bold green", "NO EVIDENCE": "bold", "HURT": "bold red"}


def show_results(console: Console, results: Results, folder: Path) -> None:
    """Print the summary of a study.

    Args:
        console: Where to; 80 columns are enough.
        results: Of the study.
        folder: Of the study, where the report lies.
    """
    for warning in results.data.warnings:
        console.print(Text(f"warning: {words.plain(warning)}", style="yellow"))
    if results.models:
        console.print(_table(results))
    for line in _file_lines(results):
        console.print(Text(line, style="red"))
    console.print(_verdict(results))
    console.print(Text.assemble("Report: ", (str(folder / "report.html"), "bold")), soft_wrap=True)


def _verdict(results: Results) -> Text:
    verdict = words.main_verdict(results)
    if verdict is None:
        return Text(words.opening(results))
    text = Text.assemble(
        (verdict.verdict, VERDICT_STYLES[verdict.verdict]), f"  {words.opening(results)}"
    )
    caveat = words.caveat(verdict, results.data.num_test)
    for sentence in (words.gap_sentence(results, verdict), caveat):
        if sentence:
            text.append(f" {sentence}")
    return text


def _table(results: Results) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("")
    for role in words.present(results):
        table.add_column(role, justify="right", header_style=f"bold {ROLE_STYLES[role]}")
        table.add_column("")  # against the teacher
    for row in comparison(results):
        label = SHOWN.get(row.key)
        if label:
            table.add_row(label, *(text for cell in row.cells for text in _entry(cell)))
    return table


def _entry(cell: Cell | None) -> tuple[Text, Text]:
    if cell is None:
        return Text("-"), Text()
    return Text(cell.short or cell.value), Text(cell.relative, style="red" if cell.worse else "dim")


def _file_lines(results: Results) -> list[str]:
    """Return a line for each file that does not give what PyTorch gave."""
    files = [file_of(results.models[role]) for role in words.present(results)]
    return [
        f"{words.plain(file.path)}: {parity_sentence(file)}"
        for file in files
        if file and not file.parity.passed
    ]
