"""Records of a study, and results.json.

Accuracy and F1 are in [0, 1]. 1 MAC = 1 multiply + 1 add; FLOPs = 2 x MACs. Intervals are 95 %.
"""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from kdtool.errors import StudyError
from kdtool.results.base import (
    ROLES,
    SCHEMA,
    Interval,
    Metric,
    Precision,
    Record,
    Role,
    SplitName,
    Summary,
    is_edited,
)
from kdtool.results.consistent import fault_in, unfit
from kdtool.results.decision import Decision
from kdtool.results.evidence import (
    BiasShift,
    Calibration,
    Coverage,
    Flips,
    Gallery,
    ImagePlace,
    MethodResult,
    OperatingPoint,
    PairedDifference,
    SubclassUse,
    SweepPoint,
    Verdict,
)
from kdtool.results.explained import ExplainResult
from kdtool.results.profile import Agreement, Environment, Latency, TrainingCluster
from kdtool.results.quantization import Ladder, Quantization
from kdtool.results.targets import TargetResult

FP16_USE = (
    "fp16 halves the size; on processors without fp16 arithmetic it is slower, it is meant for GPUs"
)


class Parity(Record):
    """Whether a file gives the same outputs as PyTorch, over the whole test split."""

    num_images: int  # test images
    agreement: float  # share of the images that are not flipped
    max_abs_error: float | None  # of the logits; None: some are not finite
    flipped: list[int]  # test images with another top-1 class than PyTorch's, ties excluded
    # Test images with another top-1 class although PyTorch's own margin between the two classes
    # is no larger than `max_abs_error`: rounding decides between them.
    ties: list[int] = Field(default=[])
    passed: bool | None  # None: int8 and fp16 need not agree, they have a `Gate`


class Gate(Record):
    """Whether a smaller file should be shipped instead of the fp32 file.

    Validation images choose the file, test images confirm it once, and its time decides.
    """

    # Accuracy of this file - accuracy of the fp32 file, on validation, where the file was chosen:
    # at least -`max_drop`. None: of an older kdtool, which decided on test alone.
    validation_difference: float | None = None
    validation_ci95: Interval | None = None  # paired
    num_validation: int | None = None  # validation images
    difference: float  # the same on test, where the choice is confirmed
    ci95: Interval  # paired; confirmed where its lower end is above -`max_drop`
    mcnemar_p: float  # exact, on test
    max_drop: float  # `export.max_drop`
    time_ratio: float  # time of this file / time of the fp32 file, measured in turn
    time_ratio_ci95: Interval  # of `time_ratio`
    recommended: bool  # confirmed, and measurably faster than fp32
    reason: str  # in words, with figures


class FileResult(Record):
    """A model file that can be shipped."""

    path: str  # relative to the study
    sha256: str  # of the file
    size_bytes: int  # of the file
    opset: int  # ONNX operator set
    accuracy: float  # on the test images, of the class that the file calls
    parity: Parity  # with PyTorch
    quantization: Quantization | None = None  # of int8
    gate: Gate | None = None  # of int8 and fp16
    latency: Latency | None = None  # None: not measured
    temperature: float = 1.0  # divides the logits inside the file; see `export.calibrate`
    # Of a student's file, against its exported teacher; None: of an older kdtool
    against_teacher: PairedDifference | None = None


class SpeedResult(Record):
    """Latency of the files of a study, measured in turn."""

    latency: dict[str, Latency]  # by path
    ratios: dict[str, tuple[float, Interval]]  # path of int8 or fp16 -> time / time of fp32


class ClassScores(Record):
    """Scores of one class on the test images."""

    name: str = Field(alias="class")  # of the class
    accuracy: float  # share of this class's images that were recognized, equal to the recall
    accuracy_ci95: Interval  # Wilson
    precision: float  # share of the predictions of this class that are correct
    recall: float  # equal to `accuracy`
    f1: float  # harmonic mean of precision and recall
    support: int  # test images of this class


class TestScores(Record):
    """Scores of one trained model on the test images."""

    num_images: int  # test images
    accuracy: float  # share of the images classified correctly
    accuracy_ci95: Interval  # Wilson
    balanced_accuracy: float | None = None  # mean recall of the classes; None: of an older kdtool
    weighted_f1: float  # F1 of the classes, weighted by their images
    macro_f1: float | None = None  # mean F1 of the classes
    roc_auc: float | None = None  # see `Metric`
    pr_auc: float | None = None  # average precision
    nll: float  # mean negative log-likelihood of the right class, in nats
    ece: float  # expected calibration error over 15 bins, in [0, 1]
    per_class: list[ClassScores]  # in the order of the classes
    confusion: list[list[int]]  # rows: true class, columns: predicted class


class ClassSummary(Record):
    """Scores of the models of one role on one class, over seeds."""

    name: str = Field(alias="class")  # of the class
    accuracy: Summary  # share of this class's images that were recognized
    f1: Summary  # of the class
    support: int  # test images of this class


