"""Look at images of unknown layout, and write a recipe for them: `kdtool init`; without PyTorch."""

import re
import tomllib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdtool.edge.image_files import is_system
from kdtool.edge.portable.picture import open_image
from kdtool.errors import DataError, did_you_mean
from kdtool.files import write_atomic
from kdtool.format import plural
from kdtool.recipe.cifar import FORMS, find_cifar
from kdtool.recipe.data import CifarTable, CsvTable, FolderTable, IdxFiles, IdxTable, NpzTable
from kdtool.recipe.load import make_recipe
from kdtool.recipe.suggestion import Looked, drawn_sizes, recipe_text
from kdtool.results.base import SPLITS
from kdtool.train.data.checks import check_classes, split_size
from kdtool.train.data.each_file import for_all
from kdtool.train.data.files.csv_table import list_table
from kdtool.train.data.files.folder import list_folder
from kdtool.train.data.idx import load_idx, missing_files
from kdtool.train.data.images import Header, read_header
from kdtool.train.data.labelled_files import LabelledFiles, divide, shown
from kdtool.train.data.npz import load_npz
from kdtool.train.data.published.cifar import load_cifar
from kdtool.train.data.source import Progress, SourceData, problem_list
from kdtool.train.pipeline.look_csv import SUFFIXES, guess_table, tables_in
from kdtool.train.reporter import Reporter

MOST_DECODED = 200_000_000  # bytes of files; of more, only the headers are read
MOST_BROKEN = 0.05  # of the files; with more, something else is wrong
MOST_LISTED = 20
LAYOUTS = (
    "expected a folder of images for each class (CLASS/..., or train/CLASS/... and "
    "test/CLASS/...), a csv table with their names, an .npz file, four IDX files or those of CIFAR"
)


def init(place: Path, out: Path, reporter: Reporter) -> Looked:
    """Look at images and write a recipe for them.

    Args:
        place: A folder, or a .csv or .npz file.
        out: The recipe; replaced if it exists.
        reporter: Shows progress and warnings.

    Raises:
        KdtoolError: There are no images that a study could be made of, or `out` cannot be written.
    """
    looked = look(place, reporter.progress)
    root = Path(str(looked.keys["root"]))
    try:
        base = out.parent.resolve()
        relative = root.relative_to(base).as_posix() if root.is_relative_to(base) else str(root)
        looked.keys["root"] = relative
        text = recipe_text(study_name(root), looked)
    except UnicodeEncodeError as error:
        raise DataError(f"a name in {str(root)!a} is not text in UTF-8; rename it") from error
    make_recipe(tomllib.loads(text), str(out))
    for note in looked.notes:
        reporter.warn(note)
    if looked.broken:
        reporter.warn(
            f"{plural(len(looked.broken), 'file')} cannot be read and left out (data.skip_broken): "
            f"{'; '.join(looked.broken[:MOST_LISTED])}"
        )
    write_atomic(out, text)
    return looked


