"""Saliency maps that need no gradients: the image is covered in part, and the answer is watched.

A `Score` answers images `(N, H, W, C)` with one number each, `(N,)`: the probability of the class
that is explained. What is covered gets the mean colour of the image.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from kdtool.results.explained import MapMethod

Pixels = NDArray[np.uint8]
Score = Callable[[Pixels], NDArray[np.floating]]
Progress = Callable[[int], None]  # called with the number of images that were scored

PATCHES = 8  # the side of an occluding patch is the shorter side of the image / this
GRID = 7  # cells of a mask of RISE, each side, as in the paper
KEPT = 0.5  # share of the cells that a mask keeps, as in the paper
NUM_MASKS = 1000


def occlusion(image: Pixels, score: Score, at_once: int, progress: Progress) -> NDArray[np.float32]:
    """Return how much the score falls where a square is covered.

    Squares overlap by half; a pixel gets the mean fall of the squares that cover it.

    Args:
        image: `(H, W, C)`.
        score: Of the class that is explained.
        at_once: Images that are scored together, at least 1.
        progress: Called after each of these.

    Returns:
        `(H, W)`; above 0 where covering lowers the score.

    Source: Zeiler and Fergus 2014, arXiv:1311.2901, section 4.2.
    """
    height, width, _ = image.shape
    side = max(1, min(height, width) // PATCHES)
    corners = [(top, left) for top in _starts(height, side) for left in _starts(width, side)]
    colour = mean_colour(image)

    def covered() -> Iterator[Pixels]:
        for top, left in corners:
            one = image.copy()
            one[top : top + side, left : left + side] = colour
            yield one

    (whole,) = score(image[None])
    falls = whole - scores(covered(), score, at_once, progress)
    total, times = np.zeros((height, width)), np.zeros((height, width))
    for (top, left), fall in zip(corners, falls, strict=True):
        total[top : top + side, left : left + side] += fall
        times[top : top + side, left : left + side] += 1
    return np.asarray(total / times, dtype=np.float32)


def rise(
    image: Pixels, score: Score, at_once: int, progress: Progress, num_masks: int = NUM_MASKS
) -> NDArray[np.float32]:
    """Return the mean score of random masks that keep a pixel, minus that of all masks.

    Args:
        image: `(H, W, C)`.
        score: Of the class that is explained.
        at_once: Images that are scored together, at least 1.
        progress: Called after each of these.
        num_masks: At least 1; the same masks in each call.

    Returns:
        `(H, W)`; above 0 where keeping a pixel raises the score.

    Source: Petsiuk et al. 2018, arXiv:1806.07421, equation 6. There the scores are not centred,
    which adds the same to all pixels, and masked pixels are those of the mean image.
    """
    height, width, _ = image.shape
    colour = mean_colour(image).astype(np.float32)

    def masked() -> Iterator[Pixels]:
        for mask in masks(height, width, num_masks):
            kept = mask[..., None]
            yield np.rint(kept * image + (1 - kept) * colour).astype(np.uint8)

    found = scores(masked(), score, at_once, progress)
    total, share = np.zeros((height, width)), np.zeros((height, width))
    for mask, value in zip(masks(height, width, num_masks), found, strict=True):
        total += value * mask
        share += mask
    return np.asarray(total / np.maximum(share, 1e-12) - found.mean(), dtype=np.float32)


def masks(height: int, width: int, number: int) -> Iterator[NDArray[np.float32]]:
    """Yield smooth random masks `(H, W)` in [0, 1]: a coarse grid, enlarged and shifted."""
    generator = np.random.default_rng(0)
    cells = [-(-side // GRID) for side in (height, width)]  # pixels of a cell
    for _ in range(number):
        grid = (generator.random((GRID + 2, GRID + 2)) < KEPT).astype(np.float32)
        places = [
            (generator.integers(cell) + np.arange(side)) / cell
            for side, cell in zip((height, width), cells, strict=True)
        ]
        yield _enlarged(grid, *places)


def scores(
    images: Iterator[Pixels], score: Score, at_once: int, progress: Progress
) -> NDArray[np.float64]:
    """Return the scores `(N,)` of images, some at once; none of the images is kept."""
    found: list[NDArray[np.floating]] = []
    batch: list[Pixels] = []
    for image in images:
        batch.append(image)
        if len(batch) == at_once:
            found.append(score(np.stack(batch)))
            progress(len(batch))
            batch = []
    if batch:
        found.append(score(np.stack(batch)))
        progress(len(batch))
    return np.concatenate(found).astype(np.float64)


def num_scored(shape: tuple[int, ...], method: MapMethod, num_masks: int) -> int:
    """Return how many covered images a map of an image `(H, W, C)` takes."""
    height, width, _ = shape
    if method == "rise":
        return num_masks
    side = max(1, min(height, width) // PATCHES)
    return len(_starts(height, side)) * len(_starts(width, side))


def mean_colour(image: Pixels) -> NDArray[np.uint8]:
    """Return the mean of each channel of an image `(H, W, C)`: `(C,)`."""
    return np.asarray(np.rint(image.mean(axis=(0, 1))), dtype=np.uint8)


def _starts(length: int, side: int) -> list[int]:
    """Return where patches start: half a side apart, the last at the very end."""
    last = length - side
    return sorted({*range(0, last, max(1, side // 2)), last})


def _enlarged(
    grid: NDArray[np.float32], rows: NDArray[np.floating], columns: NDArray[np.floating]
) -> NDArray[np.float32]:
    """Return a grid at real-valued rows and columns, interpolated linearly."""
    for axis, places in enumerate((rows, columns)):
        low = np.minimum(places.astype(int), grid.shape[axis] - 2)
        weight = (places - low).astype(np.float32)
        weight = weight[:, None] if axis == 0 else weight[None, :]
        grid = np.take(grid, low, axis) * (1 - weight) + np.take(grid, low + 1, axis) * weight
    return grid