class EpochRecord(Record):
    """One pass over the training images."""

    epoch: int  # from 1; 0: the model is pretrained and was not trained here
    train_loss: float | None  # mean over the epoch, of the loss that was trained; None of epoch 0
    validation_loss: float  # cross-entropy with the labels, in nats
    validation_accuracy: float  # after this epoch
    validation_score: float | None = None  # the study's metric; None: of an older kdtool, accuracy
    phase: int = 1  # of `teacher.phase` or `student.phase`, from 1
    seconds: float  # that the epoch took, validation included

    @property
    def score(self) -> float:
        """The study's metric on validation, in [0, 1]."""
        if self.validation_score is None:
            return self.validation_accuracy
        return self.validation_score

    @property
    def worth(self) -> tuple[float, float]:
        """What choices compare: the metric on validation, then a low loss."""
        return self.score, -self.validation_loss


class TrainingResult(Record):
    """One run of training; the weights kept are those of `best_epoch`."""

    epochs: list[EpochRecord]  # in order
    best_epoch: int  # highest metric on validation; among equals the lowest validation loss
    num_steps: int  # 0: pretrained, its only epoch is 0
    images_per_second: float  # training steps only
    device: str  # that trained, such as cpu or cuda
    precision: Literal["fp32", "bf16"]  # of the training arithmetic; evaluation is always fp32
    num_ranks: int = 1  # processes of `torchrun` that each computed a part of every batch
    warnings: list[str] = Field(default=[])  # about the model, not the data
    trained_on: TrainingCluster | None = None  # None: by the machine that made the study
    taken_from: str | None = None  # the study next to this one from which the model is reused

    @property
    def best(self) -> EpochRecord:
        """The epoch that the kept weights are from."""
        return next(epoch for epoch in self.epochs if epoch.epoch == self.best_epoch)


class SeedResult(TrainingResult):
    """One run of training and its test scores."""

    seed: int  # of weights and data order
    test: TestScores  # scores on the test images
    calibration: Calibration | None = None  # None: not computed


class Cost(Record):
    """What one forward pass of one image costs on any device."""

    num_params: int  # learned parameters
    num_macs: int  # convolutions, linear layers and attention; bias, norm, activation not counted
    num_flops: int  # 2 x num_macs
    params_at_least: bool = False  # num_params is a lower bound: an ONNX file has more
    macs_at_least: bool = False  # so are num_macs and num_flops
    # thop's count, which includes normalization and pooling; None for an ONNX file
    thop_macs: int | None
    thop_params: int | None  # thop's own count; None of an ONNX file


class ModelResult(Cost):
    """All results of one role of the study."""

    model: str  # name of the network
    seeds: list[SeedResult]  # one entry for each training run
    exported_seed: int  # the best seed on validation
    test: dict[Metric, Summary]  # scores on the test images, over seeds
    per_class: list[ClassSummary] = Field(default=[])  # in the order of the classes
    operating_point: OperatingPoint | None = None  # of the exported seed; None: not two classes
    # Of the exported seed; None: of an older kdtool, or a threshold decides between two classes
    coverage: Coverage | None = None
    files: dict[Precision, FileResult]  # exported files
    refused: dict[Precision, str]  # files that are not kept, with the reason
    int8_ladder: Ladder | None = None  # None: of an older kdtool, or no int8 file was asked for
    recommended: Precision | None  # the best of the files; None: no file

    @property
    def exported(self) -> SeedResult:
        """The training run whose weights were exported."""
        return next(run for run in self.seeds if run.seed == self.exported_seed)

    @property
    def accurate_files(self) -> list[FileResult]:
        """The recommended file, then those that also keep their accuracy, smallest first.

        None, if none is recommended.
        """
        best = self.files.get(self.recommended) if self.recommended else None
        if best is None:
            return []
        others = [
            file
            for file in self.files.values()
            if file is not best and (file.gate is None or file.gate.ci95[0] > -file.gate.max_drop)
        ]
        return [best, *sorted(others, key=lambda file: file.size_bytes)]


class DataResult(Record):
    """What the models were trained and tested on."""

    source: str  # `data.source` of the recipe
    description: str  # in words
    classes: list[str]  # names, in the order of the model's outputs
    image_shape: tuple[int, int, int]  # C, H, W
    num_train: int  # images
    num_validation: int  # images
    num_test: int  # images
    # images of each class, in the order of `classes`
    class_counts: dict[SplitName, list[int]]
    fine_classes: list[str] = Field(default=[])  # before `data.group` merged them; empty without
    # The fine classes of each class; empty without `data.group`
    groups: list[list[str]] = Field(default=[])
    positive: str | None = None  # the positive class; None: more than two classes
    excluded: list[str] = Field(default=[])  # classes that students and controls do not learn from
    num_duplicates: int  # images with a bit-identical copy in another split
    duplicates: list[tuple[str, int, str, int]]  # the first 20: split, index, split, index
    num_near_duplicates: int = 0  # images of at least 64 pixels that resemble one of another split
    near_duplicates: list[tuple[str, int, str, int]] = Field(default=[])  # the first 20, as above
    # npz, relative to the study: `exact` and `near`, uint8 `(K, 2, H, W, C)`, the images of both
    # lists with their duplicates; None: no duplicates
    duplicate_images: str | None = None
    read_from: ImagePlace | None = None  # None: of an older kdtool
    fingerprint: str  # SHA-256 over images, labels, classes and split
    warnings: list[str]  # what was noticed about the images


