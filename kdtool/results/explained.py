"""Records of saliency: of the models of a study, and of a file and the user's pictures."""

from typing import Literal

from pydantic import Field

from kdtool.results.base import SCHEMA, Interval, Record, Role

MapMethod = Literal["occlusion", "rise"]

# Why a test image is shown.
Why = Literal["the models differ", "of each class", "least agreement", "most agreement"]


class ExplainedImage(Record):
    """One test image with a saliency map of every model."""

    index: int  # in the test split
    label: str  # name of its class
    predictions: dict[Role, str]  # class that each model predicts
    probabilities: dict[Role, float]  # of the predicted class
    agreement: dict[Role, float]  # Spearman correlation with the teacher's heatmap, in [-1, 1]
    why: Why | None = None  # None: of an older kdtool


class Mean(Record):
    """A mean over test images."""

    value: float  # the mean
    ci95: Interval | None  # of the mean, by Student's t; None: fewer than 5 images


class Curve(Record):
    """Mean probability over test images after equal steps, from none of the pixels to all."""

    means: list[float]  # one for each step, the first before any pixel
    ci95: list[Interval] | None  # of each mean, by Student's t; None: fewer than 5 images


class Faithfulness(Record):
    """Whether the maps of a model say what it looks at.

    The probability of the predicted class, while pixels are covered with the mean colour of the
    image (deletion) or shown (insertion), is averaged over the whole way.
    """

    num_images: int  # test images
    deletion: Mean  # in the order of the map; low is faithful
    insertion: Mean  # in the order of the map; high is faithful
    random_deletion: Mean  # in a random order
    random_insertion: Mean  # in a random order
    # Spearman correlation of the maps with those of the same network with random weights: a map
    # that is the same without learning does not explain what was learned
    untrained_agreement: Mean
    # What is averaged above, step by step; None: of an older kdtool
    deletion_curve: Curve | None = None
    insertion_curve: Curve | None = None  # as above
    random_deletion_curve: Curve | None = None  # as above, in a random order
    random_insertion_curve: Curve | None = None  # as above, in a random order


class ExplainResult(Record):
    """Saliency of the exported models on the same test images."""

    method: str  # name of the saliency method
    path: str  # npz: `images` (N, H, W, C) uint8 and one `(N, H, W)` float32 heatmap a role
    images: list[ExplainedImage]  # those shown in the report
    mean_agreement: dict[Role, float]  # over `num_compared` test images
    # of the mean, over images; empty: of an older kdtool, or fewer than 30 images
    agreement_ci95: dict[Role, Interval] = Field(default={})
    num_compared: int  # test images
    # Whether these are a stratified sample (or all); False: of an older kdtool, the first ones
    is_stratified: bool = False
    # One entry for each model with maps; empty: of an older kdtool
    faithfulness: dict[Role, Faithfulness] = Field(default={})


class ExplainedFile(Record):
    """The saliency map of one picture."""

    path: str  # of the picture
    error: str | None = None  # why it could not be read; then all that follows is None
    predicted: str | None = None  # class
    probability: float | None = None  # of it, in [0, 1]
    explained: str | None = None  # class that the map is about
    explained_probability: float | None = None  # of it, in [0, 1]
    heatmap: str | None = None  # PNG, relative to the folder
    is_constant: bool | None = None  # whether no pixel matters: the map is empty
    # Mean probability of the explained class while the pixels are deleted, or inserted, in the
    # order of the map; low and high are faithful
    deletion: float | None = None
    insertion: float | None = None
    # The same in a random order, for comparison
    random_deletion: float | None = None
    random_insertion: float | None = None


class ExplainFilesReport(Record):
    """The results of `kdtool explain MODEL.onnx IMAGE...`."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    model: str  # path
    method: MapMethod
    num_masks: int | None  # of rise
    folder: str  # of the pictures and index.html
    images: list[ExplainedFile]  # in the order given
