"""Image files with their labels: which files lie there, how they are split, and read."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import DataError
from kdtool.recipe.data import CsvTable, FolderTable
from kdtool.train.data.checks import check_classes, classes_below, split_size
from kdtool.train.data.images import read_pictures
from kdtool.train.data.source import SPLITS, Progress, SourceData, problem_list
from kdtool.train.data.stratify import grouped_split, reorder, stratified_split

# What file managers leave behind; hidden files, whose names start with a dot, are ignored too.
IGNORED = {"thumbs.db", "desktop.ini", "__macosx"}
# What folders and csv files call the splits, in any case.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
    "test": "test",
    "testing": "test",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledFiles:
    """Image files and what is known of them before they are read."""

    description: str
    root: Path
    classes: tuple[str, ...]
    paths: list[Path]  # N, below `root`
    labels: NDArray[np.int64]  # (N,), each an index into `classes`
    splits: list[str] | None  # N: train, validation or test; None: to be drawn
    groups: NDArray[np.int64] | None = None  # (N,) from 0; what agrees stays in one split
    warnings: tuple[str, ...] = ()

    def only(self, kept: NDArray[np.int64]) -> Self:
        """Return the files of these numbers."""
        return replace(
            self,
            paths=[self.paths[index] for index in kept],
            labels=self.labels[kept],
            splits=None if self.splits is None else [self.splits[index] for index in kept],
            groups=None if self.groups is None else self.groups[kept],
        )


def is_ignored(name: str) -> bool:
    """Say whether a file or folder is none of the user's."""
    return name.startswith(".") or name.lower() in IGNORED


def shown(path: Path, root: Path) -> str:
    """Return a path below `root` as text that can be written; names on a disk need not be."""
    below = path.relative_to(root) if path.is_relative_to(root) else path
    return below.as_posix().encode("utf-8", "backslashreplace").decode()


def is_inside(path: Path, root: Path) -> bool:
    """Say whether `path` leads to something below `root`; a link that leads in a circle does."""
    return Path(os.path.realpath(path)).is_relative_to(root)


def files_below(folder: Path, root: Path) -> Iterator[Path]:
    """Yield the files in `folder` and the folders in it, in the order of their names.

    Raises:
        DataError: A folder cannot be read, or links lead out of `root` or to folders.
    """

    def stop(error: OSError) -> None:
        raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    refused = []
    for place, folders, files in os.walk(folder, onerror=stop):
        folders[:] = sorted(name for name in folders if not is_ignored(name))
        here = Path(place)
        refused += [here / name for name in folders if (here / name).is_symlink()]
        for name in sorted(files):
            path = here / name
            if is_ignored(name):
                continue
            if not is_inside(path, root):
                refused.append(path)
            else:
                yield path
    if refused:
        raise problem_list(
            f"links are followed to files below data.root = {root} only; got",
            [f"{shown(path, root)} -> {shown(path.readlink(), root)}" for path in refused],
            "put the files themselves there",
        )


def read_files(
    files: LabelledFiles, table: FolderTable | CsvTable, progress: Progress
) -> SourceData:
    """Split and read image files; images of a split lie together, and in memory once.

    Raises:
        DataError: They cannot be split or read.
    """
    _divide(files, table)  # what is wrong is told before all are read
    names = [shown(path, files.root) for path in files.paths]
    pictures = read_pictures(files.paths, names, table, progress)
    if num_broken := len(files.paths) - len(pictures.kept):
        # Split as if the broken ones had never been there: no class loses its only test image.
        files = replace(
            files.only(pictures.kept),
            description=f"{files.description}, without {num_broken:,} broken",
        )
        names = [names[index] for index in pictures.kept]
    parts = _divide(files, table)
    order = np.concatenate(list(parts.values()))
    reorder(pictures.images, order)
    ends = np.cumsum([len(part) for part in parts.values()])
    images = dict(zip(parts, np.split(pictures.images, ends[:-1]), strict=True))
    labels = {split: files.labels[part] for split, part in parts.items()}
    return SourceData(
        description=files.description,
        classes=files.classes,
        train_images=images["train"],
        train_labels=labels["train"],
        validation_images=images["validation"],
        validation_labels=labels["validation"],
        test_images=images["test"],
        test_labels=labels["test"],
        names={split: [names[index] for index in part] for split, part in parts.items()},
        warnings=(*files.warnings, *pictures.warnings),
    )


def _divide(files: LabelledFiles, table: FolderTable | CsvTable) -> dict[str, NDArray[np.int64]]:
    """Return the files of train, validation and test; what is not given is drawn."""
    everything = np.arange(len(files.paths))
    split_of = np.array(files.splits or ["train"] * len(everything))
    parts: dict[str, NDArray[np.int64]] = {
        split: np.flatnonzero(split_of == split) for split in SPLITS
    }
    required = {"train"} if files.splits is None else {"train", "test"}
    given = {
        split: files.labels[part] for split, part in parts.items() if split in required or len(part)
    }
    check_classes(files.description, files.classes, given)
    group_by = table.group_by if isinstance(table, CsvTable) else None
    if files.splits is None:
        parts["train"], parts["test"] = _draw(files, everything, "test", table.test, group_by)
    if not len(parts["validation"]):
        parts["train"], parts["validation"] = _draw(
            files, parts["train"], "validation", table.validation, group_by
        )
    return parts


def _draw(
    files: LabelledFiles, index: NDArray[np.int64], key: str, share: float, group_by: str | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide the files `index` in what stays train and what becomes the split `key`."""
    labels = files.labels[index]
    count = split_size(key, share, labels, files.classes, files.description)
    if files.groups is None:
        first, second = stratified_split(labels, count)
    else:
        groups = np.unique(files.groups[index], return_inverse=True)[1]
        first, second = grouped_split(labels, groups, count)
        for side in (first, second):
            if absent := classes_below(1, labels[side], files.classes):
                raise DataError(
                    f"{files.description}: with images of one {group_by} kept together, class "
                    f"{absent} cannot stand both in train and in the {key} split of data.{key} = "
                    f"{share:g}; change that share, or name the splits in a column"
                )
    return index[first], index[second]
