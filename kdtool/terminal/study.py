"""The end of a study in the terminal: warnings, verdict, comparison, and where the report lies."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdtool.report import words
from kdtool.report.comparison import Cell, comparison
from kdtool.report.costs import parity_sentence
from kdtool.report.devices import machine_labels
from kdtool.report.ship import ship_sentence
from kdtool.results import Results
from kdtool.terminal.plain import new_table, plain_text

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
    show_warnings(console, results)
    if results.models:
        console.print(_table(console, results), "")
    show_failures(console, results)
    console.print(_verdict(console, results))
    ship = ship_sentence(results)
    if ship:
        console.print(plain_text(console, words.plain(ship)))
    if results.devices:
        names = words.listed(list(dict.fromkeys(machine_labels(results)[1:])))
        console.print(plain_text(console, words.plain(f"Measured on devices: {names}.")))
    show_report_path(console, folder)


def show_warnings(console: Console, results: Results) -> None:
    """Print what the user should know before trusting anything."""
    for warning in results.data.warnings:
        console.print(plain_text(console, f"warning: {words.plain(warning)}", "yellow"))


def show_failures(console: Console, results: Results) -> None:
    """Print a line for each file that should give what PyTorch gave and does not."""
    for role in words.present(results):
        for file in results.models[role].files.values():
            if file.parity.passed is False:
                line = f"{words.plain(file.path)}: {parity_sentence(file)}"
                console.print(plain_text(console, line, "red"))


def show_report_path(console: Console, folder: Path) -> None:
    """Print where the report lies."""
    path = plain_text(console, str(folder / "report.html"), "bold")
    console.print(Text("Report: ") + path, soft_wrap=True)


def _verdict(console: Console, results: Results) -> Text:
    verdict = words.main_verdict(results)
    if verdict is None:
        return plain_text(console, words.opening(results))
    sentences = [
        words.opening(results),
        words.gap_sentence(results, verdict),
        words.caveat(verdict, results.data.num_test),
    ]
    label = Text(words.verdict_label(verdict), style=VERDICT_STYLES[verdict.verdict])
    text = " ".join(sentence for sentence in sentences if sentence)
    return Text.assemble(label, "  ", plain_text(console, text))


def _table(console: Console, results: Results) -> Table:
    table = new_table()
    table.add_column("")
    roles = words.present(results)
    for role in roles:
        style = f"bold {ROLE_STYLES[role]}"
        table.add_column(role, justify="right", header_style=style, no_wrap=True)
        if role != "teacher" and "teacher" in roles:
            table.add_column("vs teacher", header_style="dim", no_wrap=True)
    for row in comparison(results):
        label = SHOWN.get(row.key)
        if not label:
            continue
        entries: list[Text] = []
        for role, cell in zip(roles, row.cells, strict=True):
            entries.append(plain_text(console, cell.short or cell.value if cell else "-"))
            if role != "teacher" and "teacher" in roles:
                entries.append(_against(console, cell))
        table.add_row(label, *entries)
    return table


def _against(console: Console, cell: Cell | None) -> Text:
    if cell is None:
        return Text()
    return plain_text(console, cell.relative, "red" if cell.worse else "dim")
