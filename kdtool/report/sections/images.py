"""Pictures as the page holds them: in itself, as addresses, beside what is known of them."""

import base64
import zipfile
from pathlib import Path

import numpy as np

from kdtool.errors import StudyError, reason
from kdtool.format import count, role_name
from kdtool.report.sections.saliency import Picture, Saliency, png_of, rgb
from kdtool.results.base import Role
from kdtool.results.evidence import Flips, Gallery
from kdtool.results.study import DataResult, Results


def flip_sentence(flips: Flips) -> str:
    """Say how many images one model gains and loses against another."""
    of, against = role_name(flips.of), role_name(flips.against)
    balance = flips.gained - flips.lost
    more = f"{count(abs(balance))} {'more' if balance > 0 else 'fewer'}" if balance else "as many"
    return (
        f"The {of} gets {count(flips.gained)} images right that the {against} gets wrong, and "
        f"loses {count(flips.lost)} that the {against} gets right: {more} in all."
    )


def flip_rows(flips: Flips) -> list[tuple[str, list[tuple[int, Role | None]]]]:
    """Return the table of right and wrong: a row a state of `against`, then that of `of`.

    Each cell is a number of images and who alone is right on them; None: both or nobody.
    """
    return [
        ("right", [(flips.both_right, None), (flips.lost, flips.against)]),
        ("wrong", [(flips.gained, flips.of), (flips.both_wrong, None)]),
    ]


MOST_PIXELS = 56  # of a side: a page may show some hundred images


def load_gallery(gallery: Gallery, folder: Path) -> dict[int, Picture]:
    """Read the images of a study's gallery; by number of the test image.

    Raises:
        StudyError: The file is missing or damaged, or does not fit the results.
    """
    path = folder / gallery.path
    mend = "the command that made the study, given again, writes it anew and trains nothing"
    try:
        with np.load(path) as arrays:
            images = [shrunk(rgb(image)) for image in arrays["images"]]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StudyError(
            f"cannot read the test images in {path}: {reason(error)}; {mend}"
        ) from error
    if len(images) != len(gallery.images):
        raise StudyError(
            f"{path} has {len(images)} images, but results.json speaks of "
            f"{len(gallery.images)}; {mend}"
        )
    return {record.index: image for record, image in zip(gallery.images, images, strict=True)}


def shrunk(picture: Picture) -> Picture:
    """Return a picture of at most `MOST_PIXELS` a side, each pixel the mean of a square."""
    height, width, _ = picture.shape
    step = -(-max(height, width) // MOST_PIXELS)
    rows, columns = max(1, height // step), max(1, width // step)
    squares = picture[: rows * step, : columns * step]
    if step == 1 or min(height, width) < step:
        return squares[::step, ::step]
    means = squares.reshape(rows, step, columns, step, 3).mean(axis=(1, 3))
    small: Picture = np.round(means).astype(np.uint8)
    return small


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
        raise StudyError(
            f"cannot read the duplicates in {path}: {reason(error)}; {mend}"
        ) from error
    expected = [len(pairs) for _, pairs in names(data)]
    if [len(pairs) for pairs in found] != expected:
        raise StudyError(
            f"{path} has {[len(pairs) for pairs in found]} pairs, exact and near, but results.json "
            f"speaks of {expected}; {mend}"
        )
    return found


def explained_pictures(results: Results, saliency: Saliency) -> list[dict[str, object]]:
    """Return one row an explained image: its record, and the address of every picture."""
    records = results.explain.images if results.explain else []
    return [
        {
            "record": record,
            "input": _data_url(saliency.images[row]),
            "heatmaps": {role: _data_url(maps[row]) for role, maps in saliency.heatmaps.items()},
        }
        for row, record in enumerate(records)
    ]


def thumbnails(results: Results, shown: dict[int, Picture]) -> dict[int, dict[str, object]]:
    """Return what is known of every image that is shown, each once on the page."""
    records = results.gallery.images if results.gallery else []
    return {
        record.index: {
            "record": record,
            "url": _data_url(shown[record.index]),
            "height": shown[record.index].shape[0],
            "width": shown[record.index].shape[1],
        }
        for record in records
    }


def twin_pictures(
    results: Results, twins: list[list[tuple[Picture, Picture]]]
) -> list[tuple[str, list[list[dict[str, str]]]]]:
    """Return the pairs of images that stand in two splits: name and address of each."""
    if not twins:
        return []
    return [
        (
            title,
            [
                [{"name": name, "url": _data_url(one)} for name, one in zip(*pair, strict=True)]
                for pair in zip(names, pictures, strict=True)
            ],
        )
        for (title, names), pictures in zip(names(results.data), twins, strict=True)
    ]


def _data_url(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(png_of(picture)).decode()}"
