"""Image files with their labels: which files there are, how they are split, and reading them."""

import os
import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from kdtool.edge.image_files import is_system
from kdtool.errors import DataError
from kdtool.recipe.data import CsvTable, PictureKeys
from kdtool.results.base import SPLITS
from kdtool.train.data.checks import check_classes, classes_below, split_size
from kdtool.train.data.images import read_pictures
from kdtool.train.data.large.shards import Member, PictureFile
from kdtool.train.data.source import Progress, SourceData, first_of, problem_list
from kdtool.train.data.stratify import divided, grouped_split, stratified_split

# What folders, columns and arrays call the splits, in lower case, and the split that each usually
# is. "eval" is what a source has besides the others: its test or its validation split.
SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
    "eval": "eval",
    "evaluation": "eval",
}
SPLITS_EXPECTED = "train, test (or val) and, optionally, validation"


def assign_splits(names: Collection[str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Decide which split each of a source's split names is.

    A test split is needed to compare models: where a source has none, as ImageNet's train/ and
    val/, its validation split is used for it, and validation images are drawn from train.

    Args:
        names: Any of `SPLIT_NAMES`, in any case, as the source spells them.

    Returns:
        train, validation or test by name, and a warning if that is not what the name says.
    """
    split_of = {name: SPLIT_NAMES[name.lower()] for name in names}
    for usual in ("eval", "validation"):
        if "test" not in split_of.values():
            split_of = {name: "test" if was == usual else was for name, was in split_of.items()}
    split_of = {name: "validation" if was == "eval" else was for name, was in split_of.items()}
    moved = [name for name, split in split_of.items() if split != SPLIT_NAMES[name.lower()]]
    reason = {"test": ", as there is no other", "validation": ""}
    notes = [
        f"{name} is used as the {split_of[name]} split{reason[split_of[name]]}"
        for name in sorted(moved)
    ]
    if notes and "validation" not in split_of.values():
        notes.append("validation images are drawn from train (data.validation)")
    return split_of, ("; ".join(notes),) if notes else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledFiles:
    """Image files, and what is known about them before they are read."""

    description: str
    root: Path
    classes: tuple[str, ...]
    paths: Sequence[PictureFile]  # N, below `root`
    labels: NDArray[np.int64]  # (N,), each an index into `classes`
    splits: list[str] | None  # N: train, validation or test; None: drawn
    groups: NDArray[np.int64] | None = None  # (N,) from 0; equal numbers stay in one split
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


def system_warning(names: Sequence[str]) -> tuple[str, ...]:
    """Return a warning that names and counts the system files that were left out, if any.

    Args:
        names: Of files and folders for which `is_system` holds, without their folders.
    """
    if not names:
        return ()
    # "._1.jpg" is macOS's resource fork of 1.jpg, ".Trash-1000" the bin of user 1000.
    kinds = Counter(re.sub(r"^(\._|\.Trash-).+", r"\1*", name).strip() for name in names)
    listed = [f"{kind} ({count:,})" for kind, count in sorted(kinds.items())]
    noun = "file or folder" if len(names) == 1 else "files and folders"
    return (f"left out {len(names):,} hidden or system {noun}: {first_of(listed)}",)


def shown(path: PictureFile, root: Path) -> str:
    """Return a path below `root` as printable text; file names need not be valid text."""
    if isinstance(path, Member):
        return f"{shown(path.path, root)}/{path.name}"
    below = path.relative_to(root) if path.is_relative_to(root) else path
    return below.as_posix().encode("utf-8", "backslashreplace").decode()


def is_inside(path: Path, root: Path) -> bool:
    """Return whether `path` leads to something below `root`; a link to itself does."""
    return Path(os.path.realpath(path)).is_relative_to(root)


@dataclass(frozen=True, slots=True)
class FoundFiles:
    """What a folder and its subfolders hold."""

    files: list[Path]  # in order of their names
    system: list[str]  # names of hidden and system files and folders
    refused: list[Path]  # links out of `data.root`, or to folders

    def check_links(self, root: Path) -> None:
        """Raise DataError if there are links that are not followed."""
        if self.refused:
            raise problem_list(
                f"links are followed only to files below data.root = {root}; got",
                [f"{shown(path, root)} -> {shown(path.readlink(), root)}" for path in self.refused],
                "replace each link by the file or folder itself",
            )


def files_below(folder: Path, root: Path) -> FoundFiles:
    """Return the files in `folder` and its subfolders, but for hidden and system files.

    Args:
        folder: No link, below `root`.
        root: Resolved, as `find_below` returns it.

    Raises:
        DataError: A folder cannot be read.
    """

    def stop(error: OSError) -> None:
        raise DataError(f"cannot read the folder {error.filename}: {error.strerror}") from error

    found = FoundFiles([], [], [])
    for place, folders, files in os.walk(folder, onerror=stop):
        found.system.extend(name for name in (*folders, *files) if is_system(name))
        folders[:] = sorted(name for name in folders if not is_system(name))
        here = Path(place)
        found.refused.extend(here / name for name in folders if (here / name).is_symlink())
        for path in (here / name for name in sorted(files) if not is_system(name)):
            is_refused = path.is_symlink() and not is_inside(path, root)
            (found.refused if is_refused else found.files).append(path)
    return found


def read_files(
    files: LabelledFiles, table: PictureKeys, progress: Progress, room: int | None = None
) -> SourceData:
    """Split and read image files; the images of a split are contiguous, and in memory once.

    Args:
        files: To read.
        table: How.
        progress: Shows the progress.
        room: As of `read_pictures`.

    Raises:
        DataError: They cannot be split or read.
    """
    parts = divide(files, table)  # first, so that what cannot be split is reported before reading
    names = [shown(path, files.root) for path in files.paths]
    pictures = read_pictures(files.paths, names, table, progress, room)
    if num_broken := len(files.paths) - len(pictures.kept):
        # Split as if the broken ones did not exist: no class loses its only test image.
        files = replace(
            files.only(pictures.kept),
            description=f"{files.description}, without {num_broken:,} broken",
        )
        names = [names[index] for index in pictures.kept]
        parts = divide(files, table)
    images = dict(zip(parts, divided(pictures.images, list(parts.values())), strict=True))
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


def divide(files: LabelledFiles, table: PictureKeys) -> dict[str, NDArray[np.int64]]:
    """Return the numbers of the files of train, validation and test; what is absent is drawn."""
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
    """Divide the files `index` into those that stay train and those of the split `key`."""
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
                    f"{absent} cannot be both in train and in the {key} split of data.{key} = "
                    f"{share:g}; change that share, or add a column of splits (data.columns.split)"
                )
    return index[first], index[second]
