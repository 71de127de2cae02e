"""Text as any terminal can print it."""

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


def plain_text(console: Console, text: str, style: str = "") -> Text:
    """Return text without signs of typography; letters that the terminal lacks as their number."""
    encoded = text.translate(_SIGNS).encode(console.encoding, "backslashreplace")
    return Text(encoded.decode(console.encoding), style=style)


def new_table() -> Table:
    """Return an empty table with narrow gaps."""
    return Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
