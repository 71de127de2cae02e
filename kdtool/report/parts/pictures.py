"""Pictures of the report: test images from a study's files, and PNGs inside the page."""

import base64
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import StudyError, reason
from kdtool.results.evidence import Gallery, GalleryImage
from kdtool.results.study import Results

Picture = NDArray[np.uint8]  # (H, W, 3)

PIXELATED_BELOW = 65  # pixels: smaller images are shown as squares, not as a blur
MOST_PIXELS = 56  # of a side of a thumbnail: a page may show some hundred images
WRITE_AGAIN = "repeat the command that made the study: it writes the file again and trains nothing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Thumbnail:
    """A test image, which the page holds once and may show in many places."""

    record: GalleryImage
    url: str
    height: int
    width: int


@dataclass(frozen=True, kw_only=True, slots=True)
class GallerySection:
    """The test images that other sections show."""

    thumbnails: dict[int, Thumbnail]  # by number of the test image


def section(results: Results, folder: Path) -> GallerySection | None:
    """Return the test images to show; None if the study has no gallery.

    Raises:
        StudyError: The file is missing or damaged, or does not fit the results.
    """
    if results.gallery is None:
        return None
    pictures = load_gallery(results.gallery, folder)
    return GallerySection(
        thumbnails={
            record.index: Thumbnail(
                record=record,
                url=data_url(pictures[record.index]),
                height=pictures[record.index].shape[0],
                width=pictures[record.index].shape[1],
            )
            for record in results.gallery.images
        },
    )


def load_gallery(gallery: Gallery, folder: Path) -> dict[int, Picture]:
    """Read the images of a study's gallery; by number of the test image.

    Raises:
        StudyError: The file is missing or damaged, or does not fit the results.
    """
    path = folder / gallery.path
    with reading(path, "the test images", WRITE_AGAIN), np.load(path) as arrays:
        images = [shrunk(rgb(image)) for image in arrays["images"]]
    if len(images) != len(gallery.images):
        raise StudyError(
            f"{path} has {len(images)} images, but results.json expects "
            f"{len(gallery.images)}; {WRITE_AGAIN}"
        )
    return {record.index: image for record, image in zip(gallery.images, images, strict=True)}


@contextmanager
def reading(path: Path, what: str, fix: str) -> Iterator[None]:
    """Turn every way in which a file of arrays can be broken into one error.

    Args:
        path: The .npz file.
        what: Its content, in words.
        fix: How to get the file again.

    Raises:
        StudyError: The file is missing or damaged.
    """
    try:
        yield
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StudyError(f"cannot read {what} in {path}: {reason(error)}; {fix}") from error


def rgb(image: NDArray[np.uint8]) -> Picture:
    """Return an image `(H, W, C)` of 1, 3 or more channels in three."""
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]


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


def png_of(picture: Picture) -> bytes:
    """Return a picture as PNG, one pixel a pixel."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, picture, format="png")
    return buffer.getvalue()


def data_url(picture: Picture) -> str:
    """Return a picture as an address that holds the picture itself."""
    return f"data:image/png;base64,{base64.b64encode(png_of(picture)).decode()}"
