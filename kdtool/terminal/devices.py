"""What `kdtool profile STUDY --merge` prints: a table of each machine, and what to ship on it."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdtool.format import (
    file_size,
    listed,
    milliseconds_range,
    printable,
    three_digits,
)
from kdtool.report.decision import decision_of
from kdtool.report.parts.measured import Measured, machine_labels, measured
from kdtool.report.sections.cost.devices import (
    answer_sentences,
    noise_sentences,
    own_machine_sentence,
)
from kdtool.results.decision import DeviceChoice
from kdtool.results.study import Results
from kdtool.terminal.study import show_paths, show_sentence
from kdtool.terminal.text import new_table, plain_text, print_table, print_text


def show_devices(
    console: Console, results: Results, folder: Path, newest: int | None = None
) -> None:
    """Print what machines measured and what to ship on them: the end of `profile --merge`.

    Args:
        console: The output; every line fits 80 columns.
        results: The study's.
        folder: The study's.
        newest: How many machines to show, those merged last; None: all.
    """
    labels = machine_labels(results)
    shown = set(labels[1:] if newest is None else labels[1:][-newest:])
    everywhere = [row for row in measured(results) if not row.here]
    rows = [row for row in everywhere if row.machine in shown]
    for machine, setting in dict.fromkeys((row.machine, row.setting) for row in rows):
        show_sentence(console, f"{machine}; {setting}:")
        same = [row for row in rows if (row.machine, row.setting) == (machine, setting)]
        print_table(console, _table(console, same))
        console.print()
    for sentence in answer_sentences(rows):
        print_text(console, plain_text(console, printable(sentence), "bold red"))
    for sentence in noise_sentences(rows):
        print_text(console, plain_text(console, printable(sentence), "yellow"))
    if labels[0] in shown:
        show_sentence(console, own_machine_sentence(labels[0]))
    for choice in decision_of(results).devices:
        if choice.machine in shown:
            _show_choice(console, choice)
    machines = list(dict.fromkeys(row.machine for row in everywhere))
    if machines:
        show_sentence(console, f"The report now has measurements of {listed(machines)}.")
    else:
        show_sentence(console, "No other machine has measured the files of this study.")
    show_paths(console, folder)


def _table(console: Console, rows: Sequence[Measured]) -> Table:
    """Return the files that a machine has timed in one setting."""
    table = new_table()
    table.add_column("file", overflow="fold")
    for head in ("p50 in ms, with interval", "size", "memory", "time / fp32"):
        table.add_column(head, justify="right", no_wrap=True)
    for row in rows:
        memory = row.latency.model_memory_bytes
        texts = (
            printable(row.file.path) + (" (other answers)" if row.other_answers else ""),
            f"{three_digits(row.latency.p50_ms)}{'*' if row.latency.noise else ''} "
            f"({milliseconds_range(row.latency.p50_ci95_ms)})",
            file_size(row.file.size_bytes),
            "-" if memory is None else file_size(memory),
            row.against_fp32.replace(" difference", "\ndifference") or "-",
        )
        table.add_row(*(plain_text(console, text) for text in texts))
    return table


def _show_choice(console: Console, choice: DeviceChoice) -> None:
    if choice.ship:
        label = Text("SHIP ", "bold green") + plain_text(console, printable(choice.ship))
        label.stylize("bold green")
    elif choice.is_known:
        label = Text("SHIP NOTHING", "bold red")
    else:
        label = Text("NOT KNOWN WHAT TO SHIP", "bold yellow")
    why = plain_text(console, printable(f"on {choice.machine}: {choice.because}"))
    print_text(console, Text.assemble(label, " ", why))
