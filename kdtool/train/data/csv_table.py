"""A csv file that names pictures, their labels, and perhaps splits and groups."""

import csv
import difflib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdtool.errors import DataError
from kdtool.recipe.data import CsvTable
from kdtool.train.data.labelled_files import (
    SPLIT_NAMES,
    LabelledFiles,
    files_below,
    is_inside,
    shown,
)
from kdtool.train.data.source import find_below, first_of, problem_list

DELIMITERS = ",;\t|"


@dataclass(frozen=True, slots=True)
class Row:
    """What the table says of one picture, and where."""

    line: int  # of the file, from 1
    path: Path
    label: str
    split: str | None  # None without the column
    group: str | None  # None without `data.group_by`


def list_table(table: CsvTable) -> LabelledFiles:
    """Return the pictures of source "csv", that the rows of a table name.

    Raises:
        DataError: The table or a picture is missing or cannot be used; all rows that are wrong
            are told at once.
    """
    path = find_below(table, table.csv, "data.csv")
    folder = find_below(table, table.images, "data.images")
    root = find_below(table, Path(), "data.root")
    rows = list(_read_rows(path, folder, table))
    classes = table.classes or _in_order({row.label for row in rows if row.label})
    problems = [
        f"line {row.line}: {problem}" for row in rows for problem in _problems(row, root, classes)
    ]
    problems += _repeated(rows, root)
    if problems:
        noun = "problem" if len(problems) == 1 else "problems"
        raise problem_list(
            f"{path}: {len(problems):,} {noun}:", problems, "mend these rows, or delete them"
        )
    if not rows:
        raise DataError(f"{path} has no row under its first; expected one for each picture")
    groups = np.unique([row.group or "" for row in rows], return_inverse=True)[1]
    splits = [SPLIT_NAMES[row.split] for row in rows if row.split is not None]
    warnings = [*_unlabelled_warning(rows, folder, root)]
    if splits and table.group_by:
        warnings += _torn_warning(groups, splits, table.group_by)
    return LabelledFiles(
        description=f"pictures of {path.name} in {root.name}",
        root=root,
        classes=tuple(classes),
        paths=[row.path for row in rows],
        labels=np.array([classes.index(row.label) for row in rows], dtype=np.int64),
        splits=splits or None,
        groups=groups if table.group_by else None,
        warnings=tuple(warnings),
    )


def _read_rows(path: Path, folder: Path, table: CsvTable) -> Iterator[Row]:
    columns = table.columns
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            head = file.readline()
            file.seek(0)
            reader = csv.DictReader(
                file, delimiter=max(DELIMITERS, key=head.count), restval="", skipinitialspace=True
            )
            reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
            named = [columns.file, columns.label, columns.split, table.group_by]
            _check_columns(path, [name for name in named if name], reader.fieldnames)
            for row in reader:
                yield Row(
                    reader.line_num,
                    folder / row[columns.file].strip(),
                    row[columns.label].strip(),
                    row[columns.split].strip().lower() if columns.split else None,
                    row[table.group_by].strip() if table.group_by else None,
                )
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; check data.csv") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not text in UTF-8: {error}; save it as such") from error
    except csv.Error as error:
        raise DataError(f"{path} is no csv file: {error}; check data.csv") from error


def _in_order(labels: set[str]) -> list[str]:
    """Return labels in the order of the alphabet; numbers, 2 before 10 or 10.0, as numbers."""
    try:
        numbers = {label: float(label) for label in labels}
    except ValueError:
        return sorted(labels)
    if not all(isfinite(number) for number in numbers.values()):  # "nan" and "inf" are words here
        return sorted(labels)
    return sorted(labels, key=lambda label: (numbers[label], label))


def _check_columns(path: Path, wanted: list[str], given: Sequence[str]) -> None:
    if repeated := [name for name in wanted if given.count(name) > 1]:
        raise DataError(
            f"{path} has more than one column {', '.join(repeated)}; give each another name"
        )
    missing = [name for name in wanted if name not in given]
    if not missing:
        return
    close = difflib.get_close_matches(missing[0], given, n=1)
    hint = f'; did you mean "{close[0]}"?' if close else ""
    raise DataError(
        f"{path} has no column {', '.join(missing)}; it has {', '.join(given) or 'none'}{hint} "
        "(the recipe names them in data.columns and data.group_by; a comma, a semicolon, a tab or "
        "| may part them)"
    )


def _problems(row: Row, root: Path, classes: list[str]) -> Iterator[str]:
    name = shown(row.path, root)
    try:
        if not is_inside(row.path, root):
            yield f"{name} leads out of data.root"
        elif not row.path.is_file():
            hint = "; write / instead of \\" if "\\" in name else ""
            yield f"there is no file {name}{hint}"
    except (OSError, ValueError) as error:  # too long for a name, or a zero byte in it
        yield f"no name of a file: {error}"
    if not row.label:
        yield f"no label for {name}"
    elif row.label not in classes:
        yield f'label "{row.label}", expected one of {", ".join(classes)}'
    if row.split is not None and row.split not in SPLIT_NAMES:
        yield f'split "{row.split}", expected train, validation or test'
    if row.group == "":
        yield f"no value of data.group_by for {name}, which says what stays in one split with it"


def _repeated(rows: list[Row], root: Path) -> Iterator[str]:
    first: dict[str, Row] = {}
    for row in rows:
        twin = first.setdefault(os.path.normpath(row.path), row)
        if twin is not row:
            yield f"line {row.line}: {shown(row.path, root)} stands in line {twin.line} too"


def _unlabelled_warning(rows: list[Row], folder: Path, root: Path) -> Iterator[str]:
    """Tell of pictures that no row names."""
    Image.init()
    labelled = {row.path for row in rows}
    spare = [
        shown(path, root)
        for path in files_below(folder, root)
        if path.suffix.lower() in Image.EXTENSION and path not in labelled
    ]
    if spare:
        noun = "picture has" if len(spare) == 1 else "pictures have"
        yield f"{len(spare):,} {noun} no label, and no use: {first_of(spare)}"


def _torn_warning(groups: NDArray[np.int64], splits: list[str], column: str) -> list[str]:
    pairs = set(zip(groups.tolist(), splits, strict=True))
    torn = sum(count > 1 for count in Counter(group for group, _ in pairs).values())
    if not torn:
        return []
    return [
        f"images of {torn:,} of {groups.max() + 1:,} values of {column} stand in two splits, as "
        "the table says: scores may be better than on images never seen"
    ]
