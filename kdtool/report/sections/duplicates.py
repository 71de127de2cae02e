"""Images that are in two splits: the pairs, side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from kdtool.errors import StudyError
from kdtool.format import count, plural
from kdtool.report.parts.pictures import WRITE_AGAIN, Picture, data_url, reading, rgb, shrunk
from kdtool.results.study import DataResult, Results

KINDS = ("exact", "near")  # arrays of the file
Names = list[tuple[str, str]]  # of the images of each pair, such as ("train 12", "test 3")
Twins = Sequence[tuple[str, int, str, int]]  # split, index, split, index
MOST_NAMES = 5  # pairs, in a sentence


@dataclass(frozen=True, kw_only=True, slots=True)
class NamedPicture:
    """One image of a pair."""

    name: str  # such as "train 12"
    url: str  # empty: the study has no pictures of its duplicates


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicateKind:
    """Exact or near duplicates."""

    title: str
    pairs: list[tuple[NamedPicture, NamedPicture]]


@dataclass(frozen=True, kw_only=True, slots=True)
class DuplicatesSection:
    """Images that are in two splits."""

    LINK: ClassVar = "Duplicates"

    kinds: list[DuplicateKind]
    with_pictures: bool


def section(results: Results, folder: Path) -> DuplicatesSection | None:
    """Return the pairs of images that are in two splits; None without any.

    Raises:
        StudyError: The file of the pictures is missing or damaged, or does not fit the results.
    """
    data = results.data
    if not data.duplicates and not data.near_duplicates:
        return None
    pictures = load_duplicates(data, folder)
    kinds = []
    for place, (title, pairs) in enumerate(names(data)):
        urls = [[data_url(one) for one in twins] for twins in pictures[place]] if pictures else []
        urls = urls or [["", ""]] * len(pairs)
        named = [
            (NamedPicture(name=a, url=first), NamedPicture(name=b, url=second))
            for (a, b), (first, second) in zip(pairs, urls, strict=True)
        ]
        if named:
            kinds.append(DuplicateKind(title=title, pairs=named))
    return DuplicatesSection(kinds=kinds, with_pictures=bool(pictures))


def names(data: DataResult) -> list[tuple[str, Names]]:
    """Return exact and near duplicates: a title, and the names of the images of each pair."""
    kinds = (
        ("Identical", data.num_duplicates, data.duplicates),
        ("Nearly identical", data.num_near_duplicates, data.near_duplicates),
    )
    return [
        (_title(title, number, len(pairs)), [(f"{a} {i}", f"{b} {j}") for a, i, b, j in pairs])
        for title, number, pairs in kinds
    ]


def _title(title: str, number: int, shown: int) -> str:
    text = f"{title}: {plural(number, 'image')}"
    return f"{text}, of which the first {shown} are shown" if shown < number else text


def load_duplicates(data: DataResult, folder: Path) -> list[list[tuple[Picture, Picture]]]:
    """Read the pairs that `names` returns, small enough for a page; empty if none were saved.

    Raises:
        StudyError: The file is missing or damaged, or does not fit the results.
    """
    if data.duplicate_images is None:
        return []
    path = folder / data.duplicate_images
    with reading(path, "the duplicates", WRITE_AGAIN), np.load(path) as arrays:
        found = [
            [(shrunk(rgb(one)), shrunk(rgb(other))) for one, other in arrays[key]] for key in KINDS
        ]
    expected = [len(pairs) for _, pairs in names(data)]
    if [len(pairs) for pairs in found] != expected:
        exact, near = (len(pairs) for pairs in found)
        raise StudyError(
            f"{path} has {exact} exact and {near} near pairs, but results.json expects "
            f"{expected[0]} and {expected[1]}; {WRITE_AGAIN}"
        )
    return found


def duplicates_sentence(data: DataResult) -> str:
    """Say how many images are in two splits, exactly or nearly, and where the first ones are."""
    sentences = []
    if data.num_duplicates:
        verb = "image is" if data.num_duplicates == 1 else "images are"
        where = _first(data.duplicates)
        sentences.append(f"{count(data.num_duplicates)} {verb} in two splits, bit for bit{where}.")
    if data.num_near_duplicates:
        verb = "image is" if data.num_near_duplicates == 1 else "images are"
        where = _first(data.near_duplicates)
        sentences.append(
            f"{count(data.num_near_duplicates)} {verb} nearly identical to an image of another "
            f"split{where}."
        )
    return " ".join(sentences) or "No image is in two splits."


def _first(twins: Twins) -> str:
    pairs = [f"{a} {i} and {b} {j}" for a, i, b, j in twins[:MOST_NAMES]]
    return f", such as {'; '.join(pairs)}" if pairs else ""
