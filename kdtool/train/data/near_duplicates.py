"""Images that look nearly like one of another split: scaled, compressed or brightened copies.

Crops, turned and mirrored images are not found.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Smaller images look alike too often: digits of MNIST, say.
SMALLEST_SIDE = 64
# Grey thumbnails are compared by their correlation. Measured on PneumoniaMNIST, enlarged to 64
# pixels: of 1,148 X-rays of validation and test none but the 8 exact copies comes above 0.97 with
# one of 4,708 to train on. A difference hash of 64 bits takes 610 for copies, where 2 may differ.
THUMBNAIL_SIDE = 32
MIN_CORRELATION = 0.98
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
    first, *_ = splits.values()
    if min(first.shape[2:]) < SMALLEST_SIDE:
        return []
    places = [(split, index) for split, images in splits.items() for index in range(len(images))]
    thumbnails = np.empty((len(places), THUMBNAIL_SIDE**2), dtype=np.float32)
    found = []
    begin = 0
    for images in splits.values():
        end = begin + len(images)
        for place, image in enumerate(images, start=begin):
            thumbnails[place] = _thumbnail(image)
        for start in range(begin, end if begin else 0, ROWS_AT_ONCE):
            likeness = thumbnails[start : min(start + ROWS_AT_ONCE, end)] @ thumbnails[:begin].T
            for row in np.flatnonzero(likeness.max(axis=1) >= MIN_CORRELATION).tolist():
                if places[start + row] not in exact:
                    found.append((*places[start + row], *places[int(likeness[row].argmax())]))
        begin = end
    return found


def _thumbnail(image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return a thumbnail `(1024,)` with mean 0 and norm 1: products of two are correlations.

    That of a flat image is 0, and correlates with nothing.
    """
    pixels = np.ascontiguousarray(image.transpose(1, 2, 0)).squeeze()
    small = Image.fromarray(pixels).convert("L").resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    values = np.asarray(small, dtype=np.float32).ravel()
    values = values - values.mean()
    scaled: NDArray[np.float32] = values / max(float(np.linalg.norm(values)), 1.0)
    return scaled
