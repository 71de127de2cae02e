"""Records of several studies side by side, as `kdtool report STUDY STUDY` makes them."""

from typing import Literal

from pydantic import Field

from kdtool.results.base import SCHEMA, Interval, Record, Role
from kdtool.results.evidence import PairedDifference, Verdict
from kdtool.results.profile import Latency


class StudyRow(Record):
    """One study, as its results.json has it."""

    folder: str  # as it was given
    name: str  # of the study
    kdtool: str  # version that made it
    ship: str | None  # the file to ship; None: nothing
    because: str  # why, a sentence
    role: Role | None  # of the student that ships; None: it has none yet
    seed: int | None  # of that student that was exported
    # The file that ships or, where nothing does, would ship; None: the student has no file
    file: str | None
    # Of that file on the test images, or of the exported seed; None: there is no student
    accuracy: float | None
    accuracy_ci95: Interval | None  # Wilson
    against_teacher: PairedDifference | None  # accuracy of the file - that of its teacher
    size_bytes: int | None  # of the file
    latency: Latency | None  # of the file, on the machine that made the study
    machine: str  # that made the study
    verdict: Verdict | None  # on the student against its control; None: there is none
    num_test: int  # test images
    data_fingerprint: str  # see `DataResult`


class RecipeDifference(Record):
    """A key of the recipes that has not the same value in all studies."""

    key: str  # such as `distill.temperature`
    values: list[object]  # in the order of the studies; None: not set, or unknown to that kdtool


class StudiesReport(Record):
    """The result of `kdtool report STUDY STUDY`."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    classes: list[str]  # of all studies, in the order of the first
    studies: list[StudyRow]  # in the order given
    warnings: list[str]  # what makes figures hard to compare, in words
    differences: list[RecipeDifference]  # in the order of the first recipe
