"""Records of what tells a real gain from noise, and of how the models differ.

Accuracy and probabilities are in [0, 1]; intervals are 95 %; a "test image" is an index into the
test split.
"""

from typing import Literal

from pydantic import Field

from kdtool.results.base import Interval, Metric, Record, Role, Summary


class Uncertainty(Record):
    """Where the uncertainty of a difference comes from, and what would make it smaller.

    "Seen" means found to differ from zero in 4 of 5 studies (power 0.8, two-sided), and that for
    the strictest of the n comparisons that the study makes: at level 0.05 / n, Holm's first step.
    """

    seed_std: float | None  # of single seeds' differences; None for a single seed
    seed_error: float | None  # standard error of the mean difference that the seeds make
    image_error: float  # standard error of the mean difference that the test images make
    visible: float  # smallest difference that a study like this one sees
    images_needed: int | None  # test images to see 0.01 with these seeds; None: no number is enough
    seeds_needed: int | None  # seeds to see 0.01 on these images; None: no number is enough


class Verdict(Record):
    """Whether one model beats another on the same test images."""

    of: Role  # the model that is judged
    against: Role  # the model that it is compared with
    metric: Metric = "accuracy"  # the metric that `difference` is in
    difference: float  # mean over seeds of metric(of) - metric(against)
    ci95: Interval  # of this comparison alone
    p_value: float  # two-sided, of this comparison alone; fits `ci95`; of one seed: exact McNemar
    p_holm: float  # corrected for the number of verdicts of the study
    mcnemar_p: list[float]  # exact, one a seed, of the accuracy whatever the metric
    seeds: list[int]  # seeds that both models have
    uncertainty: Uncertainty | None = None  # None: computed by an older kdtool
    verdict: Literal["HELPED", "NO EVIDENCE", "HURT"]  # by `p_holm` below 0.05


class SweepPoint(Record):
    """The students of one setting; the setting is chosen on validation, never on test."""

    role: Role = "student"  # or "subclass-student"
    settings: dict[str, float | int | str]  # recipe key -> value
    seeds: list[int]  # of the students
    validation_accuracy: Summary  # over seeds
    test_accuracy: Summary  # over seeds
    validation_score: Summary | None = None  # the study's metric; None: it is accuracy
    test_score: Summary | None = None  # the study's metric on test; None: it is accuracy
    selected: bool  # this setting was chosen


class Rates(Record):
    """How a two-class model fares where it calls the positive class from a threshold on."""

    sensitivity: float  # share of the positive images that are called positive
    sensitivity_ci95: Interval  # Wilson, as the others
    specificity: float  # share of the negative images that are called negative
    specificity_ci95: Interval  # of `specificity`
    precision: float  # share of those called positive that are
    precision_ci95: Interval  # of `precision`
    accuracy: float  # share of all images classified correctly
    f1: float  # of the positive class


class OperatingPoint(Record):
    """From which probability on an exported model calls the positive class."""

    rule: str  # of `export.operating_point`
    positive: str  # name of the positive class
    threshold: float  # called positive where its probability is at least this
    validation: Rates  # what the threshold was chosen on
    test: Rates  # rates on the test images


class ReliabilityBin(Record):
    """Test images on which a model was about equally sure."""

    confidence: float  # mean probability of the predicted class
    accuracy: float  # share of these images classified correctly
    num_images: int  # test images


class Calibration(Record):
    """How far a model's probabilities can be believed, after temperature scaling.

    Source: Guo et al. 2017, arXiv:1706.04599.
    """

    temperature: float  # divides the logits; least negative log-likelihood on validation
    nll: float  # on test, after; in nats
    ece: float  # on test, after; over 15 bins
    validation_nll_before: float  # of the images that the temperature was fitted on
    validation_nll_after: float  # of the same images, after scaling
    before: list[ReliabilityBin]  # bins that hold an image, by confidence
    after: list[ReliabilityBin]  # the same bins after scaling


class Flips(Record):
    """Test images on which two models differ, of their exported seeds."""

    of: Role  # the first model
    against: Role  # the second model
    both_right: int  # test images that both get right
    gained: int  # `of` right, `against` wrong
    lost: int  # `against` right, `of` wrong
    both_wrong: int  # test images that both get wrong
    gained_images: list[int]  # test images: where `of` is surest, at most 12
    lost_images: list[int]  # test images: where `of` is surest of its mistake, at most 12


class GalleryImage(Record):
    """One test image that is shown, and what the exported models say of it."""

    index: int  # the test image
    label: str  # name of its class
    fine_label: str | None  # None without `data.group`
    predictions: dict[Role, str]  # class that each model predicts
    probabilities: dict[Role, float]  # of the predicted class


class Gallery(Record):
    """Test images that are shown."""

    path: str  # npz, relative to the study: `images` (N, H, W, C) uint8 in the order of `images`
    images: list[GalleryImage]  # in the order of the file


class ClassSubclasses(Record):
    """How the subclasses of one class are used on test images of that class.

    An image belongs to the subclass of its class that has the largest logit.
    """

    name: str = Field(alias="class")  # of the class
    shares: list[float]  # of the images of the class, one a subclass
    effective: float  # exp of the entropy of `shares`: 1 is one subclass only, S is even use
    collapsed: bool  # one subclass has nearly all images
    # Test images that each subclass claims most strongly, at most 8, of any class; a subclass
    # claims those for which it is the most probable of all
    claimed: list[list[int]]


class FineMatch(Record):
    """How well subclasses match the fine classes that `data.group` merged.

    Each subclass stands for one fine class of its own class, so that the most images fit. An image
    belongs to the most probable subclass of all classes.
    """

    accuracy: float  # share of the test images whose subclass stands for their fine class
    accuracy_ci95: Interval  # Wilson
    # Of subclass and fine class, within the classes: 0 is chance, 1 is perfect
    adjusted_mutual_information: float
    # Test images; rows: `data.fine_classes`, columns: subclasses, class by class
    table: list[list[int]]


class SubclassUse(Record):
    """What one model made of its subclasses."""

    role: Role  # "subclass-teacher" or "subclass-student"
    seed: int  # of the model
    exported: bool  # the galleries are of the exported seeds only
    per_class: list[ClassSubclasses]  # in the order of the classes
    fine: FineMatch | None  # None: no class was merged of several


class ShiftedClass(Record):
    """One class before and after the bias shift."""

    name: str = Field(alias="class")  # of the class
    accuracy: Summary  # on test, without the shift
    shifted_accuracy: Summary  # on test, with the shift


class BiasShift(Record):
    """A number added to the logits of the classes that were left out of the transfer set.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 3.
    """

    role: Role  # of the model
    shifts: list[float]  # one a seed; best accuracy on validation
    accuracy: Summary  # on test
    shifted_accuracy: Summary  # on test, with the shift
    per_class: list[ShiftedClass]  # in the order of the classes
