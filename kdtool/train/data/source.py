"""What every source of images returns, and what sources share: paths and messages."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import DataError, reason
from kdtool.recipe.data import NpzTable, PictureKeys
from kdtool.train.data.large.stored import Images
from kdtool.train.reporter import Update

# Shows the progress of long work, as `Terminal.progress` does: its title and number of units.
Progress = Callable[[str, int], AbstractContextManager[Update]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceData:
    """Images of a source before they are split; N differs between the splits."""

    description: str
    classes: tuple[str, ...]
    train_images: Images  # (N, C, H, W)
    train_labels: NDArray[np.int64]  # (N,), each an index into `classes`
    test_images: Images  # (N, C, H, W)
    test_labels: NDArray[np.int64]  # (N,)
    validation_images: Images | None = None  # (N, C, H, W); None: drawn from train
    validation_labels: NDArray[np.int64] | None = None  # (N,)
    names: Mapping[str, Sequence[str]] | None = None  # files below the root, by split
    warnings: tuple[str, ...] = ()  # such as a substitute for the data

    @property
    def labels(self) -> dict[str, NDArray[np.int64]]:
        """The labels of each split that the source has."""
        labels = {"train": self.train_labels, "test": self.test_labels}
        if self.validation_labels is not None:
            labels["validation"] = self.validation_labels
        return labels


def find_below(table: PictureKeys | NpzTable, below: Path, what: str) -> Path:
    """Return `data.root / below`, links resolved.

    Args:
        table: Has a root and perhaps a home page.
        below: A path; "." for the root itself.
        what: Key of the recipe that names it, for the message.

    Raises:
        DataError: It does not exist or leads out of the root; the message has `data.home`.
    """
    try:
        root = table.root.resolve()
        found = (root / below).resolve()
        exists = found.exists()
    except (OSError, RuntimeError) as error:  # no permission, a link to itself
        why = reason(error)
        raise DataError(f"cannot look for {table.root / below} ({what}): {why}") from error
    if not exists:
        download = f"download the data from {table.home}, or " if table.home else ""
        raise DataError(
            f"there is no {found} ({what}); {download}set the folder of the data with "
            "--set data.root=DIR"
        )
    if not found.is_relative_to(root):
        raise DataError(f"{what} = {below} leads out of data.root = {root}, to {found}")
    return found


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


def beginning(content: bytes) -> str:
    """Say what a file begins with: "begins with the text 'id,label'" or "... the bytes 0x8950".

    Args:
        content: The first bytes, at most 16 of which are quoted.
    """
    if not content:
        return "is empty"
    # Not only 16: the last character may be cut.
    text = next((text for end in (16, 15, 14, 13) if (text := _as_text(content[:end]))), "")
    return (
        f"begins with the text '{text}'" if text else f"begins with the bytes 0x{content[:8].hex()}"
    )


def _as_text(content: bytes) -> str:
    """Return the first line if the bytes are printable UTF-8, else nothing."""
    try:
        first_line = content.decode().split("\n")[0].strip()
    except UnicodeDecodeError:
        return ""
    return first_line if first_line.isprintable() else ""
