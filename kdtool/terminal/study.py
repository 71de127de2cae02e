"""The end of a study in the terminal: warnings, verdict, comparison, and where the report lies."""

from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdtool.report import gap, metrics, verdicts, words
from kdtool.report.bias_shift import shift_sentence
from kdtool.report.classes import few_images, one_class_calls
from kdtool.report.comparison import Cell, comparison
from kdtool.report.costs import parity_sentence
from kdtool.report.devices import machine_labels
from kdtool.report.operating import operating_sentence
from kdtool.report.ship import choice_sentence, ship_sentence
from kdtool.report.subclasses import alarm
from kdtool.results import Results
from kdtool.terminal.by_class import class_table
from kdtool.terminal.plain import ROLE_STYLES, new_table, plain_text

# Of the rows of the comparison, those that fit beside each other in 80 columns.
SHOWN = {
    "score": "",  # the study's metric
    "num_params": "Parameters",
    "num_flops": "FLOPs",
    "size": "File size",
    "p50": "Latency p50",
}
MOST_COMPARED = 3  # models, beside whose figures those against the teacher fit
VERDICT_STYLES = {"HELPED": "bold green", "NO EVIDENCE": "bold", "HURT": "bold red"}


def show_results(console: Console, results: Results, folder: Path) -> None:
    """Print the summary of a study.

    Args:
        console: Where to; 80 columns are enough.
        results: Of the study.
        folder: Of the study, where the report lies.
    """
    show_warnings(console, results)
    _show_scores(console, results)
    show_failures(console, results)
    for line in _verdicts(console, results):
        console.print(line)
    for text in (one_class_calls(results), alarm(results)):
        if text:
            console.print(plain_text(console, f"ALARM: {text}", "bold red"))
    shifts = [shift_sentence(results, shift) for shift in results.bias_shifts]
    called = operating_sentence(results)
    for sentence in (*shifts, called, choice_sentence(results), ship_sentence(results)):
        if sentence:
            console.print(plain_text(console, words.plain(sentence)))
    if results.devices:
        names = words.listed(list(dict.fromkeys(machine_labels(results)[1:])))
        console.print(plain_text(console, words.plain(f"Measured on devices: {names}.")))
    show_report_path(console, folder)


def _show_scores(console: Console, results: Results) -> None:
    if not results.models:
        return
    console.print(_table(console, results), "")
    by_class = class_table(console, results)
    if by_class:
        console.print(by_class, "")
    few = few_images(results.data)
    if few:
        console.print(plain_text(console, few, "yellow"))


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


def _verdicts(console: Console, results: Results) -> list[Text]:
    """Return a line for each verdict on a method, below the headline where there are several."""
    found = verdicts.on_methods(results)
    headline = plain_text(console, verdicts.headline(results))
    lines = []
    for verdict in found:
        sentences = [verdicts.verdict_sentence(verdict, len(results.verdicts))]
        if verdict.against == "control":
            sentences.append(gap.gap_sentence(results, verdict) or "")
        label = Text(verdicts.verdict_label(verdict), style=VERDICT_STYLES[verdict.verdict])
        text = plain_text(console, " ".join(filter(None, sentences)))
        lines.append(Text.assemble(label, "  ", text))
    caveat = verdicts.caveat(found, results.data.num_test)
    if caveat:
        lines.append(plain_text(console, caveat))
    return lines if len(found) == 1 else [headline, *lines]


def _table(console: Console, results: Results) -> Table:
    table = new_table()
    table.add_column("")
    roles = words.present(results)
    with_ratios = "teacher" in roles and len(roles) <= MOST_COMPARED
    for role in roles:
        head = Text(words.spoken(role), style=f"bold {ROLE_STYLES[role]}")
        table.add_column(head, justify="right", no_wrap=len(roles) <= MOST_COMPARED)
        if role != "teacher" and with_ratios:
            table.add_column("vs teacher", header_style="dim", no_wrap=True)
    for row in comparison(results):
        if row.key not in SHOWN:
            continue
        label = SHOWN[row.key] or metrics.title(results.metric)
        entries: list[Text] = []
        for role, cell in zip(roles, row.cells, strict=True):
            entries.append(plain_text(console, cell.short or cell.value if cell else "-"))
            if role != "teacher" and with_ratios:
                entries.append(_against(console, cell))
        table.add_row(label, *entries)
    return table


def _against(console: Console, cell: Cell | None) -> Text:
    if cell is None:
        return Text()
    return plain_text(console, cell.relative, "red" if cell.worse else "dim")