class DeviceTiming(Record):
    """Latency of a file on a device, in one setting of runtime, threads and batch size."""

    latency: Latency  # in this setting
    # Time / time of the fp32 file of its role, measured in turn; None: not compared
    time_ratio: float | None = None
    time_ratio_ci95: Interval | None = None  # of `time_ratio`
    agreement: Agreement | None = None  # as in a profile: with ONNX Runtime; None: not compared


class DeviceFile(Record):
    """Latencies of a file of the study on a device."""

    role: Role  # of the model
    precision: Precision  # of the file
    sha256: str  # of the file
    timings: list[DeviceTiming]  # one for each setting


class DeviceProfile(Record):
    """What `kdtool profile --json` measured on a device, added by `--merge`."""

    environment: Environment  # of the device
    files: list[DeviceFile]  # those of the study that were measured


class Results(Record):
    """The whole of results.json."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")  # version of this format
    # Of all other keys, as compact JSON with sorted keys; None: of an older kdtool
    sha256: str | None = None
    name: str  # of the study, from the recipe
    decision: Decision | None = None  # what to ship; None: of an older kdtool
    # What changed since these results were last written, in words; empty: nothing, or they were
    # written for the first time
    changes: list[str] = Field(default=[])
    recipe: dict[str, object]  # the recipe with all defaults and `--set` values filled in
    environment: Environment  # of the machine that made the study
    data: DataResult  # the images
    models: dict[Role, ModelResult]  # by role
    metric: Metric = "accuracy"  # what verdicts compare and epochs are chosen by
    verdicts: list[Verdict]  # one for each comparison
    shipped: Role | None = None  # role with the files to ship: the best student on validation
    sweep: list[SweepPoint]  # one entry for each setting; empty without a sweep
    # One entry for each method, where one sweep tried several; otherwise empty
    methods: list[MethodResult] = Field(default=[])
    flips: list[Flips] = Field(default=[])  # one entry for each pair of models
    subclasses: list[SubclassUse] = Field(default=[])  # one entry for each model with subclasses
    bias_shifts: list[BiasShift] = Field(default=[])  # empty without `distill.exclude_classes`
    gallery: Gallery | None = None  # test images that `flips` and `subclasses` refer to
    explain: ExplainResult | None  # saliency maps; None: not computed
    devices: list[DeviceProfile]  # added by `kdtool profile STUDY --merge`
    targets: list[TargetResult] = Field(default=[])  # written by `kdtool export STUDY --for`

    @property
    def files(self) -> list[tuple[Role, Precision, FileResult]]:
        """The files of all models, in the order in which they are shown."""
        return [
            (role, precision, file)
            for role in ROLES
            if role in self.models
            for precision, file in self.models[role].files.items()
        ]

    @property
    def warnings(self) -> list[str]:
        """About the data, and about each model with its role and seed."""
        about_models = [
            f"{role}, seed {seed.seed}: {warning}"
            for role, model in self.models.items()
            for seed in model.seeds
            for warning in seed.warnings
        ]
        return [*self.data.warnings, *about_models]


def load_results(path: Path, *, edited: bool = False) -> Results:
    """Read a results.json.

    Args:
        path: Of the file.
        edited: Also if its content does not match its SHA-256.

    Raises:
        StudyError: The file is missing, was changed, or is no results.json that this kdtool reads.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StudyError(f"cannot read {path}: {error.strerror}") from error
    try:
        results = Results.model_validate_json(content)
    except ValidationError as error:
        if (schema := _schema_of(content)) > SCHEMA:
            raise StudyError(
                f"{path} was written by a newer kdtool: it has schema {schema}, and this kdtool "
                f"reads schema {SCHEMA}; update kdtool"
            ) from error
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise unfit(path, f"{where}: {first['msg']}") from error
    if not edited and is_edited(content):
        raise StudyError(
            f"{path} was changed: it does not match its SHA-256, and `kdtool verify {path.parent}` "
            "names what differs; put the unchanged file back, or delete it and run the command "
            "that made it again: it writes the file and trains nothing"
        )
    if fault := fault_in(results, only_paths=edited):
        raise unfit(path, fault)
    return results


def _schema_of(content: bytes) -> int:
    """Return the schema that a file claims to have; 0: none."""
    try:
        claimed = json.loads(content)["schema"]
    except (ValueError, TypeError, LookupError):
        return 0
    return claimed if isinstance(claimed, int) else 0
