"""A csv file that names images, their labels and, optionally, splits and groups."""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdtool.errors import DataError
from kdtool.format import plural
from kdtool.recipe.data import CsvTable
from kdtool.train.data.files.csv_text import (
    FEW,
    Findings,
    check_columns,
    column_name,
    read_text,
    rows_of,
    too_long_rows,
)
from kdtool.train.data.labelled_files import (
    SPLIT_NAMES,
    SPLITS_EXPECTED,
    LabelledFiles,
    assign_splits,
    files_below,
    is_inside,
    shown,
)
from kdtool.train.data.source import find_below, first_of, problem_list

MOST_LISTED = 100  # rows with problems; of more, the first
ABSENT = "there is no file"


@dataclass(frozen=True, slots=True)
class Row:
    """One image as the table describes it."""

    line: int  # of the file, from 1
    path: Path
    label: str
    split: str | None  # None without the column
    group: str | None  # None without `data.group_by`


def list_table(table: CsvTable) -> LabelledFiles:
    """Return the images of source "csv", which the rows of a table name.

    Raises:
        DataError: The table or an image is missing or cannot be used; lists all wrong rows.
    """
    path = find_below(table, table.csv, "data.csv")
    folder = find_below(table, table.images, "data.images")
    root = find_below(table, Path(), "data.root")
    found = Findings()
    rows = list(_read_rows(path, folder, table, found))
    if not rows and not found.problems:
        raise DataError(f"{path} has no row below its header; expected one for each image")
    below = files_below(folder, root)
    rows = _with_files(rows, below.files, folder, root, found)
    rows = _with_equal_labels(rows, table.classes, found)
    classes = table.classes or in_order({row.label for row in rows if row.label})
    for row in rows:
        found.problems += [(row.line, text) for text in _problems(row, root, classes)]
    found.problems += _repeated(rows, root)
    if found.problems:
        raise problem_list(
            f"{path}: {plural(len(found.problems), 'problem')}:",
            [f"line {line}: {text}" for line, text in sorted(found.problems)],
            "correct the table, or delete these rows",
            MOST_LISTED,
        )
    below.check_links(root)
    split_of, notes = assign_splits({row.split for row in rows if row.split is not None})
    splits = [split_of[row.split] for row in rows if row.split is not None]
    groups = np.unique([row.group or "" for row in rows], return_inverse=True)[1]
    warnings = [*found.warnings, *notes, *_unlabelled_warning(rows, below.files, root)]
    if splits and table.group_by:
        warnings += _divided_warning(groups, splits, table.group_by)
    return LabelledFiles(
        description=f"images of {path.name} in {root.name}",
        root=root,
        classes=tuple(classes),
        paths=[row.path for row in rows],
        labels=np.array([classes.index(row.label) for row in rows], dtype=np.int64),
        splits=splits or None,
        groups=groups if table.group_by else None,
        warnings=tuple(warnings),
    )


def _read_rows(path: Path, folder: Path, table: CsvTable, found: Findings) -> Iterator[Row]:
    """Yield the rows that are not empty and have no more fields than the header."""
    names = [table.columns.file, table.columns.label, table.columns.split, table.group_by]
    wanted = [None if name is None else column_name(name) for name in names]
    records = rows_of(path, read_text(path, found), [name for name in wanted if name])
    header = [column_name(name) for name in next(records, (0, []))[1]]
    check_columns(path, [name for name in wanted if name], header)
    places = [None if name is None else header.index(name) for name in wanted]
    spellings: dict[str, set[str]] = defaultdict(set)
    too_long = []
    for line, fields in records:
        if any(text.strip() for text in fields[len(header) :]):
            too_long.append((line, len(fields)))
            continue
        fields += [""] * (len(header) - len(fields))
        file, label, split, group = (None if place is None else fields[place] for place in places)
        assert file is not None
        assert label is not None
        label = unicodedata.normalize("NFC", label)
        spellings[label.strip()].add(label)
        yield Row(
            line=line,
            path=folder / file.strip(),
            label=label.strip(),
            split=None if split is None else split.strip().lower(),
            group=None if group is None else group.strip(),
        )
    found.problems += too_long_rows(too_long, len(header))
    if spaced := sorted(label for label, written in spellings.items() if len(written) > 1):
        found.warnings.append(
            f"labels with and without spaces around them are one class: {first_of(spaced)}"
        )


def _with_files(
    rows: Sequence[Row], files: Sequence[Path], folder: Path, root: Path, found: Findings
) -> list[Row]:
    """Return the rows, with the file's extension where the table leaves it out.

    A file is also found if its name has another Unicode form, as macOS writes it.
    """
    images = [path for path in files if _has_image_suffix(path)]
    candidates: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        candidates[_normal(path)].append(path)
    for path in images:
        candidates[_normal(path.with_suffix(""))].append(path)
    absent: list[Row] = []
    complete = list(rows)
    suffixes = Counter[str]()
    for place, row in enumerate(rows):
        problem = "no file name" if row.path == folder else _path_problem(row.path, root)
        matches = candidates[_normal(row.path)] if problem == ABSENT else []
        if len(matches) == 1:
            complete[place] = replace(row, path=matches[0])
            suffixes[matches[0].suffix] += matches[0].suffix != row.path.suffix
        elif problem == ABSENT:
            absent.append(row)
        elif problem:
            found.problems.append((row.line, problem))
    found.warnings += _extension_warning(+suffixes)
    hints = [
        f"{ABSENT} {shown(row.path, root)}{_hint(row.path, files, candidates)}"
        for row in absent[:FEW]  # a hint looks at every file
    ]
    if len(absent) > FEW:
        examples = f", such as {shown(images[0], folder)}" if images else ""
        hints = [
            f"{hints[0]}; likewise {len(absent):,} of {len(rows):,} rows, while data.images = "
            f"{folder} holds {len(images):,} images{examples}"
        ]
    found.problems += [(row.line, hint) for row, hint in zip(absent, hints, strict=False)]
    return complete


