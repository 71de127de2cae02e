"""Records of verdicts, and of how the models differ.

Accuracy and probabilities are in [0, 1]; intervals are 95 %; a "test image" is an index into the
test split.
"""

from typing import Literal

from pydantic import Field

from kdtool.results.base import Interval, Metric, Record, Role, Summary

Word = Literal["HELPED", "NO EVIDENCE", "HURT"]


class Uncertainty(Record):
    """Where the uncertainty of a difference comes from, and what would reduce it.

    "Detected" means found to differ from zero in 80 % of repetitions of the study (power 0.8,
    two-sided) at level 0.05 / n, the strictest of Holm's steps for n comparisons.
    """

    seed_std: float | None  # standard deviation of the seeds' differences; None for a single seed
    seed_error: float | None  # standard error of the mean difference, from seeds
    image_error: float  # standard error of the mean difference, from test images
    visible: float  # smallest difference that a study like this one detects
    # Test images to detect 0.01 with these seeds; None: no number is enough
    images_needed: int | None
    seeds_needed: int | None  # seeds to detect 0.01 on these images; None: no number is enough


class ClassDifference(Record):
    """How much better one model recognizes the test images of one class than another."""

    name: str = Field(alias="class")  # of the class
    difference: float  # mean over seeds of accuracy(of) - accuracy(against), on this class
    ci95: Interval  # of this class alone, paired
    p_holm: float  # corrected for the number of classes


class Verdict(Record):
    """Whether one model beats another on the same test images."""

    of: Role  # the model that is judged
    against: Role  # the model that it is compared with
    metric: Metric = "accuracy"  # the metric that `difference` is in
    difference: float  # mean over seeds of metric(of) - metric(against)
    ci95: Interval  # of this comparison alone
    # Two-sided, of this comparison alone; below 0.05 where `ci95` excludes 0. One seed: McNemar
    p_value: float
    p_holm: float  # corrected for the number of verdicts of the study
    # At the level that Holm's method gives this comparison: it excludes 0 exactly where the verdict
    # is not NO EVIDENCE. None: computed by an older kdtool
    ci_holm: Interval | None = None
    mcnemar_p: list[float]  # exact, one a seed; always of the accuracy
    seeds: list[int]  # seeds that both models have
    uncertainty: Uncertainty | None = None  # None: computed by an older kdtool
    verdict: Word  # not NO EVIDENCE: `p_holm` is below 0.05
    # In the order of the classes; empty: computed by an older kdtool
    per_class: list[ClassDifference] = Field(default=[])

    @property
    def interval(self) -> Interval:
        """The interval that agrees with the verdict."""
        return self.ci_holm or self.ci95


class SweepPoint(Record):
    """The students of one setting; the setting is selected on validation, never on test."""

    role: Role = "student"  # or "subclass-student"
    settings: dict[str, float | int | str]  # recipe key -> value
    seeds: list[int]  # of the students
    validation_accuracy: Summary  # over seeds
    test_accuracy: Summary  # over seeds
    validation_score: Summary | None = None  # the study's metric; None: it is accuracy
    test_score: Summary | None = None  # the study's metric on test; None: it is accuracy
    selected: bool  # this setting was chosen


class PairedVerdict(Record):
    """How much better some students are than other models, on the same test images."""

    difference: float  # mean over seeds, of the study's metric
    ci_holm: Interval  # paired, corrected for the number of comparisons
    p_holm: float  # corrected for the number of comparisons
    verdict: Word  # not NO EVIDENCE: `p_holm` is below 0.05


class MethodResult(Record):
    """One distillation method of a sweep over methods, at its best setting on validation."""

    method: str  # of `distill.method`
    settings: dict[str, float | int | str]  # that setting: recipe key -> value
    num_settings: int  # that were tried for this method
    validation_score: Summary  # the study's metric, over seeds
    test_score: Summary  # on test, over seeds
    against_control: PairedVerdict  # on test
    against_kd: PairedVerdict | None  # None: of kd itself, or kd was not tried
    selected: bool  # chosen on validation, and so the study's student


class Rates(Record):
    """Rates of a two-class model at one threshold of the positive class."""

    sensitivity: float  # share of the positive images that are called positive
    sensitivity_ci95: Interval  # Wilson, like the other two
    specificity: float  # share of the negative images that are called negative
    specificity_ci95: Interval  # of `specificity`
    precision: float  # share of the images called positive that are positive
    precision_ci95: Interval  # of `precision`
    accuracy: float  # share of all images classified correctly
    f1: float  # of the positive class


class OperatingPoint(Record):
    """The threshold from which on an exported model calls the positive class."""

    rule: str  # of `export.operating_point`
    positive: str  # name of the positive class
    threshold: float  # called positive where its probability is at least this
    validation: Rates  # on the images that the threshold was chosen on
    test: Rates  # rates on the test images


class ReliabilityBin(Record):
    """Test images on which a model was about equally confident."""

    confidence: float  # mean probability of the predicted class
    accuracy: float  # share of these images classified correctly
    num_images: int  # test images


