"""A folder with a folder of images for each class, split already or not."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdtool.edge.image_files import NO_IMAGES, is_system
from kdtool.errors import DataError
from kdtool.format import plural
from kdtool.recipe.data import FolderTable
from kdtool.train.data.labelled_files import (
    SPLIT_NAMES,
    SPLITS_EXPECTED,
    LabelledFiles,
    assign_splits,
    files_below,
    shown,
    system_warning,
)
from kdtool.train.data.source import find_below, first_of

LAYOUT = "expected train/CLASS/... and test/CLASS/..., or CLASS/... to be split"


def list_folder(table: FolderTable) -> LabelledFiles:
    """Return the images of source "folder", their classes and splits.

    The root holds a folder for each split, each with a folder for each class; or a folder for each
    class, and then the splits are drawn. Subfolders of a class hold images of that class too.
    Left out with a warning: files that are plainly no images, such as .txt, and hidden and system
    files and folders.

    Raises:
        DataError: The folders are laid out otherwise.
    """
    root = find_below(table, Path(), "data.root")
    if not root.is_dir():
        raise DataError(f"data.root = {root} is a file; {LAYOUT}")
    top = _folders(root)
    splits, notes = _find_splits(root, top)
    used = list(splits) or top
    left_out = [path for path in top if path not in used]
    class_folders = [path for folder in used for path in _folders(folder)] if splits else top
    classes = sorted({path.name for path in class_folders})
    paths, labels, split_of, system = [], [], [], []
    for place in (root, *splits):
        names = [path.name for path in place.iterdir()]
        system += [name for name in names if is_system(name)]
        left_out += [place / name for name in names if (place / name).is_file()]
    for folder in class_folders:
        found = files_below(folder, root)
        found.check_links(root)
        system += found.system
        images = [path for path in found.files if path.suffix.lower() not in NO_IMAGES]
        left_out += [path for path in found.files if path.suffix.lower() in NO_IMAGES]
        paths += images
        labels += [classes.index(folder.name)] * len(images)
        if splits:
            split_of += [splits[folder.parent]] * len(images)
    if not paths:
        raise DataError(f"{root} holds no images in folders; {LAYOUT}")
    left_out = [path for path in left_out if not is_system(path.name)]
    return LabelledFiles(
        description=f"images in {root.name}",
        root=root,
        classes=tuple(classes),
        paths=paths,
        labels=np.array(labels, dtype=np.int64),
        splits=split_of if splits else None,
        warnings=(*notes, *_left_out_warning(left_out, root), *system_warning(system)),
    )


def _folders(folder: Path) -> list[Path]:
    """Return the folders in `folder`, in order of their names."""
    try:
        found = [path for path in folder.iterdir() if not is_system(path.name) and path.is_dir()]
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    if links := [path for path in found if path.is_symlink()]:
        raise DataError(
            f"{links[0]} is a link to a folder, {links[0].readlink()}; replace it by the folder "
            "itself"
        )
    return sorted(found)


def _find_splits(root: Path, top: Sequence[Path]) -> tuple[dict[Path, str], tuple[str, ...]]:
    """Return the split of each folder that is one, none if all are classes, and warnings.

    A class may be called "train", of vehicles, or "test": only a train folder and another split
    whose folders have names in common are taken for splits.

    Raises:
        DataError: The splits are incomplete, given twice, or cannot be distinguished from classes.
    """
    named = [path for path in top if path.name.lower() in SPLIT_NAMES]
    if not named and len(top) != 1:
        return {}, ()
    inside = {path: {each.name for each in _folders(path)} for path in top}
    usual = {path: SPLIT_NAMES[path.name.lower()] for path in named if inside[path]}
    in_train = {name for path, split in usual.items() if split == "train" for name in inside[path]}
    others = [path for path, split in usual.items() if split != "train"]
    if not any(in_train & inside[path] for path in others):
        return {}, _taken_for_classes(root, inside, named)
    if len(set(usual.values())) < len(usual):
        raise DataError(
            f"{root}: got the folders {_names(usual)}; expected each split once: "
            f"{SPLITS_EXPECTED}; merge the folders of one split, or rename those that are none"
        )
    split_of, notes = assign_splits([path.name for path in usual])
    if len(set(split_of.values())) < len(split_of):
        raise DataError(
            f"{root}: got the folders {_names(usual)}, two of one split; expected "
            f"{SPLITS_EXPECTED}; rename or move one"
        )
    return {path: split_of[path.name] for path in usual}, notes


def _taken_for_classes(
    root: Path, inside: dict[Path, set[str]], named: Sequence[Path]
) -> tuple[str, ...]:
    """Return a warning if a class has the name of a split.

    Args:
        root: For the message.
        inside: The names of the folders in each folder of `root`.
        named: The folders of `root` that have the name of a split.

    Raises:
        DataError: It may well be a split, or all images are in one folder.
    """
    top = list(inside)
    if len(top) == 1 and len(inside[top[0]]) > 1:
        name = top[0].name
        raise DataError(
            f"{root} holds the images in one folder, {name}; {LAYOUT}: if the folders in {name} "
            f"are the classes, use --set data.root={top[0]}"
        )
    if not named:
        return ()
    if len(named) == len(top):
        held = [f"{path.name} holds {_content(path, inside[path])}" for path in top]
        raise DataError(
            f"{root}: {'; '.join(held)}; expected the same folders of classes in each of "
            f"{SPLITS_EXPECTED}"
        )
    for path in named:
        rest = [other for other in top if other != path]
        known = {other.name for other in rest}.union(*(inside[other] for other in rest))
        if inside[path] & known or (inside[path] and len(named) > 1):
            raise DataError(
                f"{root}: cannot decide whether the folder {path.name}, with the folders "
                f"{first_of(sorted(inside[path]))}, is a split or a class; expected the same "
                f"folders of classes in each of {SPLITS_EXPECTED}, or only folders of classes; "
                "rename or move what is neither"
            )
    noun = "a class, not a split" if len(named) == 1 else "classes, not splits"
    return (
        f"{_names(named)}: taken for {noun}, as no train folder and test (or val) folder hold the "
        "same classes",
    )


def _names(paths: Sequence[Path] | dict[Path, str]) -> str:
    return ", ".join(path.name for path in paths)


def _content(folder: Path, names: set[str]) -> str:
    return f"the folders {first_of(sorted(names))}" if names else f"{_count(folder)} and no folders"


def _count(folder: Path) -> str:
    num_files = sum(path.is_file() and not is_system(path.name) for path in folder.iterdir())
    return plural(num_files, "file")


def _left_out_warning(paths: Sequence[Path], root: Path) -> tuple[str, ...]:
    if not paths:
        return ()
    names = [shown(path, root) for path in sorted(paths)]
    return (f"left out, as they are no images in the folder of a class: {first_of(names)}",)
