"""Loads the recipe's `[data]`: train, validation and test images, checked and fingerprinted."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdtool.errors import RecipeError
from kdtool.recipe.data import (
    CifarTable,
    CsvTable,
    DataTable,
    DigitsTable,
    FolderTable,
    IdxTable,
    MnistLikeTable,
    MnistTable,
    NpzTable,
    ParquetTable,
    PictureKeys,
    WebDatasetTable,
)
from kdtool.results.base import SPLITS
from kdtool.results.evidence import ImagePlace
from kdtool.results.study import DataResult
from kdtool.train.data.checks import (
    check_classes,
    contradiction_warnings,
    duplicate_warnings,
    near_duplicate_warnings,
    similar_class_warnings,
    split_size,
    uncompared_warnings,
)
from kdtool.train.data.classes import (
    Names,
    find_classes,
    find_groups,
    group_names,
    group_of_class,
    positive_class,
)
from kdtool.train.data.duplicates import (
    examine,
    find_contradictions,
    find_duplicates,
)
from kdtool.train.data.files.csv_table import list_table
from kdtool.train.data.files.folder import list_folder
from kdtool.train.data.files.parquet import list_parquet
from kdtool.train.data.files.webdataset import list_shards
from kdtool.train.data.idx import load_idx
from kdtool.train.data.labelled_files import LabelledFiles, read_files
from kdtool.train.data.large.stored import Images, StoredImages
from kdtool.train.data.npz import load_npz
from kdtool.train.data.published.cifar import load_cifar
from kdtool.train.data.published.mnist import load_digits, load_mnist
from kdtool.train.data.source import Progress, SourceData
from kdtool.train.data.stratify import divided, stratified_split

NUM_LISTED = 20  # duplicates in results.json, which says "the first 20"


@dataclass(frozen=True, slots=True)
class Split:
    """Labelled images on one device, or in a file from which batches are brought to it."""

    images: Tensor | StoredImages  # (N, C, H, W) uint8
    labels: Tensor  # (N,) int64
    fine_labels: Tensor | None = None  # (N,) int64, classes before `data.group`; None without it

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self.labels.device

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """C, H, W."""
        _, channels, height, width = self.images.shape
        return channels, height, width

    @property
    def pixels(self) -> Images:
        """All images for use without PyTorch, `(N, C, H, W)`."""
        return self.images.cpu().numpy() if isinstance(self.images, Tensor) else self.images

    def to(self, device: torch.device | str) -> Self:
        """Return the split on `device`."""
        images = self.images.to(device) if isinstance(self.images, Tensor) else self.images
        fine = None if self.fine_labels is None else self.fine_labels.to(device)
        return replace(self, images=images, labels=self.labels.to(device), fine_labels=fine)

    def only(self, kept: Tensor) -> Self:
        """Return the images for which `kept` `(N,)` is True."""
        if isinstance(self.images, Tensor):
            images: Tensor | StoredImages = self.images[kept]
        else:
            images = self.images.only(kept.cpu().numpy())
        fine = None if self.fine_labels is None else self.fine_labels[kept]
        return replace(self, images=images, labels=self.labels[kept], fine_labels=fine)

    def batch(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return images `(B, C, H, W)` uint8 and labels `(B,)`, on the device of the split.

        Args:
            index: `(B,)` int64, positions in the split, on any device.
        """
        index = index.to(self.device)
        labels = self.labels.index_select(0, index)
        if isinstance(self.images, Tensor):
            return self.images.index_select(0, index), labels
        # A GPU fetches from pinned memory by itself.
        shape, pinned = (len(index), *self.image_shape), self.device.type == "cuda"
        images = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
        self.images.read(index.cpu().numpy(), images.numpy())
        return images.to(self.device, non_blocking=pinned), labels

    def expect(self, index: Tensor) -> None:
        """Begin to read the images of a later batch, if they are in a file."""
        if isinstance(self.images, StoredImages):
            self.images.expect(index.cpu().numpy())


