"""Text that every terminal can print: messages, plain signs, narrow tables."""

from collections.abc import Sequence
from typing import cast

from rich import box
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Column, Table
from rich.text import Text

from kdtool.format import keyboard_text

ROLE_STYLES = {
    "teacher": "blue",
    "subclass-teacher": "cyan",
    "control": "bright_black",
    "student": "dark_orange3",
    "subclass-student": "magenta",
}

PLAIN = box.Box("    \n    \n -- \n" + 5 * "    \n", ascii=True)  # a line below the header
NAME_WIDTH = 10  # characters; where room is short, longer names of rows are folded to it


def error_console() -> Console:
    """Return standard error; letters that its encoding lacks are escaped."""
    return Console(stderr=True, highlight=False)


def print_message(console: Console, text: str, label: str = "", style: str = "") -> None:
    """Print one message: wrapped in a terminal, on one line in a file or pipe.

    Args:
        console: The output.
        text: The message; a line break in it is kept.
        label: What kind of message it is, such as "error"; printed first.
        style: Of the label.
    """
    message = Text.assemble((f"{label}:", style), " ") if label else Text()
    message.append(plain_text(console, text))
    console.print(message, soft_wrap=not console.is_terminal)


def show_next(console: Console, steps: Sequence[tuple[str, str]]) -> None:
    """Print what to type next.

    Args:
        console: The output.
        steps: A purpose, such as "classify an image", and the command for it.
    """
    for purpose, command in steps:
        line = Text(f"To {purpose}: ") + plain_text(console, command, "bold")
        console.print(line, soft_wrap=True)


def plain_text(console: Console, text: str, style: str = "") -> Text:
    """Return text in ASCII typography; letters that the terminal lacks are escaped."""
    encoded = keyboard_text(text).encode(console.encoding, "backslashreplace")
    return Text(encoded.decode(console.encoding), style=style)


def new_table() -> Table:
    """Return an empty table with narrow gaps."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))


def ascii_table(first: str, *columns: str) -> Table:
    """Return an empty table in ASCII: the names of its rows, then columns of figures."""
    table = Table(box=PLAIN, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def print_table(console: Console, table: Table) -> None:
    """Print a table whose first column names its rows.

    Where the terminal is too narrow for it, each row becomes a block: its name, and below that a
    line for each column. No figure and no name is cut.

    Args:
        console: The output.
        table: Of cells in one line each; a last column without a header is left out where it does
            not fit.
    """
    head, *others = table.columns
    if not _fits(console, head, others) and others and not str(others[-1].header):
        table.columns.pop()  # bars only; the share next to it says the same
        others = others[:-1]
    if _fits(console, head, others):
        console.print(table)
        return
    names = [*head.cells]
    columns = [(str(one.header).replace("\n", " "), [*one.cells]) for one in others]
    width = max(cell_len(header) for header, _ in columns)
    for k, name in enumerate(names):
        title = f"{_as_text(head.header).plain} ".lstrip()
        console.print(Text(title) + _as_text(name), soft_wrap=True)
        for header, cells in columns:
            value = Text(" ").join(_as_text(cells[k]).split("\n"))
            if value.plain.strip():
                console.print(Text(f"  {header:<{width}}  ") + value, soft_wrap=True)


def _fits(console: Console, head: Column, others: Sequence[Column]) -> bool:
    """Return whether whole figures and at least `NAME_WIDTH` of each name fit the width."""
    name = min(_width(head), NAME_WIDTH)
    # Every box of ours has an edge of at most 1, and 2 between columns.
    return 2 + name + sum(2 + _width(one) for one in others) <= console.width


def _width(column: Column) -> int:
    """Return the least width at which no cell is broken, and a header only between words."""
    header = _as_text(column.header).plain
    words = header.split("\n") if column.no_wrap else header.split()
    lines = [line for cell in column.cells for line in _as_text(cell).plain.split("\n")]
    return max((cell_len(text) for text in (*words, *lines)), default=0)


def _as_text(cell: RenderableType) -> Text:
    """Return a cell, which is markup or text."""
    return Text.from_markup(cell) if isinstance(cell, str) else cast("Text", cell)