def _has_image_suffix(path: Path) -> bool:
    Image.init()
    return path.suffix.lower() in Image.EXTENSION


def _extension_warning(suffixes: Counter[str]) -> Iterator[str]:
    if suffixes:
        noun = "file without its" if suffixes.total() == 1 else "files without their"
        listed = ", ".join(f"{suffix} ({count:,})" for suffix, count in suffixes.most_common())
        yield (
            f"the table names {suffixes.total():,} {noun} extension; each is the only image of its "
            f"name: {listed}"
        )


def _path_problem(path: Path, root: Path) -> str | None:
    """Return why a path of the table names no file below `root`; None if it does."""
    try:
        if not is_inside(path, root):
            return f"{shown(path, root)} leads out of data.root"
        return None if path.is_file() else ABSENT
    except (OSError, ValueError) as error:  # too long, or with a zero byte
        return f"not a valid file name: {getattr(error, 'strerror', None) or error}"


def _hint(path: Path, files: Sequence[Path], candidates: dict[str, list[Path]]) -> str:
    """Return what the table may mean instead of a file that does not exist."""
    if matches := candidates[_normal(path)]:
        return f"; write its extension: there are {first_of([each.name for each in matches])}"
    if "\\" in path.name:
        return "; write / instead of \\"
    name = path.name.lower()
    like = [each for each in files if name in (each.name.lower(), each.stem.lower())]
    return f" (did you mean {shown(like[0], path.parent)}?)" if like else ""


def _normal(path: Path) -> str:
    return unicodedata.normalize("NFC", os.path.normpath(path))


def _with_equal_labels(
    rows: Sequence[Row], classes: Sequence[str] | None, found: Findings
) -> list[Row]:
    """Return the rows with one label for a number that is written as 1 and as 1.0."""
    names = {*(classes or ()), *(row.label for row in rows)}
    one_of: dict[str, str] = {}
    for name in sorted(names, key=lambda name: (name not in (classes or ()), len(name))):
        one_of.setdefault(_whole_number(name), name)
    changed = {
        row.label: one_of[_whole_number(row.label)]
        for row in rows
        if row.label not in (classes or ()) and one_of[_whole_number(row.label)] != row.label
    }
    if changed:
        pairs = [f"{other} is {name}" for other, name in sorted(changed.items())]
        found.warnings.append(f"labels that are one number are one class: {first_of(pairs)}")
    return [replace(row, label=changed.get(row.label, row.label)) for row in rows]


def _whole_number(label: str) -> str:
    """Return "1" for "1.0" and "1,00", else the label."""
    number = re.fullmatch(r"([+-]?\d+)[.,]0+", label)
    return number[1] if number else label


def in_order(labels: set[str]) -> list[str]:
    """Return labels in the order of the alphabet; numbers, 2 before 10 or 10,5, as numbers."""
    try:
        numbers = {label: float(label.replace(",", ".")) for label in labels}
    except ValueError:
        return sorted(labels)
    if not all(isfinite(number) for number in numbers.values()):  # "nan" and "inf" are words here
        return sorted(labels)
    return sorted(labels, key=lambda label: (numbers[label], label))


def _problems(row: Row, root: Path, classes: Sequence[str]) -> Iterator[str]:
    name = shown(row.path, root)
    if not row.label:
        yield f"no label for {name}"
    elif row.label not in classes:
        yield f'label "{row.label}", expected one of {", ".join(classes)}'
    if row.split is not None and row.split not in SPLIT_NAMES:
        yield f'split "{row.split}", expected {SPLITS_EXPECTED}'
    if row.group == "":
        yield f"no value of data.group_by for {name}; it decides which images stay in one split"


def _repeated(rows: Sequence[Row], root: Path) -> Iterator[tuple[int, str]]:
    first: dict[str, Row] = {}
    for row in rows:
        twin = first.setdefault(_normal(row.path), row)
        if twin is not row:
            yield row.line, f"{shown(row.path, root)} is a duplicate of line {twin.line}"


def _unlabelled_warning(rows: Sequence[Row], files: Sequence[Path], root: Path) -> Iterator[str]:
    """Yield a warning if the folder holds images that no row names."""
    labelled = {_normal(row.path) for row in rows}
    spare = [
        shown(path, root)
        for path in files
        if _has_image_suffix(path) and _normal(path) not in labelled
    ]
    if spare:
        verbs = ("image has no label and is", "images have no label and are")
        yield f"{len(spare):,} {verbs[len(spare) > 1]} not used: {first_of(spare)}"


def _divided_warning(
    groups: NDArray[np.int64], splits: Sequence[str], column: str
) -> Iterator[str]:
    """Yield a warning if the table puts images of one group into two splits."""
    pairs = set(zip(groups.tolist(), splits, strict=True))
    divided = sum(count > 1 for count in Counter(group for group, _ in pairs).values())
    if divided:
        yield (
            f"the table puts images of {divided:,} of {groups.max() + 1:,} values of {column} into "
            "more than one split: scores may be better than on new ones"
        )
