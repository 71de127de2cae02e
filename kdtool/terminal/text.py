"""Text that every terminal can print: messages, plain signs, narrow tables."""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import cast

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Span, Text

from kdtool.format import keyboard_text, visible

ROLE_STYLES = {
    "teacher": "blue",
    "subclass-teacher": "cyan",
    "control": "bright_black",
    "student": "dark_orange3",
    "subclass-student": "magenta",
}

PLAIN = box.Box("    \n    \n -- \n" + 5 * "    \n", ascii=True)  # a line below the header
NAME_WIDTH = 10  # characters; where room is short, names of several words are wrapped to it
# What a line does not end within: a word, a command, which is copied, a number and its unit.
UNBROKEN = re.compile(
    r"(?:`[^`\n]+`|(?<=\d) (?=(?:%|[kMG]|[kMG]?B|bytes|points?|[mu]?s|min|h)(?!\w))|\S)+"
)


class SafeConsole(Console):
    """A console in which only Rich controls the terminal, and no name or message that is shown."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield what is written for a renderable."""
        if isinstance(renderable, Text):  # before it is wrapped, so that nothing is cut
            renderable = _visible(renderable)
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)


def _visible(text: Text) -> Text:
    if text.plain.isprintable():
        return text
    places = [0, *accumulate(len(visible(letter)) for letter in text.plain)]
    shown = text.blank_copy(visible(text.plain))
    shown.spans = [Span(places[one.start], places[one.end], one.style) for one in text.spans]
    return shown


def safe(text: str) -> str:
    """Return text as it is shown by a `SafeConsole`."""
    return visible(text)


def output_console() -> Console:
    """Return standard output."""
    return SafeConsole()


def error_console() -> Console:
    """Return standard error; letters that its encoding lacks are escaped."""
    return SafeConsole(stderr=True, highlight=False)


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
    if console.is_terminal:
        print_text(console, message)
    else:
        console.print(message, soft_wrap=True)


def print_text(console: Console, text: Text) -> None:
    """Print text in lines of the terminal's width, which end between words only.

    A word that is longer than a line, such as a path, is not cut: it is copied from the terminal.
    So is a command in backticks.
    """
    for line in _wrapped(text, console.width):
        console.print(line, soft_wrap=True)


def print_hanging(console: Console, label: Text, text: Text) -> None:
    """Print text next to a label; lines that it is wrapped to begin below it.

    Args:
        console: The output.
        label: In front of the first line, with its gap.
        text: In one paragraph.
    """
    first, *others = _wrapped(text, console.width - cell_len(label.plain))
    console.print(label + first, soft_wrap=True)
    for line in others:
        console.print(Text(" " * cell_len(label.plain)) + line, soft_wrap=True)


def _wrapped(text: Text, width: int) -> list[Text]:
    """Return lines of at most `width` cells, but for single words that are longer.

    Where a line is indented, those that it is wrapped to are too.
    """
    lines: list[Text] = []
    for line in text.split("\n", allow_blank=True):
        indent = " " * (len(line.plain) - len(line.plain.lstrip(" ")))
        begin, ends, room = 0, [], width
        for word in UNBROKEN.finditer(line.plain):
            if word.start() > max(begin, len(indent)) and (
                cell_len(line.plain[begin : word.end()]) > room
            ):
                begin, room = word.start(), width - len(indent)
                ends.append(begin)
        first, *others = line.divide(ends)
        lines += [first, *(Text(indent) + one for one in others)]
    for line in lines:
        line.rstrip()
    return lines


def show_next(console: Console, steps: Sequence[tuple[str, str]]) -> None:
    """Print what to type next; in a terminal, a command that does not fit has its own line.

    Args:
        console: The output.
        steps: A purpose, such as "classify an image", and the command for it.
    """
    for purpose, command in steps:
        why, typed = Text(f"To {purpose}: "), plain_text(console, command, "bold")
        if console.is_terminal and cell_len((why + typed).plain) > console.width:
            print_text(console, why)
            console.print(Text("  ") + typed, soft_wrap=True)
        else:
            console.print(why + typed, soft_wrap=True)


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

    Where the terminal is too narrow for it, the name of each row has a line of its own; where the
    figures alone are too wide, each of them too. No figure and no word of a name is cut.

    Args:
        console: The output.
        table: Of cells in one line each; a last column without a header is left out where it does
            not fit.
    """
    head, *others = table.columns
    name = max(_longest_word(head), min(_width(head), NAME_WIDTH))
    room = console.width - (2 if table.show_edge else 0)
    if _least_width(name, others) > room and others and not str(others[-1].header):
        table.columns.pop()  # bars only; the share next to it says the same
        others = others[:-1]
    if _least_width(name, others) <= room:
        console.print(table)
    elif _least_width(0, others) <= room:
        _print_names_apart(console, table)
    else:
        _print_blocks(console, table)


def _print_names_apart(console: Console, table: Table) -> None:
    """Print two lines for each row: its name, and its figures below those of the other rows."""
    head, *others = table.columns

    def figures(k: int | None) -> Padding:
        """Return the figures of row `k`, or the header."""
        line = new_table()
        line.box, line.show_header = table.box, k is None
        for one in others:
            line.add_column(
                one.header,
                justify=one.justify,
                no_wrap=True,
                min_width=_width(one),
                style=one.style,
            )
        if k is not None:
            line.add_row(*([*one.cells][k] for one in others), style=table.rows[k].style)
        return Padding(line, (0, 0, 0, 2))

    console.print(_as_text(head.header), style="table.header")
    console.print(figures(None))
    for k, name in enumerate(head.cells):
        console.print(_as_text(name), soft_wrap=True)
        console.print(figures(k))


def _print_blocks(console: Console, table: Table) -> None:
    """Print for each row its name, and below that a line for each column."""
    head, *others = table.columns
    columns = [(" ".join(str(one.header).split()), [*one.cells]) for one in others]
    width = max(cell_len(header) for header, _ in columns)
    for k, name in enumerate(head.cells):
        title = f"{_as_text(head.header).plain} ".lstrip()
        console.print(Text(title) + _as_text(name), soft_wrap=True)
        for header, cells in columns:
            value = Text(" ").join(_as_text(cells[k]).split("\n"))
            if value.plain.strip():
                _print_value(console, f"  {header:<{width}}  ", value)


def _print_value(console: Console, label: str, value: Text) -> None:
    """Print a value after its label; wrapped in its own column, below the label if that is long."""
    room = console.width - cell_len(label)
    if cell_len(value.plain) <= room:
        console.print(Text(label) + value, soft_wrap=True)
        return
    console.print(Text(label.rstrip()), soft_wrap=True)
    for line in _wrapped(value, console.width - 4):
        console.print(Text("    ") + line, soft_wrap=True)


def _least_width(name: int, others: Sequence[Column]) -> int:
    """Return the width of a table with names of `name` characters and whole figures."""
    return name + sum(2 + _width(one) for one in others)


def _width(column: Column) -> int:
    """Return the least width at which no cell is broken, and a header only between words."""
    header = _as_text(column.header).plain
    words = header.split("\n") if column.no_wrap else header.split()
    lines = [line for cell in column.cells for line in _as_text(cell).plain.split("\n")]
    return max((cell_len(text) for text in (*words, *lines)), default=0)


def _longest_word(column: Column) -> int:
    words = [word for cell in column.cells for word in _as_text(cell).plain.split()]
    return max(map(cell_len, words), default=0)


def _as_text(cell: RenderableType) -> Text:
    """Return a cell, which is markup or text."""
    return Text.from_markup(cell) if isinstance(cell, str) else cast("Text", cell)
