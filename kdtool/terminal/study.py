"""What a command on a study prints at its end: tables, verdict, files, and the next command."""

import re
import shlex
import textwrap
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdtool.format import (
    count,
    file_size,
    listed,
    metric_title,
    percent,
    plural,
    printable,
    role_name,
    roles_present,
)
from kdtool.report.budget import budget_sentences
from kdtool.report.decision import decision_of, file_to_ship
from kdtool.report.parts.cells import Cell, time_text
from kdtool.report.parts.measured import machine_labels
from kdtool.report.sections import verdict as verdicts
from kdtool.report.sections.bias_shift import shift_sentence
from kdtool.report.sections.classes import columns, few_images, one_class_calls
from kdtool.report.sections.cost.comparison import comparison_rows, parity_sentence
from kdtool.report.sections.cost.files import choice_sentence
from kdtool.report.sections.operating_point import operating_sentence
from kdtool.report.sections.subclasses import alarm
from kdtool.results.base import Role
from kdtool.results.study import Results
from kdtool.terminal.text import ROLE_STYLES, new_table, plain_text, print_table, print_text

ALL_CLASSES = ("weighted_f1", "roc_auc")  # further columns; no more fit into 80 columns
LONGEST_NAME = 8  # characters


def class_table(console: Console, results: Results) -> Table | None:
    """Return a row for each model, a column for each class or score; None unless 2 classes."""
    if len(results.data.classes) != 2 or not results.models:
        return None
    table = new_table()
    table.add_column("")
    shown = [one for one in columns(results) if one.of_class or one.metric in ALL_CLASSES]
    for column in shown:
        head = f"{column.group}\n{_cut(column.name)}"
        table.add_column(plain_text(console, head), justify="right", no_wrap=True)
    for row, role in enumerate(roles_present(results)):
        cells = [column.cell(row) for column in shown]
        name = plain_text(console, role_name(role), ROLE_STYLES[role])
        table.add_row(name, *(plain_text(console, cell.value if cell else "-") for cell in cells))
    return table


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 2]}.."


# Rows of the comparison that are printed, and their titles.
SHOWN = {
    "score": "",  # the study's metric
    "num_params": "Parameters",
    "num_flops": "FLOPs",
    "size": "File size",
    "p50": "Latency p50",
}
LONGEST_RELATIVE = 16  # characters of a line, such as "not compared,"
MOST_COMPARED = 3  # models; with more, columns against the teacher do not fit into 80 columns
VERDICT_STYLES = {"HELPED": "bold green", "NO EVIDENCE": "bold", "HURT": "bold red"}


def show_results(console: Console, results: Results, folder: Path) -> None:
    """Print scores and verdicts of a study: the end of `distill` and `subclass-distill`.

    Args:
        console: The output; every line fits 80 columns.
        results: The study's.
        folder: The study's.
    """
    _show_scores(console, results)
    show_failures(console, results)
    for line in _verdicts(console, results):
        print_text(console, line)
    for text in (one_class_calls(results), alarm(results)):
        if text:
            print_text(console, plain_text(console, f"ALARM: {text}", "bold red"))
    shifts = [shift_sentence(results, shift) for shift in results.bias_shifts]
    called = operating_sentence(results)
    for sentence in (*shifts, called, choice_sentence(results)):
        if sentence:
            print_text(console, plain_text(console, printable(sentence)))
    show_decision(console, results)
    for sentence in _closing(results):
        show_sentence(console, sentence)
    show_paths(console, folder)


def _closing(results: Results) -> list[str]:
    """Say what changed since the last run, where files were measured, and what was compared."""
    sentences = [f"Changed by the last run: {change}" for change in results.changes]
    if results.devices:
        names = listed(list(dict.fromkeys(machine_labels(results)[1:])))
        sentences.append(f"Measured on devices: {names}.")
    if roles := roles_present(results):
        models = listed([role_name(role) for role in roles])
        seeds, images = seeds_text(results, roles), f"{count(results.data.num_test)} test images"
        sentences.append(f"Compared {models} over {seeds} on {images}.")
    return sentences


def _show_scores(console: Console, results: Results) -> None:
    if not results.models:
        return
    print_table(console, _table(console, results))
    console.print()
    by_class = class_table(console, results)
    if by_class:
        print_table(console, by_class)
        console.print()
    few = few_images(results.data)
    if few:
        print_text(console, plain_text(console, few, "yellow"))


def show_warnings(console: Console, results: Results, printed: Collection[str] = ()) -> None:
    """Print the warnings about data and models.

    Args:
        console: The output.
        results: The study's.
        printed: Warnings that this command has printed before, which are not repeated.
    """
    for warning in results.warnings:
        if warning not in printed:
            print_text(console, plain_text(console, f"warning: {printable(warning)}", "yellow"))