class Calibration(Record):
    """How reliable a model's probabilities are, after temperature scaling.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """

    temperature: float  # divides the logits; lowest negative log-likelihood on validation
    nll: float  # on test, after; in nats
    ece: float  # on test, after; over 15 bins
    validation_nll_before: float  # in nats, on the images that the temperature was fitted on
    validation_nll_after: float  # of the same images, after scaling
    # Groups of about as many images each, in order of confidence; an older kdtool: of equal width
    before: list[ReliabilityBin]
    after: list[ReliabilityBin]  # such groups after scaling


class Answered(Record):
    """The images that a model answers if it refuses those that it is less sure of."""

    threshold: float  # answered: the probability of the predicted class is at least this
    share: float  # of the images, that are answered
    num_answered: int  # images
    accuracy: float  # of the answered images


class Coverage(Record):
    """How accurate a model is on the images that it is surest of.

    Source: El-Yaniv and Wiener 2010, Journal of Machine Learning Research 11, 1605.
    """

    num_mistakes: int  # on all validation images
    curve: list[Answered]  # on test, from all images to the few surest
    # The lowest threshold, in steps of 0.01, with at most half of the share of mistakes among the
    # answered validation images, 50 or more. None: none has, or there are fewer than 10 mistakes
    chosen: Answered | None  # on validation
    test: Answered | None  # at the same threshold, on test
    test_ci95: Interval | None  # of its accuracy, Wilson

    @property
    def is_confirmed(self) -> bool:
        """Whether the answered test images are shown to be more often right than all are."""
        return self.test_ci95 is not None and self.test_ci95[0] > self.curve[0].accuracy


class PairedDifference(Record):
    """Accuracy of a file minus that of another model, on the same test images."""

    difference: float  # in [-1, 1]
    ci95: Interval  # paired


class Flips(Record):
    """Test images on which two models differ, of their exported seeds."""

    of: Role  # the first model
    against: Role  # the second model
    both_right: int  # test images that both get right
    gained: int  # `of` right, `against` wrong
    lost: int  # `against` right, `of` wrong
    both_wrong: int  # test images that both get wrong
    gained_images: list[int]  # test images, `of` most confident first, at most 12
    lost_images: list[int]  # test images, `of` most confident in its mistake first, at most 12


class ImagePlace(Record):
    """Where the decoded images were while models were trained and tested."""

    # "memory", or "disk": a file of the user's cache, from which each batch is read
    where: Literal["memory", "disk"]
    num_bytes: int  # of all images, one for each pixel and channel


class GalleryImage(Record):
    """One test image of the report, and the predictions of the exported models."""

    index: int  # the test image
    label: str  # name of its class
    fine_label: str | None  # None without `data.group`
    predictions: dict[Role, str]  # class that each model predicts
    probabilities: dict[Role, float]  # of the predicted class


class Gallery(Record):
    """Test images of the report."""

    path: str  # npz, relative to the study: `images` (N, H, W, C) uint8 in the order of `images`
    images: list[GalleryImage]  # in the order of the file


class ClassSubclasses(Record):
    """How a model uses the subclasses of one class on test images of that class.

    An image belongs to the subclass of its class that has the largest logit.
    """

    name: str = Field(alias="class")  # of the class
    shares: list[float]  # of the images of the class, one a subclass
    effective: float  # exp of the entropy of `shares`: 1 is one subclass only, S equal use of all
    collapsed: bool  # one subclass has nearly all images
    # At most 8 test images of any class for each subclass, most confident first: those for which
    # it is the most probable of all subclasses
    claimed: list[list[int]]


class FineMatch(Record):
    """How well subclasses match the fine classes that `data.group` merged.

    Each subclass is matched with one fine class of its own class, so that most images agree. An
    image belongs to the most probable subclass of all classes.
    """

    accuracy: float  # share of the test images with a subclass that matches their fine class
    accuracy_ci95: Interval  # Wilson
    # Between subclass and fine class, within the classes: 0 is chance, 1 is perfect
    adjusted_mutual_information: float
    # Test images; rows: `data.fine_classes`, columns: subclasses, class by class
    table: list[list[int]]


class SubclassUse(Record):
    """How one model uses its subclasses."""

    role: Role  # "subclass-teacher" or "subclass-student"
    seed: int  # of the model
    exported: bool  # only exported seeds have `claimed` images
    per_class: list[ClassSubclasses]  # in the order of the classes
    fine: FineMatch | None  # None: no class was merged from several fine classes


class ShiftedClass(Record):
    """One class before and after the bias shift."""

    name: str = Field(alias="class")  # of the class
    accuracy: Summary  # on test, without the shift
    shifted_accuracy: Summary  # on test, with the shift


class BiasShift(Record):
    """A number added to the logits of the classes that students did not learn from.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 3.
    """

    role: Role  # of the model
    shifts: list[float]  # one a seed; best accuracy on validation
    accuracy: Summary  # on test
    shifted_accuracy: Summary  # on test, with the shift
    per_class: list[ShiftedClass]  # in the order of the classes
