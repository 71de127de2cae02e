"""Frozen records of what was measured, and results.json.

Accuracy and F1 are in [0, 1]. 1 MAC = 1 multiply + 1 add; FLOPs = 2 x MACs. Intervals are 95 %.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from kdtool.artifacts import FileResult, Precision
from kdtool.errors import StudyError
from kdtool.evidence import (
    BiasShift,
    Flips,
    Gallery,
    OperatingPoint,
    SubclassUse,
    SweepPoint,
    Verdict,
)
from kdtool.learning import ClassSummary, SeedResult
from kdtool.profiles import Environment, Latency
from kdtool.record import SCHEMA, Interval, Metric, Record, Role, Summary


class Cost(Record):
    """What one forward pass of one image costs, whatever the device."""

    num_params: int
    num_macs: int  # convolutions, linear layers and attention; bias, norm, activation not counted
    num_flops: int  # 2 x num_macs
    # thop's own count, which also counts normalization and pooling; None of an ONNX file
    thop_macs: int | None
    thop_params: int | None


class ModelResult(Cost):
    """All that is known of one model of the study."""

    model: str
    seeds: list[SeedResult]
    exported_seed: int  # the best on validation
    test: dict[Metric, Summary]
    per_class: list[ClassSummary] = Field(default=[])  # in the order of the classes
    operating_point: OperatingPoint | None = None  # of two classes, of the exported seed
    files: dict[Precision, FileResult]
    refused: dict[Precision, str]  # files that are not kept, and why
    recommended: Precision | None  # the file to ship; None: there is none


class TeacherTargets(Record):
    """The teacher's answers on the images that the students learn from."""

    num_images: int
    accuracy: float  # of the teacher on them


class ExplainedImage(Record):
    """One test image whose saliency was computed for every model."""

    index: int  # in the test split
    label: str
    predictions: dict[Role, str]
    probabilities: dict[Role, float]  # of the predicted class
    agreement: dict[Role, float]  # Spearman correlation with the teacher's heatmap, in [-1, 1]


class ExplainResult(Record):
    """Saliency of the exported models on the same test images."""

    method: str
    path: str  # npz: `images` (N, H, W, C) uint8 and one `(N, H, W)` float32 heatmap a role
    images: list[ExplainedImage]
    mean_agreement: dict[Role, float]  # over `num_compared` test images
    num_compared: int


class DataResult(Record):
    """What the models were trained and tested on."""

    source: str
    description: str
    classes: list[str]
    image_shape: tuple[int, int, int]  # C, H, W
    num_train: int
    num_validation: int
    num_test: int
    class_counts: dict[Literal["train", "validation", "test"], list[int]]
    fine_classes: list[str] = Field(default=[])  # before `data.group` merged them; empty without
    groups: list[list[str]] = Field(
        default=[]
    )  # the fine classes of each class; empty without `data.group`
    positive: str | None = None  # of two classes the one to be found; None: there are more
    excluded: list[str] = Field(default=[])  # classes that students and controls do not learn from
    num_duplicates: int  # images that stand, bit for bit, in two splits
    duplicates: list[tuple[str, int, str, int]]  # the first 20: split, index, split, index
    num_near_duplicates: int = 0  # images of at least 64 pixels that look like one of another split
    near_duplicates: list[tuple[str, int, str, int]] = Field(default=[])  # the first 20, as above
    # npz, relative to the study: `exact` and `near`, uint8 `(K, 2, H, W, C)`, the images of both
    # lists and their twins; None: there are none
    duplicate_images: str | None = None
    fingerprint: str  # SHA-256 over images, labels, classes and split
    warnings: list[str]


class DeviceTiming(Record):
    """A file in one setting of runtime, threads and batch size on a device."""

    latency: Latency
    time_ratio: float | None = None  # to the fp32 file of its role, in turn; None: not compared
    time_ratio_ci95: Interval | None = None


class DeviceFile(Record):
    """A file of the study as it was measured on a device."""

    role: Role
    precision: Precision
    sha256: str
    timings: list[DeviceTiming]


class DeviceProfile(Record):
    """What `kdtool profile --json` measured on a device, joined by `--merge`."""

    environment: Environment
    files: list[DeviceFile]


class Results(Record):
    """The whole of results.json."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    name: str
    recipe: dict[str, object]
    environment: Environment
    data: DataResult
    models: dict[Role, ModelResult]
    metric: Metric = "accuracy"  # what the verdicts judge, and epochs were chosen by
    verdicts: list[Verdict]
    shipped: Role | None = None  # whose files to ship: the best student on validation
    sweep: list[SweepPoint]
    flips: list[Flips] = Field(default=[])
    subclasses: list[SubclassUse] = Field(default=[])
    bias_shifts: list[BiasShift] = Field(
        default=[]
    )  # where `distill.exclude_classes` left classes out
    gallery: Gallery | None = None  # test images that `flips` and `subclasses` speak of
    explain: ExplainResult | None
    devices: list[DeviceProfile]  # joined by `kdtool profile STUDY --merge`


def load_results(path: Path) -> Results:
    """Read a results.json.

    Raises:
        StudyError: The file is missing or is not a results.json of this schema.
    """
    try:
        return Results.model_validate_json(path.read_bytes())
    except OSError as error:
        raise StudyError(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise StudyError(
            f"{path} is not a results.json of schema {SCHEMA}: {where}: {first['msg']}; delete it "
            "and give the command that made it again, which writes it anew and trains nothing"
        ) from error
