"""What training reports to: messages, warnings and progress, wherever they are shown."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Update = Callable[[int, str], None]  # units of work done so far, and a text to show with them


class Reporter(Protocol):
    """Shows what a command does; `kdtool.terminal.progress.Terminal` is one."""

    def say(self, text: str) -> None:
        """Report a step that began or ended."""

    def warn(self, text: str) -> None:
        """Report what the user should know before trusting the result."""

    def progress(self, title: str, total: int) -> AbstractContextManager[Update]:
        """Show the progress of a long piece of work.

        Args:
            title: Of the work.
            total: Units of work in all.

        Returns:
            A context manager that yields a function for the units done so far.
        """


class Silent:
    """Reports nothing: in a process for which another one reports."""

    def say(self, text: str) -> None:
        """Drop the message."""

    def warn(self, text: str) -> None:
        """Drop the warning."""

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Update]:
        """Show no progress."""
        yield lambda _done, _text: None
