"""The recipe as strict frozen models: all defaults are defined here, in data.py and training.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator

from kdtool.errors import RecipeError, did_you_mean
from kdtool.recipe.data import DataTable
from kdtool.recipe.distill import DistillTable, method_fault
from kdtool.recipe.table import Positive, Table
from kdtool.recipe.training import TrainTable
from kdtool.results.base import TEACHER_OF, Metric, Precision, Role

InputForm = Literal["pixels", "resize", "tensor"]


class SubclassTable(Table):
    """How the teacher learns subclasses, and the student learns from them.

    Source: for the defaults, the authors' MNIST-2x5,
    google-research/subclass_distillation/mnist_colab.ipynb.
    """

    per_class: int = Field(
        default=5, description="subclasses of each class", json_schema_extra={"minimum": 2}
    )
    temperature: Positive = Field(
        default=4.0, description="temperature that softens the logits of teacher and student"
    )
    soft_weight: float = Field(
        default=0.5, ge=0, le=1, description="weight of the soft targets; the labels get the rest"
    )
    auxiliary_weight: float = Field(
        default=1.0,
        ge=0,
        allow_inf_nan=False,
        description="weight of the auxiliary loss, which spreads the teacher's subclasses",
    )
    auxiliary_temperature: Positive = Field(
        default=1.0, description="temperature of the auxiliary loss"
    )

    @field_validator("per_class")
    @classmethod
    def _more_than_one(cls, value: int) -> int:
        if value < 2:
            raise ValueError(
                f"got {value}, expected 2 or more; with one subclass use `kdtool distill`"
            )
        return value


class QatTable(Table):
    """Quantization-aware distillation, which is tried where no other int8 file is good enough.

    Source: schedule and, as a share, rate of NVIDIA's pytorch-quantization: 1 % of the learning
    rate, half a cosine. On sets of a thousand images 10 % was measured to regain more.
    """

    epochs: int = Field(
        default=3,
        ge=0,
        description="epochs in which the student learns to compute in 8 bits; 0: none",
    )
    min_steps: int = Field(
        default=200,
        ge=0,
        description="minimum number of training steps: smaller datasets train for more epochs",
    )
    learning_rate: Positive = Field(
        default=0.1, description="learning rate relative to the student's"
    )
    soft_weight: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="weight of the fp32 student's answers, at temperature 1; the labels get the "
        "rest",
    )


class ExportTable(Table):
    """The ONNX files."""

    input: InputForm = Field(
        default="pixels",
        description="input of the files: pixels, uint8 `(N, H, W, C)` of the model's size; resize, "
        "the same of any size; tensor, float32 `(N, C, H, W)` in [0, 1]",
    )
    precisions: list[Precision] = Field(
        default=["fp32"],
        min_length=1,
        json_schema_extra={"uniqueItems": True, "contains": {"const": "fp32"}},
        description="files of the student; fp32 is required",
    )
    opset: int = Field(default=18, ge=18, description="ONNX opset")
    target: Literal["x86", "arm", "portable"] = Field(
        default="portable",
        description="processor of the int8 file: x86, U8S8 for VNNI; arm, S8S8; portable, U8S8 "
        "with 7-bit weights, which saturate nowhere",
    )
    calibration_images: int = Field(
        default=300, ge=1, le=5000, description="training images that calibrate int8"
    )
    golden_images: int = Field(
        default=16, ge=2, le=1000, description="test images that a kit checks itself with"
    )
    max_drop: float = Field(
        default=0.01,
        gt=0,
        lt=1,
        description="largest loss of accuracy allowed for int8 and fp16, 0.01 for a percentage "
        "point",
    )
    max_fp32_layers: int = Field(
        default=16,
        ge=0,
        description="layers of an int8 file, at most half of them, that may stay in fp32 where it "
        "loses too much otherwise; 0 for a processor that computes in integers only",
    )
    qat: QatTable = Field(
        default=QatTable(), description="quantization-aware distillation, the last try for int8"
    )
    calibrate: bool = Field(
        default=False,
        description="divide the logits in the files by the temperature fitted on validation",
    )
    operating_point: str = Field(
        default="argmax",
        json_schema_extra={
            "pattern": r"^(argmax|youden|f1|(sensitivity|specificity|cost):[0-9.]+)$"
        },
        description="with two classes how the threshold of the positive class is chosen on "
        "validation: argmax, 0.5; youden, highest sensitivity + specificity; f1, highest F1; "
        "sensitivity:0.95; specificity:0.95; cost:5, a miss costs 5 false alarms",
    )

    @field_validator("operating_point")
    @classmethod
    def _known_rule(cls, value: str) -> str:
        parse_operating_point(value)
        return value

    @field_validator("precisions")
    @classmethod
    def _fp32_is_there(cls, value: list[Precision]) -> list[Precision]:
        if "fp32" not in value:
            raise ValueError('"fp32" is missing; add it, int8 and fp16 are made from it')
        if repeated := sorted({one for one in value if value.count(one) > 1}):
            raise ValueError(f"got {', '.join(repeated)} more than once, expected each once")
        return value


class ProfileTable(Table):
    """How latency is measured on this machine."""

    threads: int = Field(default=1, ge=1, le=256, description="threads of ONNX Runtime")
    seconds: Positive = Field(default=3.0, description="seconds of measuring each model")


Attribution = Literal["gradient", "smoothgrad", "integrated-gradients", "grad-cam"]


class ExplainTable(Table):
    """The saliency maps."""

    method: Attribution = Field(
        default="gradient",
        description="how the influence of a pixel is computed; `grad-cam` is for networks with "
        "convolutions, others get no map",
    )
    images: int = Field(default=8, ge=1, le=64, description="test images in the report")


class DeviceTable(Table):
    """What the device allows; a file over a budget is not shipped."""

    max_latency_ms: Positive | None = Field(
        default=None, description="median time of one image; None: no budget"
    )
    max_size_mb: Positive | None = Field(
        default=None, description="size of the file in MB, 1,000,000 bytes; None: no budget"
    )
    max_memory_mb: Positive | None = Field(
        default=None,
        description="peak memory in MB, minus the runtime without a model; None: no budget",
    )
    max_drop: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="accuracy that the file may lose against the teacher: 0.01 is one point; "
        "None: no budget",
    )


STUDY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class Recipe(Table):
    """One study: data, teacher, student, and how the student learns."""

    name: str = Field(
        pattern=STUDY_NAME,
        description="name of the study and of its folder: letters, digits, `.`, `_` and `-`",
    )
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(
        default=[0, 1, 2],
        min_length=1,
        json_schema_extra={"uniqueItems": True},
        description="one student and one control are trained for each seed, and one teacher with "
        "the first",
    )
    teacher_seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] | None = Field(
        default=None,
        json_schema_extra={"uniqueItems": True},
        description="as many as `seeds`: the student of each seed learns from a teacher of its "
        "own, so that verdicts hold for teachers of this kind; None: one teacher, of the first "
        "of `seeds`, teaches all",
    )
    metric: Metric = Field(
        default="accuracy", description="what epochs and settings are chosen by, and verdicts judge"
    )
    data: DataTable = Field(description="the images")
    teacher: TrainTable = Field(description="the teacher")
    student: TrainTable = Field(description="the student, and the control without a teacher")
    distill: DistillTable = Field(
        default=DistillTable(), description="how the student learns from the teacher"
    )
    subclass: SubclassTable = Field(
        default=SubclassTable(), description="subclass distillation, `kdtool subclass-distill`"
    )
    export: ExportTable = Field(default=ExportTable(), description="the ONNX files")
    profile: ProfileTable = Field(
        default=ProfileTable(), description="the latency measured on this machine"
    )
    explain: ExplainTable = Field(default=ExplainTable(), description="the saliency maps")
    device: DeviceTable = Field(
        default=DeviceTable(), description="budgets of the device that the file is for"
    )

    @property
    def without_paths(self) -> Self:
        """The same with the names of model files instead of their paths; `data.root` stays."""
        return self.model_copy(
            update={
                "teacher": self.teacher.without_paths,
                "student": self.student.without_paths,
            }
        )

    def seeds_of(self, role: Role) -> list[int]:
        """Return the seeds of the models of a role; student i learns from teacher i, or the one."""
        if role not in TEACHER_OF.values():
            return self.seeds
        return self.teacher_seeds or self.seeds[:1]

    @field_validator("seeds", "teacher_seeds")
    @classmethod
    def _seeds_differ(cls, value: list[int] | None) -> list[int] | None:
        if value is None:
            return None
        if repeated := sorted({seed for seed in value if value.count(seed) > 1}):
            raise ValueError(
                f"got {', '.join(map(str, repeated))} more than once, expected each seed once"
            )
        return value

    @field_validator("teacher_seeds")
    @classmethod
    def _one_for_each_seed(cls, value: list[int] | None, info: ValidationInfo) -> list[int] | None:
        seeds = info.data.get("seeds")
        if value is not None and seeds is not None and len(value) != len(seeds):
            raise ValueError(
                f"got {len(value)}, expected {len(seeds)}, as many as `seeds`: the "
                "student of each seed learns from a teacher of its own"
            )
        return value

    @field_validator("teacher")
    @classmethod
    def _teachers_differ(cls, value: TrainTable, info: ValidationInfo) -> TrainTable:
        if value.is_trained and info.data.get("teacher_seeds"):
            raise ValueError(
                "a pretrained teacher is the same for each of teacher_seeds: remove "
                "teacher_seeds, or train the teacher (`epochs`)"
            )
        return value

    @field_validator("student")
    @classmethod
    def _student_learns(cls, value: TrainTable) -> TrainTable:
        if value.is_trained:
            raise ValueError("a student is trained: expected a network and `epochs` of 1 or more")
        return value

    @field_validator("distill")
    @classmethod
    def _method_fits_the_student(cls, value: DistillTable, info: ValidationInfo) -> DistillTable:
        student = info.data.get("student")
        if student is not None and (fault := method_fault(value, student)):
            raise ValueError(fault)
        return value


# Rules of `export.operating_point`, with the highest value that each takes; None: it takes none.
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
        ValueError: The rule is unknown or its value is out of range.
    """
    rule, colon, value = text.partition(":")
    if rule not in RULES:
        raise ValueError(
            f'got "{text}", expected argmax, youden, f1, sensitivity:VALUE, specificity:VALUE '
            f"or cost:VALUE{did_you_mean(rule, RULES)}"
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


def check_operating_point(rule: str, classes: Sequence[object]) -> None:
    """Check that a rule fits the data.

    Raises:
        RecipeError: It chooses a threshold, but there are not two classes.
    """
    if rule != "argmax" and len(classes) != 2:
        raise RecipeError(
            f'export.operating_point: got "{rule}", which is for two classes, but the data have '
            f'{len(classes)}; remove it, or set it to "argmax"'
        )
