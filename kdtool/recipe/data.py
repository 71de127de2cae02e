"""The recipe's `[data]`: where the images come from, how they are split and augmented."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from kdtool.recipe.table import Positive, Table, TomlPath

ClassList = Annotated[list[int | str], Field(min_length=1)]  # by place, from 0, or name


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
    # Of two classes the one to be found; None: the one with fewer images to train on
    positive: int | str | None = None  # by place, from 0, or name
    # Changes of the images that models learn from, drawn anew for each image and epoch; those of
    # `AUGMENTATIONS`, such as ["crop:0.8", "flip", "rotate:20"]
    augment: list[str] = Field(default=[])

    @field_validator("validation", "test")
    @classmethod
    def _share_below_one(cls, value: float) -> float:
        if value >= 1 and value != int(value):
            raise ValueError(f"got {value}, expected a share below 1 or a whole number of images")
        return value

    @field_validator("augment")
    @classmethod
    def _known_augmentations(cls, value: list[str]) -> list[str]:
        names = [parse_augmentation(text)[0] for text in value]
        if len(set(names)) < len(names):
            raise ValueError("the same augmentation twice")
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


@dataclass(frozen=True)
class Augmentation:
    """What may be asked of one kind of augmentation."""

    meaning: str
    default: float
    lowest: float
    highest: float


AUGMENTATIONS = {
    "crop": Augmentation("least share of the area that is kept", 0.8, 0.05, 1),
    "flip": Augmentation("chance of being mirrored left to right", 0.5, 0, 1),
    "vflip": Augmentation("chance of being mirrored top to bottom", 0.5, 0, 1),
    "rotate": Augmentation("most degrees to either side", 10, 0, 180),
    "shift": Augmentation("most share of the side, in either direction", 0.1, 0, 1),
    "brightness": Augmentation("most change of the brightness, as a share", 0.2, 0, 1),
    "contrast": Augmentation("most change of the contrast, as a share", 0.2, 0, 1),
}


def parse_augmentation(text: str) -> tuple[str, float]:
    """Split `NAME` or `NAME:VALUE` of `data.augment`.

    Raises:
        ValueError: There is no such augmentation, or its value is out of range.
    """
    name, colon, value = text.partition(":")
    if name not in AUGMENTATIONS:
        raise ValueError(f'got "{text}", expected one of {", ".join(AUGMENTATIONS)}')
    kind = AUGMENTATIONS[name]
    try:
        number = float(value) if colon else kind.default
    except ValueError:
        number = math.nan
    if not kind.lowest <= number <= kind.highest:
        raise ValueError(
            f'got "{text}", expected {name}:VALUE, {kind.meaning}, '
            f"from {kind.lowest:g} to {kind.highest:g}"
        )
    return name, number
