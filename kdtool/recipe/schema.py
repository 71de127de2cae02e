"""The recipe as strict frozen models; every default lives here and in recipe_data and _train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator

from kdtool.errors import RecipeError
from kdtool.recipe.data import DataTable
from kdtool.recipe.table import Positive, Table
from kdtool.recipe.training import TrainTable
from kdtool.results.base import Metric
from kdtool.results.study import Precision

InputForm = Literal["pixels", "resize", "tensor"]


class DistillTable(Table):
    """How the student learns from the teacher.

    Defaults: the CIFAR-100 setting of RepDistiller and mdistiller, temperature 4 and weights
    0.9 and 0.1.
    """

    temperature: Positive = 4.0
    soft_weight: float = Field(default=0.9, ge=0, le=1)
    # Classes whose images students and controls do not learn from, by number or name
    exclude_classes: list[int | str] = Field(default=[])


class SubclassTable(Table):
    """How the teacher invents subclasses, and the student learns from them.

    Defaults: the authors' MNIST-2x5, google-research/subclass_distillation/mnist_colab.ipynb.
    """

    per_class: int = 5
    temperature: Positive = 4.0
    soft_weight: float = Field(default=0.5, ge=0, le=1)
    auxiliary_weight: float = Field(default=1.0, ge=0, allow_inf_nan=False)  # of the teacher's loss
    auxiliary_temperature: Positive = 1.0

    @field_validator("per_class")
    @classmethod
    def _more_than_one(cls, value: int) -> int:
        if value < 2:
            raise ValueError(
                f"got {value}, expected 2 or more: with one subclass a class this is knowledge "
                "distillation, `kdtool distill`"
            )
        return value


class ExportTable(Table):
    """The ONNX files."""

    # pixels: uint8 (N, H, W, C) of the model's size | resize: of any size, scaled and cropped to it
    # | tensor: float32 (N, C, H, W) in [0, 1], as PyTorch takes it
    input: InputForm = "pixels"
    precisions: list[Precision] = Field(default=["fp32"], min_length=1)  # of the student
    opset: int = Field(default=18, ge=18)  # the exporter writes none below 18
    # Of int8. x86: U8S8, for processors with VNNI | arm: S8S8 | portable: U8S8 with 7-bit weights,
    # which no processor saturates
    target: Literal["x86", "arm", "portable"] = "portable"
    calibration_images: int = Field(default=300, ge=1, le=5000)  # of the train split
    max_drop: float = Field(default=0.01, gt=0, lt=1)  # of accuracy, that int8 and fp16 may cost
    calibrate: bool = False  # divide the logits in the file by the temperature fitted on validation
    # Of two classes: from which probability on the positive one is called, chosen on validation.
    # argmax: 0.5 | youden: most sensitivity + specificity | f1: most F1 | sensitivity:0.95 |
    # specificity:0.95 | cost:5, a miss costs 5 times what a false alarm does
    operating_point: str = "argmax"

    @field_validator("operating_point")
    @classmethod
    def _known_rule(cls, value: str) -> str:
        parse_operating_point(value)
        return value

    @field_validator("precisions")
    @classmethod
    def _fp32_is_there(cls, value: list[Precision]) -> list[Precision]:
        if "fp32" not in value:
            raise ValueError('"fp32" is missing: int8 and fp16 are made from it')
        if len(set(value)) != len(value):
            raise ValueError("the same precision twice")
        return value


class ProfileTable(Table):
    """How latency is measured on this machine."""

    threads: int = Field(default=1, ge=1)
    seconds: Positive = 3.0  # for each model


class ExplainTable(Table):
    """The saliency maps."""

    images: int = Field(default=8, ge=1, le=64)  # shown in the report


class Recipe(Table):
    """One study: data, teacher, student, and how the one teaches the other."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")  # the study's folder
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[0, 1, 2], min_length=1)
    metric: Metric = "accuracy"  # what epochs and settings are chosen by, and verdicts judge
    data: DataTable
    teacher: TrainTable
    student: TrainTable
    distill: DistillTable = DistillTable()
    subclass: SubclassTable = SubclassTable()
    export: ExportTable = ExportTable()
    profile: ProfileTable = ProfileTable()
    explain: ExplainTable = ExplainTable()

    @property
    def without_paths(self) -> Self:
        """The same with the names of model files instead of their paths; `data.root` stays."""
        return self.model_copy(
            update={
                "teacher": self.teacher.without_paths,
                "student": self.student.without_paths,
            }
        )

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError("the same seed twice: each seed must differ")
        return value

    @field_validator("student")
    @classmethod
    def _student_learns(cls, value: TrainTable) -> TrainTable:
        if value.is_trained:
            raise ValueError("a student must learn: expected a network, and `epochs` of 1 or more")
        return value


# Of `export.operating_point`, with the highest value that each takes; None: it takes none.
RULES: dict[str, float | None] = {
    "argmax": None,
    "youden": None,
    "f1": None,
    "sensitivity": 1.0,
    "specificity": 1.0,
    "cost": 1e6,
}


def parse_operating_point(text: str) -> tuple[str, float | None]:
    """Split `RULE` or `RULE:VALUE` of `export.operating_point`.

    Raises:
        ValueError: There is no such rule, or its value is out of range.
    """
    rule, colon, value = text.partition(":")
    if rule not in RULES:
        raise ValueError(
            f'got "{text}", expected argmax, youden, f1, sensitivity:VALUE, specificity:VALUE '
            "or cost:VALUE"
        )
    highest = RULES[rule]
    if highest is None:
        if colon:
            raise ValueError(f'got "{text}", expected {rule} without a value')
        return rule, None
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number <= highest:
        raise ValueError(f'got "{text}", expected {rule}:VALUE, above 0 and at most {highest:g}')
    return rule, number


def check_operating_point(rule: str, classes: Sequence[str]) -> None:
    """Check that a rule fits the data.

    Raises:
        RecipeError: It chooses a threshold, but there are more than two classes.
    """
    if rule != "argmax" and len(classes) != 2:
        raise RecipeError(
            f'export.operating_point = "{rule}" is for two classes, and the data have '
            f'{len(classes)}; leave it out, or say "argmax": the most probable class is called'
        )
