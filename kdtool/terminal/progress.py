"""Progress and messages of a command: bars in a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from kdtool.terminal.text import error_console, print_message

NARROW = 60  # characters; narrower terminals have no bar and no text
SECONDS_BETWEEN_LINES = 10.0  # where the output is not a terminal

Update = Callable[[int, str], None]  # units done so far, and a text to show with them


class Terminal:
    """Reports what a command does, on standard error: standard output holds results only."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.console = error_console()
        self.quiet = quiet
        self.warned: set[str] = set()  # every warning so far; none is printed twice
        self._bars: Progress | None = None  # one display, for the work of several processes too

    def say(self, text: str) -> None:
        """Report a step that begins or is done; silent with `--quiet`."""
        if not self.quiet:
            print_message(self.console, text)

    def warn(self, text: str) -> None:
        """Print what the user should know before trusting the result, once; never silent."""
        if text not in self.warned:
            self.warned.add(text)
            print_message(self.console, text, "warning", "bold yellow")

    def fail(self, text: str) -> None:
        """Print an error after which the process ends."""
        if self._bars is not None:
            self._bars.stop()  # shows the cursor again
        print_message(self.console, text, "error", "bold red")

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Update]:
        """Show how far a long piece of work is; several are shown below each other.

        Args:
            title: What is being done.
            total: Number of units of work.

        Yields:
            A function that takes the units done so far and a text to show with them.
        """
        if self.quiet:
            yield lambda _done, _text: None
        elif self.console.is_terminal:
            with self._bar(title, total) as update:
                yield update
        else:
            yield self._lines(title, total)

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Update]:
        if self._bars is None:
            columns = progress_columns(self.console.width)
            is_wide = self.console.width >= NARROW
            self._bars = Progress(*columns, console=self.console, transient=True, expand=is_wide)
            self._bars.start()
        bars = self._bars
        task = bars.add_task(escape(title), total=total, text="")
        try:
            yield lambda done, text: bars.update(task, completed=done, text=escape(text))
        finally:
            if len(bars.tasks) > 1:
                bars.remove_task(task)
            else:
                bars.stop()
                self._bars = None

    def _lines(self, title: str, total: int) -> Update:
        began = last = time.monotonic()
        first_done: int | None = None

        def update(done: int, text: str) -> None:
            nonlocal last, first_done
            now = time.monotonic()
            first_done = done if first_done is None else first_done
            if now - last < SECONDS_BETWEEN_LINES:
                return
            last = now
            rate = (done - first_done) / (now - began)
            left = f"{(total - done) / rate:.0f} s left, " if rate > 0 else ""
            self.say(f"{title}: {done / total:.0%}, {left}{text}")

        return update


def progress_columns(width: int) -> tuple[ProgressColumn, ...]:
    """Return title, bar, percent, time left, and a text that is cut at the terminal's width.

    Args:
        width: Of the terminal; a narrow one gets no bar, no text, and less of the title.
    """
    text = Column(ratio=1, no_wrap=True)
    title = max(1, min(30, width - 18))  # beside "100%", "0:00:00" and spaces
    return (
        TextColumn("{task.description}", table_column=Column(max_width=title, no_wrap=True)),
        *([BarColumn(bar_width=10)] if width >= NARROW else []),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        *([TextColumn("{task.fields[text]}", table_column=text)] if width >= NARROW else []),
    )
