"""Record of `kdtool check`: what a recipe means, before anything is trained."""

from typing import Literal

from pydantic import Field

from kdtool.results.base import SCHEMA, Record, Role
from kdtool.results.study import DataResult


class NetworkCheck(Record):
    """A network that the recipe names."""

    role: Role  # teacher, or student, which is the network of the control too
    model: str  # its name
    weights: str | None  # that it starts from; None: random ones
    num_params: int
    num_macs: int  # of one image
    params_at_least: bool = False  # num_params is a lower bound: an ONNX file has more
    macs_at_least: bool = False  # so is num_macs
    num_epochs: int  # of its training; 0: pretrained, and not trained further


class ModelsToTrain(Record):
    """The models of one role that a study trains."""

    role: Role
    num_models: int
    num_trained: int  # of these, those that the study's folder has already


class CheckReport(Record):
    """The result of `kdtool check`: the study can be trained."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    name: str  # of the study
    folder: str  # of the study; it need not exist
    device: str  # that would train, such as cpu or cuda
    data: DataResult
    networks: list[NetworkCheck]
    models: list[ModelsToTrain]
    warnings: list[str]  # all of them, those about the data included
