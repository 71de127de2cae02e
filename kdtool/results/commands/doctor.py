"""Record of `kdtool doctor`: what this machine, and a recipe on it, will run into."""

from typing import Literal

from pydantic import Field

from kdtool.results.base import SCHEMA, Record, Role
from kdtool.results.profile import Environment

Mark = Literal["ok", "warning", "fails"]


class Finding(Record):
    """One thing that was looked at."""

    topic: str  # such as memory
    mark: Mark  # ok; warning: it works, but read on; fails: something would fail later
    found: str  # what was found
    means: str  # what it means for kdtool
    fix: str | None = None  # how to fix it; None: nothing to fix, or `found` says how


class ModelForecast(Record):
    """What the models of one role are expected to take."""

    role: Role
    num_models: int  # that the study needs
    num_trained: int  # of these, those that the study's folder has already
    num_steps: int  # of the training of one model, over all epochs and phases
    num_timed: int  # steps that were timed here; 0: the network does not learn
    step_seconds: float | None  # mean of the timed steps; None: none was timed
    seconds: float  # training of one model with the threads that it will have


class Forecast(Record):
    """What the training of a study is expected to take on this machine."""

    models: list[ModelForecast]
    jobs: int  # students and controls that are trained at a time
    threads: int  # of PyTorch, for each of them
    seconds: float  # training of all models that are missing
    memory_bytes: int | None  # of all processes at once; None: the system does not say
    disk_bytes: int  # of the study's folder when it is finished
    assumptions: list[str]  # of all these figures


class Detectable(Record):
    """The smallest true difference of accuracy that a study detects, under an assumption.

    "Detected" means found to differ from zero in 80 % of repetitions of the study.
    """

    share: float  # of test images that only one of student and control is assumed to get right
    visible: float  # the smallest difference of accuracy that is detected; 1: none is


class DoctorReport(Record):
    """The result of `kdtool doctor`."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    environment: Environment
    recipe: str | None  # name of the study; None: no recipe was given, or it cannot be read
    findings: list[Finding]
    forecast: Forecast | None  # None: no recipe, or it cannot be trained
    num_test: int | None  # test images; None: no recipe, or its data cannot be read
    num_seeds: int | None  # students, each with a control; None: no recipe
    detectable: list[Detectable]  # by growing share; empty: no recipe, or no data

    @property
    def passes(self) -> bool:
        """Whether nothing was found that would fail later."""
        return all(one.mark != "fails" for one in self.findings)
