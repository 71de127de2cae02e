import io
import re

import pytest
from rich.console import Console

from kdtool.terminal.progress import Terminal

TEXT = "epoch 11/12, loss 0.123, validation 98.1%, 21,600 images/s"


@pytest.mark.parametrize("width", [60, 80, 120])
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