def study_name(root: Path) -> str:
    """Return a name for a study of the images in a folder."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", root.name).strip("-._")
    return name or "study"


def look(place: Path, progress: Progress) -> Looked:
    """Return what images a folder or file holds.

    Raises:
        DataError: None of which a study could be made.
    """
    try:
        if place.suffix.lower() in SUFFIXES and place.is_file():
            return _look_at_table(place, place.parent, progress)
        if place.suffix.lower() == ".npz" and place.is_file():
            return _look_at_npz(place)
        if not place.is_dir():
            raise DataError(_no_folder(place))
        return _look_at_folder(place.resolve(), progress)
    except OSError as error:
        raise DataError(f"cannot read {error.filename}: {error.strerror}") from error


def _no_folder(place: Path) -> str:
    if place.exists():
        return f"{place} is a file; {LAYOUTS}"
    near = [one.name for one in place.parent.iterdir()] if place.parent.is_dir() else []
    return f"there is no folder {place}; {LAYOUTS}{did_you_mean(place.name, near)}"


def _look_at_folder(root: Path, progress: Progress) -> Looked:
    """Return what a folder holds: a table that names images counts more than folders of them."""
    if published := _look_at_published(root):
        return published
    entries = [path for path in root.iterdir() if not is_system(path.name)]
    tables = tables_in(root)
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables)
        raise DataError(
            f"{root} has several tables that name its images: {names}; name the one to use, such "
            f"as kdtool init {tables[0]}"
        )
    if tables:
        return _look_at_table(tables[0], root, progress)
    arrays = sorted(path for path in entries if path.suffix.lower() == ".npz")
    folders = [path for path in entries if path.is_dir()]
    if not folders and arrays:
        if len(arrays) > 1:
            raise DataError(
                f"{root} has several .npz files: {', '.join(path.name for path in arrays)}; name "
                f"the one to use, such as kdtool init {arrays[0]}"
            )
        return _look_at_npz(arrays[0])
    if len(folders) == 1 and len(entries) == 1 and _has_folders(folders[0]):
        return _look_at_folder(folders[0], progress)  # as an archive is unpacked
    if not folders:
        held = f"holds {plural(len(entries), 'file')} and no folders" if entries else "is empty"
        raise DataError(f"{root} {held}; {LAYOUTS}")
    table = FolderTable(source="folder", root=root)
    return _look_at_files(list_folder(table), table, {"root": str(root)}, {}, progress)


def _has_folders(folder: Path) -> bool:
    return sum(path.is_dir() and not is_system(path.name) for path in folder.iterdir()) > 1


def _look_at_table(path: Path, root: Path, progress: Progress) -> Looked:
    guess = guess_table(path, root.resolve())
    files = list_table(guess.table)
    return _look_at_files(files, guess.table, guess.keys, guess.reasons, progress)


@dataclass(frozen=True)
class Measured:
    """What the files of images hold."""

    headers: dict[int, Header]  # by number of the file; of those that can be read
    reasons: dict[int, str]  # why the others cannot
    decoded: bool  # whether the pixels were read too


def _look_at_files(
    files: LabelledFiles,
    table: FolderTable | CsvTable,
    keys: dict[str, object],
    reasons: dict[str, str],
    progress: Progress,
) -> Looked:
    if len(files.classes) == 1:
        raise DataError(
            f"{files.root} has images of one class only, {files.classes[0]}; a classifier needs at "
            "least two: add images of another class, in a folder or rows of their own"
        )
    given = tuple(sorted(set(files.splits or [])))
    check_classes(files.description, files.classes, _labels(files))
    measured = _measure(files, progress)
    broken = [f"{shown(files.paths[k], files.root)} ({why})" for k, why in measured.reasons.items()]
    if len(broken) > MOST_BROKEN * len(files.paths) and len(broken) > 1:
        raise problem_list(
            f"{len(broken):,} of {len(files.paths):,} files in {files.root} are broken:",
            broken,
            "fix or delete them, or move what is no image to another folder",
            MOST_LISTED,
        )
    files = files.only(np.array(sorted(measured.headers), dtype=np.int64))
    check_classes(files.description, files.classes, _labels(files))
    numbers = np.bincount(files.labels, minlength=len(files.classes)).tolist()
    counts = dict(zip(files.classes, numbers, strict=True))
    num_train = len(files.paths) if files.splits is None else files.splits.count("train")
    drawn = drawn_sizes(counts, given, num_train)
    table = table.model_copy(update=drawn)
    parts = divide(files, table)
    notes = list(files.warnings)
    if not measured.decoded:
        notes.append("only the headers of the files were read; `kdtool check` reads all pixels")
    keys = keys | {key: int(value) for key, value in drawn.items()}
    why = "images that are drawn; fewer would say little"
    headers = [measured.headers[k] for k in sorted(measured.headers)]
    return Looked(
        description=files.description,
        table=table,
        keys=keys,
        reasons=reasons | dict.fromkeys(drawn, why),
        counts=counts,
        given_splits=given,
        num_images={split: len(parts[split]) for split in SPLITS},
        sizes=dict(Counter((each.width, each.height) for each in headers)),
        num_grey=sum(each.is_grey for each in headers),
        broken=broken,
        from_files=True,
        notes=notes,
    )


def _labels(files: LabelledFiles) -> dict[str, NDArray[np.int64]]:
    """Return the labels of the splits that a study needs."""
    if files.splits is None:
        return {"train": files.labels}
    splits = np.array(files.splits)
    return {split: files.labels[splits == split] for split in {"train", "test", *files.splits}}


def _measure(files: LabelledFiles, progress: Progress) -> Measured:
    found: dict[int, Header] = {}
    paths = [path for path in files.paths if isinstance(path, Path)]  # of a folder or a table
    decoded = sum(path.stat().st_size for path in paths if path.exists()) <= MOST_DECODED

    def read(index: int) -> None:
        header = read_header(paths[index])
        if decoded:
            open_image(paths[index], 3)
        found[index] = header

    names = [shown(path, files.root) for path in paths]
    reasons = for_all(read, names, "looking at the images", progress)
    return Measured(found, reasons, decoded)


def _look_at_npz(path: Path) -> Looked:
    path = path.resolve()
    keys: dict[str, object] = {"root": str(path.parent), "file": path.name}
    table = NpzTable(source="npz", root=path.parent, file=Path(path.name))
    reasons = {"file": 'names of the labels: classes = ["...", "..."]'}
    return _look_at_arrays(load_npz(table), table, keys, reasons)


def _look_at_published(root: Path) -> Looked | None:
    """Return what a folder holds whose files have the names of MNIST's or CIFAR's; else None."""
    keys: dict[str, object] = {"root": str(root)}
    if not missing_files(root, IdxFiles()):
        idx = IdxTable(source="idx", root=root)
        return _look_at_arrays(load_idx(idx), idx, keys, {})
    for name in FORMS:
        if find_cifar(name, root):
            cifar = CifarTable(source=name, root=root)
            return _look_at_arrays(load_cifar(cifar), cifar, keys, {})
    return None


def _look_at_arrays(
    data: SourceData,
    table: NpzTable | IdxTable | CifarTable,
    keys: dict[str, object],
    reasons: dict[str, str],
) -> Looked:
    check_classes(data.description, data.classes, data.labels)
    every = np.concatenate([*data.labels.values()])
    numbers = np.bincount(every, minlength=len(data.classes)).tolist()
    counts = dict(zip(data.classes, numbers, strict=True))
    given = tuple(data.labels)
    drawn = drawn_sizes(counts, given, len(data.train_labels))
    num_images = {split: len(labels) for split, labels in data.labels.items()}
    if "validation" not in given:
        share = drawn.get("validation", table.validation)
        num = split_size("validation", share, data.train_labels, data.classes, data.description)
        num_images |= {"validation": num, "train": num_images["train"] - num}
    _, depth, height, width = data.train_images.shape
    return Looked(
        description=data.description,
        table=table,
        keys=keys | {key: int(value) for key, value in drawn.items()},
        reasons=reasons,
        counts=counts,
        given_splits=given,
        num_images=num_images,
        sizes={(width, height): len(every)},
        num_grey=len(every) if depth == 1 else 0,
        broken=[],
        from_files=False,
        notes=list(data.warnings),
    )
