"""Records of what `kdtool explain MODEL.onnx IMAGE...` finds."""

from typing import Literal

from pydantic import Field

from kdtool.results.base import SCHEMA, Record

MapMethod = Literal["occlusion", "rise"]


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
