"""A folder with a folder of pictures for each class, split already or not."""

from pathlib import Path

import numpy as np

from kdtool.errors import DataError
from kdtool.recipe_data import DataTable
from kdtool.train.data.labelled_files import (
    SPLIT_NAMES,
    LabelledFiles,
    files_below,
    is_ignored,
    read_files,
    shown,
)
from kdtool.train.data.lists import first_of
from kdtool.train.data.source import SourceData, find_below

LAYOUT = "expected train/CLASS/... and test/CLASS/..., or CLASS/... to be split"


def load_folder(table: DataTable) -> SourceData:
    """Return the set of source "folder".

    Its root holds a folder for train and test, and perhaps validation, each with a folder for each
    class; or the folders of the classes, and then train and test are drawn.

    Raises:
        DataError: The folders are not so, or a picture cannot be used.
    """
    root = find_below(table, Path(), "data.root")
    if not root.is_dir():
        raise DataError(f"data.root = {root} is a file; {LAYOUT}")
    return read_files(list_folder(root), table)


def list_folder(root: Path) -> LabelledFiles:
    """Return the pictures under `root`, their classes and splits.

    Raises:
        DataError: The folders are not as `load_folder` says.
    """
    top = _folders(root)
    splits = _split_folders(top)
    used = list(splits) if splits else top
    left_out = [path for path in top if path not in used]
    class_folders = [path for folder in used for path in _folders(folder)] if splits else top
    classes = sorted({path.name for path in class_folders})
    if bad := [name for name in classes if not name.isprintable()]:
        raise DataError(f"the name of the folder {bad[0]!r} cannot be printed; give it another")
    paths, labels, split_of = [], [], []
    for folder in class_folders:
        for path in files_below(folder, root):
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
    return (f"left out, as no folder of a class holds it: {first_of(names)}",)
