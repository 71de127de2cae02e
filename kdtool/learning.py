"""Records of one run of training and of how its model fared on the test images."""

from typing import Literal

from pydantic import Field

from kdtool.evidence import Calibration
from kdtool.record import Interval, Record, Summary


class ClassScores(Record):
    """How one class fared on the test images."""

    name: str = Field(alias="class")
    accuracy: float  # share of this class's images that were recognized, which is its recall
    accuracy_ci95: Interval  # Wilson
    precision: float
    recall: float
    f1: float
    support: int  # test images of this class


class TestScores(Record):
    """How one trained model fared on the test images."""

    num_images: int
    accuracy: float
    accuracy_ci95: Interval  # Wilson
    balanced_accuracy: float | None = None  # mean over the classes; None: of an older kdtool
    weighted_f1: float
    macro_f1: float | None = None
    roc_auc: float | None = None  # see `Metric`
    pr_auc: float | None = None  # average precision
    nll: float  # mean negative log-likelihood of the right class, in nats
    ece: float  # expected calibration error over 15 bins, in [0, 1]
    per_class: list[ClassScores]
    confusion: list[list[int]]  # rows: true class, columns: predicted class


class ClassSummary(Record):
    """How the models of one role fared on one class, over seeds."""

    name: str = Field(alias="class")
    accuracy: Summary  # share of the images of this class that were recognized
    f1: Summary
    support: int  # test images of this class


class EpochRecord(Record):
    """One pass over the training images."""

    epoch: int  # from 1; 0: the model came trained
    train_loss: float | None  # mean over the epoch, of the loss that was trained; None of epoch 0
    validation_loss: float  # cross-entropy with the labels, in nats
    validation_accuracy: float
    validation_score: float | None = None  # the study's metric; None: of an older kdtool, accuracy
    phase: int = 1  # of `teacher.phase` or `student.phase`, from 1
    seconds: float

    @property
    def score(self) -> float:
        """The study's metric on validation, in [0, 1]."""
        if self.validation_score is None:
            return self.validation_accuracy
        return self.validation_score

    @property
    def worth(self) -> tuple[float, float]:
        """What choices are made by: the metric on validation, and among equals a low loss."""
        return self.score, -self.validation_loss


class TrainingResult(Record):
    """One run of training; the weights kept are those of `best_epoch`."""

    epochs: list[EpochRecord]
    best_epoch: int  # highest metric on validation; among equals the lowest validation loss
    num_steps: int  # 0: it came trained, and its only epoch is 0
    images_per_second: float  # training steps only
    device: str
    precision: Literal["fp32", "bf16"]  # of the training arithmetic; evaluation is always fp32
    taken_from: str | None = None  # the study beside this one that trained it, and took the time

    @property
    def best(self) -> EpochRecord:
        """The epoch whose weights were kept."""
        return next(epoch for epoch in self.epochs if epoch.epoch == self.best_epoch)


class SeedResult(TrainingResult):
    """One run of training and its test scores."""

    seed: int
    test: TestScores
    calibration: Calibration | None = None
