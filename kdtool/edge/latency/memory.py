"""Resident memory of this process: what it holds of the machine's memory."""

import sys
from pathlib import Path

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # Source: proc(5), /proc/pid/clear_refs


def forget_peak() -> None:
    """Let `peak_bytes` begin anew; does nothing where the system cannot (all but Linux)."""
    if CLEAR_REFS.is_file():
        CLEAR_REFS.write_text(FORGET_PEAK, encoding="ascii")


def peak_bytes() -> int | None:
    """Return the most that was resident since `forget_peak`, or since the start where that fails.

    None where the system does not tell (Windows).
    """
    if STATUS.is_file():
        for line in STATUS.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):  # in KiB, whatever the page size
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
