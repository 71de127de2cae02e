"""A folder with a folder of pictures for each class, split already or not."""

from pathlib import Path

import numpy as np

from kdtool.errors import DataError
from kdtool.recipe.data import FolderTable
from kdtool.train.data.labelled_files import (
    SPLIT_NAMES,
    LabelledFiles,
    files_below,
    is_ignored,
    shown,
)
from kdtool.train.data.source import find_below, first_of

# Files that plainly are no pictures, but notes on them; any other file must be one, or is broken.
NO_PICTURES = {
    ".csv", ".doc", ".docx", ".html", ".ini", ".ipynb", ".json", ".jsonl", ".log", ".md", ".npy",
    ".npz", ".pdf", ".py", ".sh", ".toml", ".tsv", ".txt", ".url", ".xls", ".xlsx", ".xml",
    ".yaml", ".yml", ".zip",
}  # fmt: skip
LAYOUT = "expected train/CLASS/... and test/CLASS/..., or CLASS/... to be split"


def list_folder(table: FolderTable) -> LabelledFiles:
    """Return the pictures of source "folder", their classes and splits.

    Its root holds a folder for train and test, and perhaps validation, each with a folder for each
    class; or the folders of the classes, and then the splits are drawn. Folders in that of a class
    hold pictures of that class too. Files that plainly are no pictures, such as .txt, are left out
    and told.

    Raises:
        DataError: The folders are not so.
    """
    root = find_below(table, Path(), "data.root")
    if not root.is_dir():
        raise DataError(f"data.root = {root} is a file; {LAYOUT}")
    top = _folders(root)
    splits = _split_folders(top)
    used = list(splits) if splits else top
    left_out = [path for path in top if path not in used]
    class_folders = [path for folder in used for path in _folders(folder)] if splits else top
    classes = sorted({path.name for path in class_folders})
    if len(classes) == 1 and not splits and len(_folders(top[0])) > 1:
        raise DataError(
            f"{root} holds the pictures in one folder, {classes[0]}; {LAYOUT}: if the folders in "
            f"{classes[0]} are the classes, say --set data.root={top[0]}"
        )
    paths, labels, split_of = [], [], []
    for folder in class_folders:
        for path in files_below(folder, root):
            if path.suffix.lower() in NO_PICTURES:
                left_out.append(path)
                continue
            paths.append(path)
            labels.append(classes.index(folder.name))
            if splits:
                split_of.append(splits[folder.parent])
    if not paths:
        raise DataError(f"{root} holds no pictures in folders; {LAYOUT}")
    places = [root, *splits]
    left_out += [path for place in places for path in place.iterdir() if not path.is_dir()]
    return LabelledFiles(
        description=f"pictures in {root.name}",
        root=root,
        classes=tuple(classes),
        paths=paths,
        labels=np.array(labels, dtype=np.int64),
        splits=split_of if splits else None,
        warnings=_left_out_warning([path for path in left_out if not is_ignored(path.name)], root),
    )


def _folders(folder: Path) -> list[Path]:
    """Return the folders in `folder`, in order of their names."""
    try:
        found = [path for path in folder.iterdir() if path.is_dir() and not is_ignored(path.name)]
    except OSError as error:
        raise DataError(f"cannot read the folder {folder}: {error.strerror}") from error
    if links := [path for path in found if path.is_symlink()]:
        raise DataError(
            f"{links[0]} is a link to a folder, {links[0].readlink()}, expected a folder; put it "
            "there itself"
        )
    return sorted(found)


def _split_folders(top: list[Path]) -> dict[Path, str]:
    """Return the split of each folder that is one: none if `top` are classes.

    A folder `train` that holds no folders is a class, of vehicles perhaps.
    """
    named = [path for path in top if path.name.lower() in SPLIT_NAMES]
    splits = {path: SPLIT_NAMES[path.name.lower()] for path in named if _folders(path)}
    given = list(splits.values())
    if not given:
        return {}
    if len(set(given)) < len(given) or not {"train", "test"} <= set(given):
        raise DataError(
            f"got the folders {', '.join(path.name for path in splits)}; expected train and test, "
            "and perhaps validation, once each; rename one, or put the folders of the classes side "
            "by side to have them split"
        )
    return splits


def _left_out_warning(paths: list[Path], root: Path) -> tuple[str, ...]:
    if not paths:
        return ()
    names = [shown(path, root) for path in sorted(paths)]
    return (f"left out, as no picture in the folder of a class: {first_of(names)}",)