def show_failures(console: Console, results: Results) -> None:
    """Print a line for each file that differs from PyTorch."""
    for role in roles_present(results):
        for file in results.models[role].files.values():
            if file.parity.passed is False:
                line = f"{printable(file.path)}: {parity_sentence(file)}"
                print_text(console, plain_text(console, line, "red"))


def show_paths(console: Console, folder: Path) -> None:
    """Print where the study's files and its report are."""
    for label, path in (("Files", folder), ("Report", folder / "report.html")):
        line = Text(f"{label}: ") + plain_text(console, str(path), "bold")
        console.print(line, soft_wrap=True)


def show_sentence(console: Console, text: str) -> None:
    """Print a sentence, wrapped at the width of the terminal."""
    print_text(console, plain_text(console, printable(text)))


def next_steps(results: Results, folder: Path, *, kit: bool) -> list[tuple[str, str]]:
    """Return what to type next: a purpose and a command, each.

    Args:
        results: The study's.
        folder: The study's.
        kit: Whether the study has just got its kit.
    """

    def typed(command: str) -> str:
        return re.sub(r"STUDY(\S*)", lambda place: shlex.quote(f"{folder}{place[1]}"), command)

    steps = [
        (step.purpose, typed(step.command))
        for step in decision_of(results).next
        if step.command and not (kit and step.command.endswith("--kit"))
    ]
    if kit:
        purpose = f"check it on a device, copy {folder / 'kit'} there and run"
        steps.append((purpose, "python3 kit/check.py"))
    return steps


def show_decision(console: Console, results: Results) -> None:
    """Print which file to ship and why, at what risk, and what to try if nothing ships."""
    decision = decision_of(results)
    label = Text(f"SHIP {decision.ship}", style="bold green")
    if decision.ship is None:
        label = Text("SHIP NOTHING", style="bold red")
    because = plain_text(console, printable(decision.because))
    print_text(console, Text.assemble(label, "  ", because))
    if sentence := shipped_sentence(results):
        show_sentence(console, sentence)
    for reason in decision.alarms[1:]:
        print_text(console, plain_text(console, printable(f"ALARM: {reason}"), "bold red"))
    for sentence in budget_sentences(decision.budgets):
        print_text(console, plain_text(console, printable(f"Budget: {sentence}")))
    for risk in decision.risks:
        print_text(console, plain_text(console, printable(f"Risk: {risk}")))
    for step in decision.next:
        if step.command is None:
            print_text(console, plain_text(console, printable(f"Try: {step.purpose}.")))


def shipped_sentence(results: Results) -> str | None:
    """Return the figures of the file that ships, which is of one seed; None: nothing ships."""
    found = file_to_ship(results)
    if found is None:
        return None
    role, file = found
    figures = [
        f"{percent(file.accuracy)} of {count(results.data.num_test)} test images correct",
        file_size(file.size_bytes),
    ]
    if file.latency:
        time = time_text(file.latency, file.latency.p50_ms)
        figures.append(f"{time} on {machine_labels(results)[0]}")
    model = results.models[role]
    seed = f"seed {model.exported_seed}"
    if len(model.seeds) > 1:
        seed += f", one of {len(model.seeds)}"
    return f"{file.path} ({seed}): {', '.join(figures)}."


def seeds_text(results: Results, roles: Sequence[Role]) -> str:
    """Return the number of seeds of some roles, such as "5 seeds"."""
    seeds = max(len(results.models[role].seeds) for role in roles)
    return plural(seeds, "seed")


def _verdicts(console: Console, results: Results) -> list[Text]:
    """Return a line for each verdict on a method, after a headline if there are several."""
    found = verdicts.on_methods(results)
    headline = plain_text(console, verdicts.headline(results))
    lines = []
    for verdict in found:
        sentences = [verdicts.verdict_sentence(verdict, len(results.verdicts))]
        if verdict.against == "control":
            sentences.append(verdicts.gap_sentence(results, verdict) or "")
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
    roles = roles_present(results)
    with_ratios = "teacher" in roles and len(roles) <= MOST_COMPARED
    for role in roles:
        lines = "\n" if with_ratios else ""  # level with "vs teacher"
        head = Text(f"{lines}{role_name(role)}", style=f"bold {ROLE_STYLES[role]}")
        no_wrap = len(roles) <= MOST_COMPARED
        vertical: Literal["top", "bottom"] = "top" if with_ratios else "bottom"
        table.add_column(head, justify="right", vertical=vertical, no_wrap=no_wrap)
        if role != "teacher" and with_ratios:
            against = Text(f"{role_name(role)}\nvs teacher", style="dim")
            table.add_column(against, no_wrap=True)
    for row in comparison_rows(results):
        if row.key not in SHOWN:
            continue
        label = SHOWN[row.key] or metric_title(results.metric)
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
    text = textwrap.fill(cell.relative, LONGEST_RELATIVE, break_long_words=False)
    return plain_text(console, text, "red" if cell.worse else "dim")
