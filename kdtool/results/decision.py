"""Record of the decision: which file to ship, why, at what risk, and what to do next."""

from typing import Literal

from pydantic import Field

from kdtool.results.base import Interval, Record


class NextStep(Record):
    """Something to do, and the command for it if there is one."""

    purpose: str  # in words
    # To type; STUDY is the study's folder, RECIPE its recipe. None: no command does it
    command: str | None = None


Fit = Literal["within budget", "over budget", "not known to be within budget"]


class BudgetCheck(Record):
    """A file against one budget of `[device]`."""

    file: str  # relative to the study; in a profile its path
    budget: Literal["max_latency_ms", "max_size_mb", "max_memory_mb", "max_drop"]  # its key
    machine: str | None  # that measured it; None: the same on each, or that of the profile
    limit: float  # in the unit of the budget
    value: float | None  # in the unit of the budget; None: not measured
    ci95: Interval | None  # of the value; None: it has none
    # with its whole interval; otherwise, and on a busy machine, it is not known
    fit: Fit


class DeviceChoice(Record):
    """Which file to ship on one machine whose profile was merged."""

    machine: str  # as the report names it
    is_known: bool  # False: its measurements do not decide
    ship: str | None  # a file, relative to the study; None: nothing, or not known
    because: str  # sentences


class Decision(Record):
    """What to ship, computed once from all other results; report, terminal and kit only show it."""

    ship: str | None  # a file, relative to the study; None: nothing
    because: str  # a sentence
    alarms: list[str]  # why nothing ships, most serious first; empty where a file ships
    risks: list[str]  # what may go wrong with that file, most serious first
    next: list[NextStep]  # the first is the most useful
    budgets: list[BudgetCheck] = Field(default=[])  # one for each file, budget and machine
    devices: list[DeviceChoice] = Field(default=[])  # one for each machine with a merged profile


def is_weak_teacher(teacher: float, control: float) -> bool:
    """Return whether a teacher scores no better than the mean control; both in [0, 1].

    Where the control is perfect, no teacher could be better, and none is called weak.
    """
    return teacher <= control < 1
