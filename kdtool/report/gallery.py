"""The test images that flips and subclasses speak of, small enough for a page."""

import zipfile
from pathlib import Path

import numpy as np

from kdtool.errors import StudyError
from kdtool.evidence import Gallery
from kdtool.report.saliency import Picture, rgb

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
        raise StudyError(f"cannot read the test images in {path}: {error}; {mend}") from error
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
