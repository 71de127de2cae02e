"""The scores class by class in the terminal, of studies of two classes."""

from rich.console import Console
from rich.table import Table

from kdtool.report import words
from kdtool.report.by_class import columns
from kdtool.results import Results
from kdtool.terminal.plain import ROLE_STYLES, new_table, plain_text

BESIDE = ("weighted_f1", "roc_auc")  # of all classes; no more fits in 80 columns
LONGEST_NAME = 8  # characters


def class_table(console: Console, results: Results) -> Table | None:
    """Return a row a model, a column a class or score; None where there are not two classes."""
    if len(results.data.classes) != 2 or not results.models:
        return None
    table = new_table()
    table.add_column("")
    shown = [one for one in columns(results) if one.of_class or one.metric in BESIDE]
    for column in shown:
        head = f"{column.group}\n{_cut(column.name)}"
        table.add_column(plain_text(console, head), justify="right", no_wrap=True)
    for row, role in enumerate(words.present(results)):
        cells = [column.cell(row) for column in shown]
        name = plain_text(console, words.spoken(role), ROLE_STYLES[role])
        table.add_row(name, *(plain_text(console, cell.value if cell else "-") for cell in cells))
    return table


def _cut(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 2]}.."
