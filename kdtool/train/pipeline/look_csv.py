"""Guess which columns of a csv table name the images, their classes, splits and patients."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from kdtool.edge.image_files import is_system
from kdtool.errors import DataError
from kdtool.recipe.data import Columns, CsvTable
from kdtool.train.data.files.csv_text import Findings, column_name, read_text, rows_of
from kdtool.train.data.labelled_files import SPLIT_NAMES, files_below
from kdtool.train.data.source import first_of

SUFFIXES = {".csv", ".tsv"}
LOOKED_AT = 500  # rows that decide which column names the files
LEAST_FOUND = 0.5  # of these rows, whose file exists; a table lists the wrong ones
LEAST_NAMED = 0.1  # of the files below the folder; a table that names fewer is about something else
LABELS = ("label", "class", "category", "target", "diagnosis", "species", "dx")
GROUPS = re.compile(r"\b(patient|subject|scene|video|slide|case|session|person|animal)s?\b")


@dataclass(frozen=True)
class Guess:
    """The recipe's [data] for a table."""

    table: CsvTable
    keys: dict[str, object]  # of the table, as they are written
    reasons: dict[str, str]


@dataclass(frozen=True)
class Content:
    """A csv file."""

    header: list[str]
    columns: dict[str, list[str]]  # the cells of each column, without spaces around them


def tables_in(root: Path) -> list[Path]:
    """Return the csv files in a folder that name images below it."""
    found = sorted(
        path
        for path in root.iterdir()
        if path.suffix.lower() in SUFFIXES and path.is_file() and not is_system(path.name)
    )
    return [path for path in found if _readable(path) and _file_column(_read(path), root)]


def guess_table(path: Path, root: Path) -> Guess:
    """Return the [data] of a table.

    Args:
        path: The table, below `root`.
        root: The folder of the data, resolved.

    Raises:
        DataError: It is a link out of `root`, no column names files below `root`, or none can be
            the class.
    """
    if not path.resolve().is_relative_to(root):
        raise DataError(
            f"{path} is a link to {path.resolve()}; expected a table in the folder of the images, "
            f"{root}: put a copy there"
        )
    content = _read(path)
    found = _file_column(content, root)
    if found is None:
        raise DataError(
            f"{path}: no column names files below {root}; it has {', '.join(content.header)}; "
            "expected one with the file of each image, such as cat/1.jpg"
        )
    file, images = found
    split = _split_column(content, file)
    candidates = _label_columns(content, {file, split or file})
    if not candidates:
        raise DataError(
            f"{path}: no column can be the class: all of {', '.join(content.header)} have one "
            "value, or another one in most rows; expected a column with the class of each image"
        )
    label, *others = candidates
    columns = {"file": file, "label": label} | ({"split": split} if split else {})
    reasons = {"columns": f"other columns that could be the class: {first_of(others)}"}
    keys: dict[str, object] = {
        "root": str(root),
        "csv": path.resolve().relative_to(root).as_posix(),
    }
    if images != Path():
        keys["images"] = images.as_posix()
    keys["columns"] = columns
    group = None if split else _group_column(content, {file, label})
    if group:
        keys["group_by"] = group
        reasons["group_by"] = "images with the same value stay in one split"
    table = CsvTable(
        source="csv",
        root=root,
        csv=Path(str(keys["csv"])),
        images=images,
        columns=Columns(**columns),
        group_by=group,
    )
    return Guess(
        table, keys, reasons if others else {k: v for k, v in reasons.items() if k != "columns"}
    )


def _readable(path: Path) -> bool:
    """Return whether a file is a table at all: a folder may hold other csv files."""
    try:
        return bool(_read(path).header)
    except DataError:
        return False


def _read(path: Path) -> Content:
    rows = rows_of(path, read_text(path, Findings()), [])
    header = [column_name(name) for name in next(rows, (0, []))[1]]
    cells: list[list[str]] = [[] for _ in header]
    for _, fields in rows:
        for place, column in enumerate(cells):
            column.append(fields[place].strip() if place < len(fields) else "")
    named = {name: column for name, column in zip(header, cells, strict=True) if name}
    return Content(header, named)


def _file_column(content: Content, root: Path) -> tuple[str, Path] | None:
    """Return the column that names files, and the folder that these are relative to."""
    below = [path.relative_to(root) for path in files_below(root, root).files]
    folders_of: dict[str, set[Path]] = defaultdict(set)  # what a cell may say -> from where
    for path in below:
        for number in range(1, len(path.parts) + 1):
            named, folder = Path(*path.parts[-number:]), Path(*path.parts[:-number])
            folders_of[named.as_posix()].add(folder)
            folders_of[named.with_suffix("").as_posix()].add(folder)
    best: tuple[float, str, Path] = (0.0, "", Path())
    for name, cells in content.columns.items():
        tried = [cell for cell in cells[:LOOKED_AT] if cell]
        # Different ones: an age or a class can be the name of a file by chance.
        found = Counter(folder for cell in set(tried) for folder in folders_of.get(cell, ()))
        for folder, num_found in sorted(found.items()):
            is_enough = num_found >= LEAST_NAMED * min(len(below), LOOKED_AT)
            if is_enough and num_found / len(tried) > best[0]:
                best = num_found / len(tried), name, folder
    return best[1:] if best[0] >= LEAST_FOUND else None


def _split_column(content: Content, file: str) -> str | None:
    for name, cells in content.columns.items():
        values = {SPLIT_NAMES.get(cell.lower()) for cell in cells}
        if name != file and None not in values and "train" in values and len(values) > 1:
            return name
    return None


def _label_columns(content: Content, used: set[str]) -> list[str]:
    """Return the columns that can be the class: by its name first, then of the fewest values."""
    possible = []
    for name, cells in content.columns.items():
        num_values = len({cell for cell in cells if cell})
        if name not in used and 2 <= num_values <= max(2, len(cells) // 2):
            possible.append((_rank(name), num_values, name))
    return [name for _, _, name in sorted(possible, key=lambda one: one[:2])]


def _rank(name: str) -> int:
    """Return 0 for the usual name of a label, 1 for a name that contains one, else 2."""
    words = _words(name)
    if " ".join(words) in LABELS:
        return 0
    return 1 if set(LABELS) & set(words) else 2


def _group_column(content: Content, used: set[str]) -> str | None:
    for name, cells in content.columns.items():
        if name not in used and GROUPS.search(" ".join(_words(name))) and all(cells):
            return name if len(set(cells)) < len(cells) else None
    return None


def _words(name: str) -> list[str]:
    """Return the words of a name such as patientID or "Patient id", in lower case."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    return re.findall(r"[a-z0-9]+", spaced.lower())
