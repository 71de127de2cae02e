"""Record of `kdtool status`: how far a study is."""

from typing import Literal

from pydantic import Field

from kdtool.results.base import SCHEMA, Record, Role
from kdtool.results.decision import Decision


class RoleStatus(Record):
    """How many models of a role are trained."""

    role: Role
    asked: list[int]  # seeds of the models that the recipe asks for
    done: list[int]  # of these, the seeds that are trained
    begun: list[int]  # seeds with a training that was begun and is not finished
    num_models: int  # trained models; a sweep trains several for each seed


class StudyStatus(Record):
    """How far a study is, from the files in its folder."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    folder: str
    name: str | None  # from the recipe; None: no recipe is written yet
    running: bool | None  # whether a kdtool run works on it; None: that cannot be found out
    roles: list[RoleStatus]
    # Whether results.json is written; outdated: it is of settings before those of recipe.toml
    results: Literal["none", "outdated", "written"]
    report: bool  # whether report.html is written
    decision: Decision | None  # None: no results, or outdated ones
    left: list[str]  # what is left to do, in words; empty: the study is finished
    command: str | None  # continues the study; None: finished, running, or no recipe
    problems: list[str]  # damaged files, what they lead to