@dataclass(frozen=True, slots=True)
class Splits:
    """All images that a study is trained, validated and tested on."""

    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...]
    result: DataResult
    test_names: tuple[str, ...] | None = None  # files of the test images; None if they are no files

    @property
    def positive(self) -> int | None:
        """Index of the positive of two classes; None for more classes."""
        name = self.result.positive
        return None if name is None else self.classes.index(name)

    def to(self, device: torch.device | str) -> Self:
        """Return the splits on `device`."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
        )


def as_tensor(images: Images) -> Tensor | StoredImages:
    """Return images as those of a split."""
    return images if isinstance(images, StoredImages) else torch.from_numpy(images)


def place_of(images: Iterable[Images]) -> ImagePlace:
    """Return where the images of all splits are."""
    parts = list(images)
    on_disk = any(isinstance(one, StoredImages) for one in parts)
    num_bytes = sum(math.prod(one.shape) for one in parts)
    return ImagePlace(where="disk" if on_disk else "memory", num_bytes=num_bytes)


def load_source(table: DataTable, progress: Progress, room: int | None = None) -> SourceData:
    """Return the images of the source of `[data]`; see `load_splits`.

    Raises:
        DataError: They are missing or damaged.
    """
    match table:
        case MnistTable() | MnistLikeTable():
            data = load_mnist(table)
        case CifarTable():
            data = load_cifar(table)
        case DigitsTable():
            data = load_digits()
        case IdxTable():
            data = load_idx(table)
        case NpzTable():
            data = load_npz(table)
        case FolderTable() | CsvTable() | WebDatasetTable() | ParquetTable():
            data = read_files(list_files(table), table, progress, room)
    return data


def list_files(table: FolderTable | CsvTable | WebDatasetTable | ParquetTable) -> LabelledFiles:
    """Return the images of a source of image files.

    Raises:
        DataError: They are missing, or laid out otherwise.
    """
    match table:
        case FolderTable():
            return list_folder(table)
        case CsvTable():
            return list_table(table)
        case WebDatasetTable():
            return list_shards(table)
        case ParquetTable():
            return list_parquet(table)


def load_splits(
    table: DataTable,
    warn: Callable[[str], None],
    progress: Progress,
    room: int | None = None,
) -> Splits:
    """Load, check and split the data of a recipe.

    Without a validation split of the source, one is drawn from the train images with a fixed seed,
    so that it is the same for all training seeds.

    Args:
        table: The recipe's `[data]`.
        warn: Called with each warning of the result, once.
        progress: Shows the progress of reading, as `Terminal.progress` does.
        room: Bytes that the device has for images in memory, which are kept there; None: it is the
            CPU. Image files that need more are decoded into a file.

    Raises:
        DataError: The data are missing, damaged, or cannot be split.
    """
    data = load_source(table, progress, room)
    check_classes(data.description, data.classes, data.labels)
    images, fine, drawn = _divide(data, table.validation)
    classes, labels, groups = data.classes, fine, _groups(table, data)
    if groups:
        group_of = group_of_class(groups)
        classes = group_names(groups, data.classes)
        labels = {name: group_of[values] for name, values in fine.items()}
    memory = table.memory if isinstance(table, PictureKeys) else None
    found = examine(data.classes, images, [*fine.values(), *drawn], groups, memory)
    exact, near = find_duplicates(found.twins), found.near
    contradictions = find_contradictions(found.twins, labels)
    result = DataResult(
        source=table.source,
        description=data.description,
        classes=list(classes),
        image_shape=data.train_images.shape[1:],
        num_train=len(labels["train"]),
        num_validation=len(labels["validation"]),
        num_test=len(labels["test"]),
        class_counts={
            name: np.bincount(labels[name], minlength=len(classes)).tolist() for name in SPLITS
        },
        positive=positive_class(table.positive, classes, np.concatenate([*labels.values()])),
        fine_classes=list(data.classes) if groups else [],
        groups=[[data.classes[c] for c in group] for group in groups],
        num_duplicates=len(exact),
        duplicates=exact[:NUM_LISTED],
        num_near_duplicates=len(near),
        near_duplicates=near[:NUM_LISTED],
        read_from=place_of(images.values()),
        fingerprint=found.fingerprint,
        warnings=[
            *data.warnings,
            *similar_class_warnings(data.classes),
            *duplicate_warnings(len(exact), exact, data.names),
            *near_duplicate_warnings(len(near), near, data.names),
            *uncompared_warnings(found.uncompared),
            *contradiction_warnings(contradictions, data.names),
        ],
    )
    for warning in result.warnings:
        warn(warning)
    splits = {
        name: Split(
            as_tensor(images[name]),
            torch.from_numpy(labels[name]),
            torch.from_numpy(fine[name]) if groups else None,
        )
        for name in SPLITS
    }
    test_names = None if data.names is None else tuple(data.names["test"])
    return Splits(**splits, classes=classes, result=result, test_names=test_names)


def without_classes(splits: Splits, excluded: Names) -> Splits:
    """Return the splits without the train images of some classes, which stay classes of the models.

    Args:
        splits: All images.
        excluded: Indices or names of classes; may be empty.

    Raises:
        RecipeError: A class does not exist, or fewer than two would be left.
    """
    if not excluded:
        return splits
    indices = sorted(set(find_classes(excluded, splits.classes, "distill.exclude_classes")))
    if len(splits.classes) - len(indices) < 2:
        raise RecipeError(
            f"distill.exclude_classes leaves out {len(indices)} of {len(splits.classes)} classes; "
            "at least two must be left for the students to learn from"
        )
    train = splits.train
    kept = ~torch.isin(train.labels, torch.tensor(indices, device=train.labels.device))
    names = [splits.classes[index] for index in indices]
    return replace(
        splits,
        train=train.only(kept),
        result=splits.result.model_copy(update={"excluded": names}),
    )


def _divide(
    data: SourceData, share: float
) -> tuple[dict[str, Images], dict[str, NDArray[np.int64]], list[NDArray[np.int64]]]:
    """Return images and labels by split, and the indices of both sides if validation is drawn.

    The source's train images are then reordered in place.
    """
    images: dict[str, Images] = {"train": data.train_images, "test": data.test_images}
    labels = {"train": data.train_labels, "test": data.test_labels}
    if data.validation_images is not None and data.validation_labels is not None:
        images["validation"], labels["validation"] = data.validation_images, data.validation_labels
        drawn = []
    else:
        count = split_size("validation", share, data.train_labels, data.classes, data.description)
        drawn = list(stratified_split(data.train_labels, count))
        images["train"], images["validation"] = divided(data.train_images, drawn)
        labels["train"], labels["validation"] = (data.train_labels[side] for side in drawn)
    return {name: images[name] for name in SPLITS}, {name: labels[name] for name in SPLITS}, drawn


def _groups(table: DataTable, data: SourceData) -> list[list[int]]:
    """Return the classes of each group; none if the recipe merges none."""
    return find_groups(table.group, data.classes) if table.group else []
