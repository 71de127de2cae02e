"""Images that look nearly like one of another split: scaled, compressed or brightened copies.

Crops, turned and mirrored images are not found.
"""

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Smaller images look alike too often: digits of MNIST, say.
SMALLEST_SIDE = 64
# A difference hash finds candidates, and a thumbnail confirms them, as pictures of one kind, such
# as X-rays, have similar hashes.
# Source: N. Krawetz, "Kind of like that", hackerfactor.com, 2013, for the hash.
HASH_SIDE = 8
MAX_BITS = 6  # of 64 that may differ
THUMBNAIL_SIDE = 32
MIN_CORRELATION = 0.98  # of the thumbnails
ROWS_AT_ONCE = 256


def find_near_duplicates(
    splits: Mapping[str, NDArray[np.uint8]], exact: set[tuple[str, int]]
) -> list[tuple[str, int, str, int]]:
    """Find the images that look nearly like one of an earlier split.

    Args:
        splits: Images `(N, C, H, W)` by the split's name, in order; those with a side below 64
            pixels are not compared.
        exact: Split and index of images that have a twin bit for bit, which are left out.

    Returns:
        Split and index of each image found, and the split and index of the image of an earlier
        split that is most like it.
    """
    if min(next(iter(splits.values())).shape[2:]) < SMALLEST_SIDE:
        return []
    names = list(splits)
    signs, thumbnails = _looks(splits)
    ends = np.cumsum([len(images) for images in splits.values()])
    split_of = np.repeat(np.arange(len(names)), [len(images) for images in splits.values()])
    start_of = ends - [len(images) for images in splits.values()]

    def place(index: int) -> tuple[str, int]:
        split = split_of[index]
        return names[split], int(index - start_of[split])

    found = []
    for index, candidates in _candidates(signs, start_of[split_of], int(ends[0])):
        likeness = thumbnails[candidates] @ thumbnails[index]
        best = int(likeness.argmax())
        if likeness[best] >= MIN_CORRELATION and place(index) not in exact:
            found.append((*place(index), *place(candidates[best])))
    return found


def _looks(
    splits: Mapping[str, NDArray[np.uint8]],
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the hashes `(N, 64)`, bits as -1 and 1, and the thumbnails `(N, 1024)`.

    Thumbnails have mean 0 and norm 1, so that their product is their correlation; that of a flat
    image is 0 and correlates with nothing.
    """
    signs, thumbnails = [], []
    for images in splits.values():
        for image in images:
            pixels = np.ascontiguousarray(image.transpose(1, 2, 0))
            grey = Image.fromarray(pixels.squeeze()).convert("L")
            steps = grey.resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BILINEAR)
            rising = np.diff(np.asarray(steps, dtype=np.int16), axis=1) > 0
            signs.append(np.where(rising, 1, -1).ravel().astype(np.float32))
            small = grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BILINEAR)
            values = np.asarray(small, dtype=np.float32).ravel()
            values = values - values.mean()
            thumbnails.append(values / max(float(np.linalg.norm(values)), 1.0))
    return np.stack(signs), np.stack(thumbnails)


def _candidates(
    signs: NDArray[np.float32], num_earlier: NDArray[np.int64], first: int
) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield each image from `first` on with those of earlier splits whose hash is close to its.

    Args:
        signs: Hashes `(N, 64)` of the images, split by split.
        num_earlier: `(N,)`, how many images the earlier splits have.
        first: Of the images to look at.
    """
    num_bits = signs.shape[1]
    for start in range(first, len(signs), ROWS_AT_ONCE):
        products = signs[start : start + ROWS_AT_ONCE] @ signs.T  # bits that agree - that differ
        for row, product in enumerate(products):
            index = start + row
            earlier = product[: num_earlier[index]]
            close = np.flatnonzero(earlier >= num_bits - 2 * MAX_BITS)
            if len(close):
                yield index, close
