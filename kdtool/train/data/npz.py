"""A NumPy file of images and labels, laid out as MedMNIST's are."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from kdtool.errors import DataError, reason
from kdtool.recipe.data import NpzTable
from kdtool.train.data.images import check_memory
from kdtool.train.data.source import SourceData, find_below

SPLITS = {"train": "train", "val": "validation", "test": "test"}  # as MedMNIST says -> as we do
ARRAYS = {f"{split}_{kind}" for split in SPLITS for kind in ("images", "labels")}
LAYOUT = (
    "expected train_images, train_labels, test_images, test_labels, and perhaps val_images and "
    "val_labels"
)
# What a file that is none, or is damaged, can raise.
READ_ERRORS = (
    ValueError,
    EOFError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
)


def load_npz(table: NpzTable) -> SourceData:
    """Return the set of source "npz"; nothing in the file is run.

    Raises:
        DataError: The file is missing, damaged or laid out otherwise, or does not fit into memory.
    """
    path = find_below(table, table.file, "data.file")
    arrays = _read(path)
    given = [
        split for split in SPLITS if f"{split}_images" in arrays or f"{split}_labels" in arrays
    ]
    wanted = [
        f"{split}_{kind}" for split in {*given, "train", "test"} for kind in ("images", "labels")
    ]
    if missing := sorted(set(wanted) - arrays.keys()):
        raise DataError(f"{path} lacks {', '.join(missing)}; {LAYOUT}")
    images = {
        SPLITS[split]: _images(arrays.pop(f"{split}_images"), f"{path}: {split}_images")
        for split in given
    }
    labels = {
        SPLITS[split]: _labels(arrays[f"{split}_labels"], f"{path}: {split}_labels")
        for split in given
    }
    shapes = {split: each.shape[1:] for split, each in images.items()}
    if len(set(shapes.values())) > 1:
        raise DataError(f"{path}: got images (C, H, W) of {shapes}; expected one shape")
    for split in labels:
        if len(images[split]) != len(labels[split]):
            raise DataError(
                f"{path}: got {len(images[split]):,} {split} images and {len(labels[split]):,} "
                "labels; expected one for each"
            )
    highest = max(int(each.max(initial=0)) for each in labels.values())
    if highest >= len(labels["train"]):
        raise DataError(
            f"{path} holds the label {highest:,}, and {len(labels['train']):,} train images; "
            "expected labels from 0, and images of each"
        )
    classes = table.classes or [str(number) for number in range(highest + 1)]
    if highest >= len(classes):
        raise DataError(
            f"{path} holds the label {highest}, expected 0 to {len(classes) - 1}: data.classes "
            f"names {', '.join(classes)}"
        )
    return SourceData(
        description=f"images of {path.name}",
        classes=tuple(classes),
        train_images=images["train"],
        train_labels=labels["train"],
        test_images=images["test"],
        test_labels=labels["test"],
        validation_images=images.get("validation"),
        validation_labels=labels.get("validation"),
    )


def _read(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return those arrays of the file that are of use."""
    try:
        with zipfile.ZipFile(path) as content:
            num_bytes = sum(
                entry.file_size
                for entry in content.infolist()
                if entry.filename.removesuffix(".npy") in ARRAYS
            )
        check_memory(num_bytes, f"the arrays in {path}", "take a smaller edition of the set")
        with np.load(path, allow_pickle=False) as file:
            assert isinstance(file, NpzFile)
            return {name: np.asarray(file[name]) for name in ARRAYS & set(file.files)}
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except READ_ERRORS as error:
        raise DataError(
            f"{path} is no whole .npz file of numbers: {reason(error)}; get it again"
        ) from error


def _images(array: NDArray[np.generic], what: str) -> NDArray[np.uint8]:
    """Return `(N, H, W)` or `(N, H, W, C)` as `(N, C, H, W)`."""
    if (
        array.dtype != np.uint8
        or array.ndim not in (3, 4)
        or array.shape[3:] not in ((), (1,), (3,))
    ):
        raise DataError(
            f"{what} holds {array.dtype} of shape {array.shape}, expected uint8 (N, H, W) or "
            "(N, H, W, 3)"
        )
    if not array.size:
        raise DataError(f"{what} holds no images")
    num_images, height, width = array.shape[:3]
    pixels = np.ascontiguousarray(array, dtype=np.uint8).reshape(num_images, height, width, -1)
    for image in pixels:  # in place, as a second array might not fit
        channels_first = image.transpose(2, 0, 1).copy()
        image.reshape(channels_first.shape)[:] = channels_first
    return pixels.reshape(num_images, -1, height, width)


def _labels(array: NDArray[np.generic], what: str) -> NDArray[np.int64]:
    """Return `(N,)` or `(N, 1)` as `(N,)`."""
    if array.dtype.kind not in "biu" or array.ndim > 2 or array.shape[1:] not in ((), (1,)):
        raise DataError(
            f"{what} holds {array.dtype} of shape {array.shape}, expected whole numbers (N, 1): "
            "one class for each image"
        )
    labels = array.reshape(-1).astype(np.int64)
    if (labels < 0).any():
        raise DataError(f"{what} holds the label {labels.min()}, expected 0 or more")
    return labels
