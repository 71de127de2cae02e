"""What every source of images hands over, before it is checked and split."""

import contextlib
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import DataError, reason
from kdtool.recipe.data import CsvTable, FolderTable, NpzTable
from kdtool.train.reporter import Update

# Shows how far a long piece of work is, as `Terminal.progress` does: its title and units in all.
Progress = Callable[[str, int], AbstractContextManager[Update]]
SPLITS: tuple[Literal["train", "validation", "test"], ...] = ("train", "validation", "test")


def no_progress(_title: str, _total: int) -> AbstractContextManager[Update]:
    """Show nothing."""
    return nullcontext(lambda _done, _text: None)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceData:
    """Images as a source has them; N differs between the splits."""

    description: str
    classes: tuple[str, ...]
    train_images: NDArray[np.uint8]  # (N, C, H, W)
    train_labels: NDArray[np.int64]  # (N,), each an index into `classes`
    test_images: NDArray[np.uint8]  # (N, C, H, W)
    test_labels: NDArray[np.int64]  # (N,)
    validation_images: NDArray[np.uint8] | None = None  # (N, C, H, W); None: drawn from train
    validation_labels: NDArray[np.int64] | None = None  # (N,)
    names: Mapping[str, Sequence[str]] | None = None  # files below the root, by split; all or none
    warnings: tuple[str, ...] = ()  # what the user must know, such as what stands in for the data

    @property
    def labels(self) -> dict[str, NDArray[np.int64]]:
        """The labels of each split that the source has."""
        labels = {"train": self.train_labels, "test": self.test_labels}
        if self.validation_labels is not None:
            labels["validation"] = self.validation_labels
        return labels


def find_below(table: FolderTable | CsvTable | NpzTable, below: Path, what: str) -> Path:
    """Return `data.root / below`, links resolved.

    Args:
        table: Has a root and perhaps a home page.
        below: A path; "." for the root itself.
        what: Key of the recipe that names it, for the message.

    Raises:
        DataError: It is not there or leads out of the root; tells where to get the data.
    """
    try:
        root = table.root.resolve()
        found = (root / below).resolve()
        is_there = found.exists()
    except (OSError, RuntimeError) as error:  # no right to look, a link that leads in a circle
        raise DataError(
            f"cannot look for {table.root / below} ({what}): {reason(error)}"
        ) from error
    if not is_there:
        page = f" the data are to be had at {table.home};" if table.home else ""
        raise DataError(
            f"there is no {found} ({what});{page} put them there, or name where they lie with "
            "--set data.root=DIR"
        )
    if not found.is_relative_to(root):
        raise DataError(f"{what} = {below} leads out of data.root = {root}, to {found}")
    return found


# Of one connection or read. A server has several addresses, each tried for so long.
TIMEOUT_SECONDS = 10.0


@contextlib.contextmanager
def waiting_no_longer() -> Iterator[None]:
    """Let no socket of the block wait longer; what downloads has no argument for it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


MOST_IN_WARNING = 10


def problem_list(
    head: str, problems: Sequence[str], advice: str, most: int | None = None
) -> DataError:
    """Return an error that lists problems, a line each.

    Args:
        head: First line.
        problems: In order.
        advice: Last line, how to fix them.
        most: Number of problems to list; None: all.
    """
    lines = [f"  {problem}" for problem in problems[:most]]
    if more := len(problems) - len(lines):
        lines.append(f"  and {more:,} more")
    return DataError("\n".join([head, *lines, advice]))


def first_of(items: Sequence[str]) -> str:
    """Return the first items for a warning, and how many more there are."""
    more = len(items) - MOST_IN_WARNING
    return ", ".join(items[:MOST_IN_WARNING]) + (f" and {more:,} more" if more > 0 else "")
