"""A NumPy file of images and labels in the layout of MedMNIST."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib.npyio import NpzFile
from numpy.typing import NDArray

from kdtool.errors import DataError, reason
from kdtool.format import plural
from kdtool.recipe.data import NpzTable
from kdtool.train.data.images import check_memory
from kdtool.train.data.labelled_files import SPLIT_NAMES, assign_splits
from kdtool.train.data.source import (
    SourceData,
    beginning,
    find_below,
    problem_list,
)

KINDS = ("images", "labels")
LAYOUT = (
    "expected train_images, train_labels, test_images, test_labels and, optionally, val_images and "
    "val_labels"
)
# What reading can raise if a file is no .npz or is damaged.
READ_ERRORS = (
    ValueError,
    EOFError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
    NotImplementedError,
)


def load_npz(table: NpzTable) -> SourceData:
    """Return the set of source "npz"; nothing in the file is executed.

    Raises:
        DataError: The file is missing, damaged or in another layout, or does not fit into memory;
            lists everything that is wrong with the arrays.
    """
    path = find_below(table, table.file, "data.file")
    arrays = _read(path)
    names = sorted({split for split, _ in arrays})  # as the file has them
    split_of, warnings = assign_splits(names)
    by_split = {(split_of[name], kind): array for (name, kind), array in arrays.items()}
    expected = {"train", "test", *split_of.values()}
    missing = [
        f"{split} {kind}"
        for split in sorted(expected)
        for kind in KINDS
        if (split, kind) not in by_split
    ]
    if missing or len(set(split_of.values())) < len(names):
        given = ", ".join(sorted(f"{name}_{kind}" for name, kind in arrays)) or "none of these"
        lacking = f"lacks {', '.join(missing)}" if missing else "has a split twice"
        raise DataError(f"{path} {lacking}; it has {given}; {LAYOUT}")
    images: dict[str, NDArray[np.uint8]] = {}
    labels: dict[str, NDArray[np.int64]] = {}
    problems = []
    del by_split
    for name, split in split_of.items():
        try:
            images[split] = _images(arrays.pop((name, "images")), f"{name}_images")
        except ValueError as error:
            problems.append(str(error))
        try:
            labels[split] = _labels(arrays.pop((name, "labels")), f"{name}_labels")
        except ValueError as error:
            problems.append(str(error))
    problems = problems or _mismatches(images, labels)
    if problems:
        raise problem_list(
            f"{path}: {plural(len(problems), 'problem')}:",
            problems,
            f"correct the file: {LAYOUT}",
        )
    highest = max(int(each.max()) for each in labels.values())
    classes = table.classes or [str(number) for number in range(highest + 1)]
    if highest >= len(classes):
        raise DataError(
            f"{path} holds the label {highest}, expected 0 to {len(classes) - 1}: data.classes "
            f"has {', '.join(classes)}"
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
        warnings=warnings,
    )


def _mismatches(
    images: dict[str, NDArray[np.uint8]], labels: dict[str, NDArray[np.int64]]
) -> list[str]:
    """Return what does not fit together between arrays that are each right."""
    problems = []
    shapes = {split: " x ".join(map(str, each.shape[1:])) for split, each in images.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{split} {shape}" for split, shape in shapes.items())
        problems.append(
            f"images differ in size or channels (channels x height x width: {listed}), expected "
            "one shape"
        )
    problems += [
        f"{len(images[split]):,} {split} images and {len(labels[split]):,} labels, expected one "
        "label for each image"
        for split in labels
        if len(images[split]) != len(labels[split])
    ]
    highest = max(int(each.max(initial=0)) for each in labels.values())
    if highest >= len(labels["train"]):
        problems.append(
            f"the label {highest:,}, and {len(labels['train']):,} train images; expected labels "
            "from 0, and train images of each"
        )
    return problems


def _read(path: Path) -> dict[tuple[str, str], NDArray[np.generic]]:
    """Return the arrays of images and labels by split, as the file calls it, and kind."""
    try:
        with zipfile.ZipFile(path) as content:
            sizes = {
                entry.filename.removesuffix(".npy"): entry.file_size for entry in content.infolist()
            }
        parts = {name: (name.rpartition("_")[0], name.rpartition("_")[2]) for name in sizes}
        used = {
            name: (split, kind)
            for name, (split, kind) in parts.items()
            if split.lower() in SPLIT_NAMES and kind in KINDS
        }
        num_bytes = sum(sizes[name] for name in used)
        check_memory(num_bytes, f"the arrays in {path}", "use a smaller version of the data")
        with np.load(path, allow_pickle=False) as file:
            assert isinstance(file, NpzFile)
            return {key: np.asarray(file[name]) for name, key in used.items()}
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error
    except READ_ERRORS as error:
        raise DataError(
            f"{path} is corrupt or not a numeric .npz: {reason(error)}{_unlike_zip(path)}; "
            "download it again"
        ) from error


def _unlike_zip(path: Path) -> str:
    """Return what a file begins with if it is not a zip file, as an .npz is."""
    with path.open("rb") as file:
        content = file.read(16)
    return "" if content.startswith(b"PK") else f"; the file {beginning(content)}"


def _images(array: NDArray[np.generic], name: str) -> NDArray[np.uint8]:
    """Return `(N, H, W)` or `(N, H, W, C)` as `(N, C, H, W)`.

    Raises:
        ValueError: The array has another type or shape, or no images.
    """
    if (
        array.dtype != np.uint8
        or array.ndim not in (3, 4)
        or array.shape[3:] not in ((), (1,), (3,))
    ):
        raise ValueError(f"{_described(array, name)}, expected uint8 (N, H, W) or (N, H, W, 3)")
    if not array.size:
        raise ValueError(f"{name} holds no images")
    num_images, height, width = array.shape[:3]
    pixels = np.ascontiguousarray(array, dtype=np.uint8).reshape(num_images, height, width, -1)
    for image in pixels:  # in place, as a second array might not fit
        channels_first = image.transpose(2, 0, 1).copy()
        image.reshape(channels_first.shape)[:] = channels_first
    return pixels.reshape(num_images, -1, height, width)


def _labels(array: NDArray[np.generic], name: str) -> NDArray[np.int64]:
    """Return `(N,)` or `(N, 1)` as `(N,)`.

    Raises:
        ValueError: The array has another type or shape, or a negative label.
    """
    if array.dtype.kind not in "biu" or array.ndim > 2 or array.shape[1:] not in ((), (1,)):
        raise ValueError(
            f"{_described(array, name)}, expected whole numbers (N, 1): one class for each image"
        )
    labels = array.reshape(-1).astype(np.int64)
    if (labels < 0).any():
        raise ValueError(f"{name} holds the label {labels.min()}, expected 0 or more")
    return labels


def _described(array: NDArray[np.generic], name: str) -> str:
    kinds = {"S": "bytes", "U": "text", "V": "raw bytes", "O": "objects"}
    return f"{name} holds {kinds.get(array.dtype.kind, array.dtype.name)} of shape {array.shape}"
