"""Names and messages of strangers in a terminal, in JSON and in tables."""

import csv
import io
import json
import re

import pytest
from rich.text import Text

from kdtool.edge.predict import PredictionReport
from kdtool.format import csv_text, visible
from kdtool.results.base import to_json
from kdtool.terminal.text import SafeConsole, ascii_table, print_message, print_table

NAME = "\x1b[31mred\x1b[0m\x9b\u202ex"
SHOWN = "\\x1b[31mred\\x1b[0m\\x9b\\u202ex"


def test_a_name_can_neither_control_the_terminal_nor_turn_the_text_around():
    console = SafeConsole(
        file=io.StringIO(), width=200, force_terminal=True, color_system="truecolor"
    )
    print_message(console, f"no file {NAME}", "error", "bold red")
    table = ascii_table("model", "p50")
    table.add_row(Text(NAME), "1")
    print_table(console, table)
    output = console.file.getvalue()
    assert output.startswith("\x1b[1;31merror:\x1b[0m no file " + SHOWN)  # only Rich's own colour
    shown = re.sub(r"\x1b\[[\d;]*m", "", output)
    assert re.sub(r"\s|1", "", shown).count(re.sub("1", "", SHOWN)) == 2  # folded in the table
    assert all(c.isprintable() or c == "\n" for c in shown)


@pytest.mark.parametrize(
    "text", ["a b\tc\nd", "می\u200cخ", "\U0001f469\u200d\U0001f52c", "ﬁ\u00a0é"]
)
def test_letters_of_every_language_stay(text):
    assert visible(text) == text


def test_json_holds_the_same_text_without_a_control_character():
    report = PredictionReport(model=NAME, classes=[NAME], predictions=[])
    text = to_json(report)
    assert json.loads(text)["classes"] == [NAME]
    assert all(c.isprintable() or c == "\n" for c in text)


def test_every_table_has_numbers_as_they_are_and_no_formula():
    rows = [["=1+1", "+1", "-1.5", -2, 0.5, None], ["\t=x", "-", "@a", "a=b", NAME, "-1e5"]]
    assert list(csv.reader(io.StringIO(csv_text(rows), newline=""))) == [
        ["'=1+1", "+1", "-1.5", "-2", "0.5", ""],
        ["'\t=x", "'-", "'@a", "a=b", SHOWN, "'-1e5"],
    ]
