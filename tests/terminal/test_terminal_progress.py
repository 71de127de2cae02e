import io
import re
import time

import pytest
from rich.console import Console

from kdtool.terminal.progress import Terminal

TEXT = "epoch 11/12, loss 0.123, validation 98.1%, 21,600 images/s"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
@pytest.mark.parametrize("title", ["student, seed 0", "a title that is long " * 4])
def test_percent_and_time_left_are_there_at_every_width(width, title):
    terminal = Terminal()
    stream = io.StringIO()
    terminal.console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    with terminal.progress(title, 100) as update:
        update(37, TEXT)
    lines = [line for line in re.split(r"[\r\n]", stream.getvalue()) if "37%" in line]
    assert lines
    for line in lines:
        shown = re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]", "", line)
        assert re.search(r"37% [\d-]:[\d-]{2}:[\d-]{2}", shown)
        assert len(shown) <= width


def test_the_work_of_several_is_shown_below_each_other():
    terminal = Terminal()
    stream = io.StringIO()
    terminal.console = Console(file=stream, width=80, force_terminal=True, color_system=None)
    with terminal.progress("ends last", 10) as last:
        last(7, "")
        with terminal.progress("ends first", 10) as first:
            first(3, "")
            while "30%" not in stream.getvalue():  # drawn by a thread
                time.sleep(0.01)
        last(8, "")
    shown = stream.getvalue()
    assert shown.index("70%") < shown.index("30%") < shown.rindex("80%")
    assert "ends first" not in shown[shown.rindex("80%") :]
    with terminal.progress("next", 10) as following:  # after the display has ended
        following(5, "")
    assert "50%" in stream.getvalue()


def test_a_warning_is_printed_once(capsys):
    terminal = Terminal()
    for text in ("few images", "few images", "equal images"):
        terminal.warn(text)
    assert capsys.readouterr().err == "warning: few images\nwarning: equal images\n"
    assert terminal.warned == {"few images", "equal images"}


def test_messages_are_wrapped_in_a_terminal_only_and_are_not_markup():
    words = "[red]a message[/] that is longer than the terminal is wide, and has no markup"
    for is_terminal, num_lines in ((True, 3), (False, 1)):
        terminal = Terminal()
        stream = io.StringIO()
        terminal.console = Console(
            file=stream, width=30, force_terminal=is_terminal, color_system=None
        )
        terminal.say(words)
        shown = stream.getvalue()
        assert shown.count("\n") == num_lines
        assert " ".join(shown.split()) == words
        assert not is_terminal or max(map(len, shown.splitlines())) <= 30
