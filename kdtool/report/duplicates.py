"""Images that stand in two splits, as pairs to look at."""

import zipfile
from pathlib import Path

import numpy as np

from kdtool.errors import StudyError
from kdtool.report.gallery import shrunk
from kdtool.report.quantities import count
from kdtool.report.saliency import Picture, rgb
from kdtool.results import DataResult

KINDS = ("exact", "near")  # arrays of the file
Names = list[tuple[str, str]]  # of the images of each pair, such as ("train 12", "test 3")


def names(data: DataResult) -> list[tuple[str, Names]]:
    """Return exact and near duplicates: a title, and the names of the images of each pair."""
    kinds = (
        ("The same, bit for bit", data.num_duplicates, data.duplicates),
        ("Nearly the same", data.num_near_duplicates, data.near_duplicates),
    )
    return [
        (_title(title, number, len(pairs)), [(f"{a} {i}", f"{b} {j}") for a, i, b, j in pairs])
        for title, number, pairs in kinds
    ]


def _title(title: str, number: int, shown: int) -> str:
    images = "1 image" if number == 1 else f"{count(number)} images"
    return f"{title}: {images}" + (f", of which the first {shown}" if shown < number else "")


def load_duplicates(data: DataResult, folder: Path) -> list[list[tuple[Picture, Picture]]]:
    """Read the pairs that `names` names, small enough for a page.

    Raises:
        StudyError: The file is missing or damaged, or does not fit the results.
    """
    if data.duplicate_images is None:
        return []
    path = folder / data.duplicate_images
    mend = "the command that made the study, given again, writes it anew and trains nothing"
    try:
        with np.load(path) as arrays:
            found = [
                [(shrunk(rgb(one)), shrunk(rgb(other))) for one, other in arrays[key]]
                for key in KINDS
            ]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StudyError(f"cannot read the duplicates in {path}: {error}; {mend}") from error
    expected = [len(pairs) for _, pairs in names(data)]
    if [len(pairs) for pairs in found] != expected:
        raise StudyError(
            f"{path} has {[len(pairs) for pairs in found]} pairs, exact and near, but results.json "
            f"speaks of {expected}; {mend}"
        )
    return found
