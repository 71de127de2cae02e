"""Parquet files of Hugging Face: a column of encoded images, and one of their classes."""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kdtool.errors import OF_SYSTEM, DataError, KdtoolError, reason
from kdtool.files import cache_folder
from kdtool.install import install_command
from kdtool.recipe.data import ParquetTable
from kdtool.train.data.files.csv_table import in_order
from kdtool.train.data.files.webdataset import labelled, shards_of
from kdtool.train.data.labelled_files import LabelledFiles, shown
from kdtool.train.data.large.shards import Member
from kdtool.train.data.source import find_below


def list_parquet(table: ParquetTable) -> LabelledFiles:
    """Return the images of source "parquet".

    `datasets` copies each file into the user's cache, in a form that is read by row.

    Raises:
        KdtoolError: `datasets` is not installed.
        DataError: Files are missing or damaged, or lack columns or values; lists all.
    """
    root = find_below(table, Path(), "data.root")
    shards = shards_of(table.shards, "*.parquet", root)
    problems: list[str] = []
    names: list[str] = []  # of the classes, if the files have them
    found = [
        (split, image, label)
        for split, paths in shards.items()
        for path in paths
        for image, label in _rows(path, shown(path, root), table, names, problems)
    ]
    classes = table.classes or names or in_order({label for *_, label in found})
    columns = "data.image and data.label name the columns with the images and with their classes"
    return labelled(found, shards, classes, problems, root, ("files", "parquet file", columns))


def _rows(
    path: Path, name: str, table: ParquetTable, names: list[str], problems: list[str]
) -> Iterator[tuple[Member, str]]:
    """Yield image and label of each row of a file, in its order; add what is wrong.

    Args:
        path: The file.
        name: Of it, for messages.
        table: Names the columns.
        names: Gets the names of the classes, if the file has them.
        problems: Gets a line for each.
    """
    try:
        rows, labels = _open(path, table)
    except ValueError as error:
        problems.append(f"{name}: {error}")
        return
    kind = rows.features[table.label]
    of_file = list(getattr(kind, "names", []))
    if of_file and names and names != of_file:
        problems.append(f"{name} has the classes {', '.join(of_file)}, others {', '.join(names)}")
    names[:] = names or of_file

    def read(row: int) -> bytes:
        value = rows[row][table.image]
        content = value.get("bytes") if isinstance(value, dict) else value
        return content if isinstance(content, bytes) else b""

    for row, label in enumerate(labels):
        is_known = not of_file or (isinstance(label, int) and 0 <= label < len(of_file))
        if label is None or not str(label).strip() or not is_known:
            problems.append(f"{name}: row {row} has no class")
        else:
            text = of_file[label] if of_file else str(label).strip()
            yield Member(path, f"row {row}", row, 0, read), text


def _open(path: Path, table: ParquetTable) -> tuple[Any, Sequence[Any]]:
    """Return a file as a data set of rows with encoded images, and its labels.

    Raises:
        ValueError: It is damaged, or lacks a column; the reason in plain words.
        DataError: The system cannot read it, or write the cache.
    """
    try:
        datasets: Any = importlib.import_module("datasets")
    except ModuleNotFoundError as error:
        raise KdtoolError(
            f'source = "parquet" needs the package datasets: {install_command("parquet")}'
        ) from error
    datasets.disable_progress_bars()
    folder = cache_folder() / "parquet"
    try:
        rows = datasets.Dataset.from_parquet(str(path), cache_dir=str(folder))
    except Exception as error:  # it raises its own, around those of pyarrow and the system
        failed = _of_system(error)
        if failed is None:
            raise ValueError(f"it cannot be read ({reason(error.__cause__ or error)})") from error
        advice = OF_SYSTEM.get(failed.errno or 0, "free some space there")
        raise DataError(
            f"cannot read {path} into {folder}: {reason(failed)}; {advice}, or set the environment "
            "variable XDG_CACHE_HOME to a folder on a larger disk"
        ) from error
    for column in (table.image, table.label):
        if column not in rows.column_names:
            raise ValueError(f"it has no column {column}, only {', '.join(rows.column_names)}")
    if isinstance(rows.features[table.image], datasets.Image):
        rows = rows.cast_column(table.image, datasets.Image(decode=False))
    return rows, rows[table.label][:]


def _of_system(error: BaseException) -> OSError | None:
    """Return the error of the system behind one of `datasets`; None: the file is damaged."""
    if isinstance(error, OSError):  # of too small a disk it raises one without a number
        return error
    cause = error.__cause__
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno is not None:  # pyarrow's own have none
            return cause
        cause = cause.__cause__
    return None
