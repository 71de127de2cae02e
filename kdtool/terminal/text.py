"""Text that every terminal can print: messages, plain signs, narrow tables."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from kdtool.format import MINUS, NBSP, TIMES

ROLE_STYLES = {
    "teacher": "blue",
    "subclass-teacher": "cyan",
    "control": "bright_black",
    "student": "dark_orange3",
    "subclass-student": "magenta",
}

_SIGNS = str.maketrans({TIMES: "x", MINUS: "-", NBSP: " "})


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


def plain_text(console: Console, text: str, style: str = "") -> Text:
    """Return text in ASCII typography; letters that the terminal lacks are escaped."""
    encoded = text.translate(_SIGNS).encode(console.encoding, "backslashreplace")
    return Text(encoded.decode(console.encoding), style=style)


def new_table() -> Table:
    """Return an empty table with narrow gaps."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
