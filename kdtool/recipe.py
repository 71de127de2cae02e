"""The recipe as strict frozen models; every default lives here."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kdtool.results import Precision

TomlPath = Annotated[Path, Field(strict=False)]  # TOML has no paths, only strings
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
ClassList = Annotated[list[int | str], Field(min_length=1)]  # by place, from 0, or name
InputForm = Literal["pixels", "resize", "tensor"]


class Table(BaseModel):
    """A table of the recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class IdxFiles(Table):
    """Four files of the MNIST format, plain or .gz, relative to `data.root`."""

    train_images: TomlPath = Path("train-images-idx3-ubyte")
    train_labels: TomlPath = Path("train-labels-idx1-ubyte")
    test_images: TomlPath = Path("t10k-images-idx3-ubyte")
    test_labels: TomlPath = Path("t10k-labels-idx1-ubyte")


class Columns(Table):
    """Names of the columns of a csv file."""

    file: str  # path of the image, below `data.images`
    label: str
    split: str | None = None  # train, validation (or val, valid) or test; None: kdtool draws them


class DataTable(Table):
    """Where the images come from and how they are split."""

    source: Literal["mnist", "fashion-mnist", "kmnist", "idx", "digits", "folder", "csv", "npz"]
    root: TomlPath | None = (
        None  # relative to the recipe; None: the user's cache, filled by download
    )
    home: str | None = None  # the page that gives out the data; told when they are absent
    offline: Literal["mnist-5k"] | None = None  # what stands in when the download fails
    # Share below 1, number of images from 1 on; drawn where the source does not say
    validation: Positive = 0.1  # of the train images
    test: Positive = 0.2  # of all images of "folder" and "csv"
    # Classes to merge, by number or name, each of the source's classes once:
    # [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    group: Annotated[list[ClassList], Field(min_length=2)] | None = None
    files: IdxFiles = IdxFiles()
    file: TomlPath | None = None  # the .npz, below `root`
    classes: Annotated[list[str], Field(min_length=2)] | None = None  # in order
    csv: TomlPath | None = None  # the table, below `root`
    columns: Columns | None = None
    images: TomlPath = Path()  # folder of the images of "csv", below `root`
    group_by: str | None = None  # column; images that agree in it stay in one split: a patient's
    size: int | None = Field(default=None, ge=1)  # side in pixels; None: the images' own
    channels: Literal[1, 3] | None = None  # None: 1 if all images are grey, else 3
    skip_broken: bool = False  # leave broken files out, instead of stopping

    @field_validator("validation", "test")
    @classmethod
    def _share_below_one(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError(f"got {value}, expected a share below 1 or a whole number of images")
        return value

    @model_validator(mode="after")
    def _keys_fit_source(self) -> Self:
        for key, sources in SOURCES_OF.items():
            given = getattr(self, key) != type(self).model_fields[key].default
            if given and self.source not in sources:
                known = " or ".join(f'"{source}"' for source in sources)
                raise ValueError(f"`{key}` is only for source {known}")
        for key, meaning in NEEDED.get(self.source, {}).items():
            if getattr(self, key) is None:
                raise ValueError(f'source "{self.source}" needs `{key}`, {meaning}')
        if self.offline is not None and self.source != "mnist":
            raise ValueError(f'offline "{self.offline}" can only stand in for source "mnist"')
        return self


PICTURES = ("folder", "csv")
SOURCES_OF: dict[str, tuple[str, ...]] = {  # the keys that are not for every source
    "root": ("mnist", "fashion-mnist", "kmnist", "idx", *PICTURES, "npz"),
    "home": (*PICTURES, "npz"),
    "test": PICTURES,
    "files": ("idx",),
    "file": ("npz",),
    "classes": ("idx", "csv", "npz"),
    "csv": ("csv",),
    "columns": ("csv",),
    "images": ("csv",),
    "group_by": ("csv",),
    "size": PICTURES,
    "channels": PICTURES,
    "skip_broken": PICTURES,
}
ROOT = {"root": "the folder of the data"}
NEEDED: dict[str, dict[str, str]] = {
    "idx": ROOT,
    "folder": ROOT,
    "csv": {
        **ROOT,
        "csv": "the table, below `root`",
        "columns": 'such as { file = "name", label = "class" }',
    },
    "npz": {**ROOT, "file": "the .npz, below `root`"},
}


class TrainTable(Table):
    """A model and how it is trained."""

    model: str  # built in | torchvision:NAME | package.module:function
    epochs: int = Field(default=12, ge=1)
    min_steps: int = Field(default=400, ge=0)  # more epochs where the set is too small for so many
    batch_size: int = Field(default=256, ge=1)
    learning_rate: Positive = 1e-3
    optimizer: Literal["adam", "sgd"] = "adam"
    momentum: float = Field(default=0.9, ge=0, lt=1)  # of "sgd"
    weight_decay: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    schedule: Literal["constant", "cosine"] = "constant"
    precision: Literal["auto", "fp32", "bf16"] = "auto"  # of the training arithmetic


class DistillTable(Table):
    """How the student learns from the teacher.

    Defaults: the CIFAR-100 setting of RepDistiller and mdistiller, temperature 4 and weights
    0.9 and 0.1.
    """

    temperature: Positive = 4.0
    soft_weight: float = Field(default=0.9, ge=0, le=1)
    # Classes whose images students and controls do not learn from, by number or name
    exclude_classes: list[int | str] = []


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
    data: DataTable
    teacher: TrainTable
    student: TrainTable
    distill: DistillTable = DistillTable()
    subclass: SubclassTable = SubclassTable()
    export: ExportTable = ExportTable()
    profile: ProfileTable = ProfileTable()
    explain: ExplainTable = ExplainTable()

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError("the same seed twice: each seed must differ")
        return value
