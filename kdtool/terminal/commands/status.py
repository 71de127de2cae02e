"""What `kdtool status` prints: trained models, results, and what is left."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdtool.format import plural, printable, role_name
from kdtool.results.commands.status import RoleStatus, StudyStatus
from kdtool.terminal.text import (
    ROLE_STYLES,
    new_table,
    plain_text,
    print_table,
    print_text,
    show_next,
)

RUNNING = {True: "running now", False: "not running", None: "whether it is running is not known"}
RESULTS = {
    "none": "not written yet",
    "outdated": "of settings before those of its recipe.toml; a later run was interrupted",
    "written": "written",
}


def show_status(console: Console, status: StudyStatus) -> None:
    """Print how far a study is; its decision and next steps are printed by `study.py`.

    Args:
        console: The output; every line fits 80 columns.
        status: Of the study.
    """
    state = RUNNING[status.running]
    line = Text("Study: ") + plain_text(console, printable(status.folder), "bold")
    console.print(line + plain_text(console, f", {state}"), soft_wrap=True)
    if status.roles:
        print_table(console, _table(console, status))
    results = RESULTS[status.results]
    if status.results == "written" and not status.report:
        results += ", but report.html is missing: `kdtool report` writes it again"
    print_text(console, plain_text(console, f"Results: {results}"))
    for problem in status.problems:
        print_text(console, plain_text(console, f"warning: {printable(problem)}", "yellow"))
    _show_left(console, status)


def _show_left(console: Console, status: StudyStatus) -> None:
    if not status.left:
        console.print("Nothing is left to do.")
        return
    print_text(console, plain_text(console, f"Left: {'; '.join(status.left)}."))
    if status.command:
        show_next(console, [("continue", status.command)])
    elif not status.running:
        name = printable(status.name or "")
        text = f"To continue, rename the folder to {name}, the name in its recipe.toml."
        print_text(console, plain_text(console, text))


def _table(console: Console, status: StudyStatus) -> Table:
    notes = [_note(one) for one in status.roles]
    table = new_table()
    table.add_column("")
    for head in ("trained", "asked for"):
        table.add_column(head, justify="right")
    if any(notes):
        table.add_column("note", overflow="fold")
    for one, note in zip(status.roles, notes, strict=True):
        cells = [str(len(one.done)), str(len(one.asked)), *([note] if any(notes) else [])]
        name = plain_text(console, role_name(one.role), ROLE_STYLES[one.role])
        table.add_row(name, *(plain_text(console, cell) for cell in cells))
    return table


def _note(role: RoleStatus) -> str:
    notes = []
    if role.begun:
        seeds = ", ".join(map(str, role.begun))
        notes.append(f"seed {seeds} is begun")
    if role.num_models > len(role.done):
        notes.append(f"{plural(role.num_models, 'model')}, of a sweep or earlier settings")
    return "; ".join(notes)
