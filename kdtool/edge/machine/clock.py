"""The clocks, and the letters that the terminal and the names of files can have."""

import codecs
import locale
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kdtool.format import plural
from kdtool.results.commands.doctor import Finding

COARSE = 1e-4  # seconds; the fastest models take a tenth of it
SKEW = 3600.0  # seconds that the clock of a file server may be ahead
NUM_TICKS = 20


@dataclass(frozen=True, slots=True)
class Letters:
    """Encodings, by their names in Python."""

    output: str  # of standard output
    files: str  # of the names of files
    texts: str  # that other programs take text files to have


def tick_seconds() -> float:
    """Return the smallest step of the clock that times are measured with, as it was seen now."""
    steps = []
    for _ in range(NUM_TICKS):
        began = now = time.perf_counter()
        while now == began:
            now = time.perf_counter()
        steps.append(now - began)
    return min(steps)


def newest_file(folders: Iterable[Path]) -> float:
    """Return when the newest Python file of some folders was written, in seconds since 1970."""
    return max(
        (file.stat().st_mtime for folder in folders for file in folder.glob("*.py")), default=0.0
    )


def judge_clock(tick: float, now: float, newest: float) -> list[Finding]:
    """Return what is to be said of the clocks.

    Args:
        tick: Of `tick_seconds`.
        now: Seconds since 1970, by the system's clock.
        newest: Of `newest_file`, of files that were installed in the past.
    """
    found = f"it moves in steps of {tick * 1e9:,.0f} ns"
    fine = Finding(topic="clock", mark="ok", found=found, means="latencies can be measured")
    coarse = Finding(
        topic="clock",
        mark="warning",
        found=found,
        means="too coarse for latencies below a millisecond",
        fix="measure with more runs in one: kdtool profile --batch 32",
    )
    today = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d %H:%M UTC")
    if now >= newest - SKEW:
        date = Finding(topic="date", mark="ok", found=today, means="no file is from the future")
    else:
        days = int((newest - now) / 86400)
        date = Finding(
            topic="date",
            mark="warning",
            found=f"{today}, but files of kdtool are {plural(days, 'day')} newer",
            means="downloads may be refused (certificates that are not valid yet), and dates in "
            "reports are wrong",
            fix="set the clock, such as with: sudo timedatectl set-ntp true",
        )
    return [fine if tick <= COARSE else coarse, date]


def letters() -> Letters:
    """Return the encodings of this process."""
    return Letters(
        getattr(sys.stdout, "encoding", None) or "ascii",
        sys.getfilesystemencoding(),
        locale.getencoding(),
    )


def judge_letters(found: Letters) -> Finding:
    """Return what is to be said of the encodings."""
    text = f"output {found.output}, names of files {found.files}, locale {found.texts}"
    if not _is_unicode(found.files):
        return Finding(
            topic="letters",
            mark="warning",
            found=text,
            means="files and classes with letters beyond this encoding get other names here than "
            "on other machines, or cannot be opened",
            fix="export PYTHONUTF8=1",
        )
    if not _is_unicode(found.output):
        return Finding(
            topic="letters",
            mark="ok",
            found=text,
            means="letters that the output lacks are printed as \\u codes; files have them all",
        )
    return Finding(topic="letters", mark="ok", found=text, means="all letters can be printed")


def _is_unicode(name: str) -> bool:
    try:
        return codecs.lookup(name).name.startswith("utf")
    except LookupError:
        return False
