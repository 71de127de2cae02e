"""Ctrl-C and SIGTERM: one message, status 130 or 143, and nothing left over."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from kdtool.errors import NOTHING_LOST

# A closed terminal sends SIGHUP, which Windows lacks.
ENDING = [signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]
SECONDS_TO_WAIT = 0.05  # before another look whether an import is over
SECONDS_ALIKE = 1.0  # a terminal and `uv run` both send one Ctrl-C

# Of this process, as handlers are: each ending signal that came while it worked, with its time.
_came: list[tuple[int, float]] = []


class EndedError(KeyboardInterrupt):
    """SIGTERM or SIGHUP: the same clean-up as for Ctrl-C."""


def watch_signals() -> None:
    """Have Ctrl-C and SIGTERM end this process at once, with one message, until `careful`.

    While modules are imported there is nothing to clean up, and an exception may be lost: libraries
    turn it into an ImportError, or print it and go on. A signal that is ignored, as after `nohup`,
    stays so.
    """
    from kdtool.train.ranks.launched import launched

    # torchrun ends its ranks by SIGTERM, and each of them has its own way to go.
    ending = [] if launched() else ENDING
    for number in (signal.SIGINT, *ending):
        if signal.getsignal(number) in {signal.SIG_DFL, signal.default_int_handler}:
            signal.signal(number, _end_at_once)


@contextmanager
def careful() -> Iterator[None]:
    """Have Ctrl-C and SIGTERM raise in the block, which cleans up behind itself."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *ENDING)}
    ours = [number for number, handler in before.items() if handler is _end_at_once]
    for number in ours:
        signal.signal(number, _raise)
    try:
        yield
    finally:
        for number in ours:
            if signal.getsignal(number) is _raise:
                signal.signal(number, _end_at_once)


def interrupted_by() -> int | None:
    """Return the signal that ended the work of this process; None: none came."""
    return _came[0][0] if _came else None


def exit_code(number: int) -> int:
    """Return the exit status of a process that a signal has ended, as shells have it."""
    return 128 + number


def _raise(number: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if not _came and _is_importing(frame) and hasattr(signal, "setitimer"):
        # Libraries catch what is raised while they are imported, and go on.
        signal.signal(signal.SIGALRM, lambda _alarm, later: _raise(number, later))
        signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_WAIT)
    elif not _came:
        _came.append((number, now))
        raise KeyboardInterrupt if number == signal.SIGINT else EndedError
    elif now - _came[-1][1] > SECONDS_ALIKE:  # again: the clean-up takes too long for this user
        _end(number, "interrupted again; files named *.unfinished* may be left over")


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported somewhere up the stack."""
    while frame is not None and frame.f_code.co_filename != "<frozen importlib._bootstrap>":
        frame = frame.f_back
    return frame is not None


def _end_at_once(number: int, _frame: FrameType | None) -> None:
    _end(number, NOTHING_LOST)


def _end(number: int, text: str) -> None:
    with suppress(OSError, ValueError):  # the terminal may be gone
        cursor = "\x1b[?25h" if os.isatty(2) else ""  # which a progress bar hides
        os.write(2, f"{cursor}error: {text}\n".encode())
    os._exit(exit_code(number))
