"""Is a saliency map right? Delete or insert the pixels that it ranks first, and watch the score.

A faithful map makes the score fall fast when its pixels are deleted and rise fast when they are
inserted.

Source: Petsiuk et al. 2018, arXiv:1806.07421, section 4.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kdtool.edge.explain.maps import Pixels, Progress, Score, mean_colour, scores

STEPS = 16


def order_of(heatmap: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return the pixels `(H * W,)` of a map, highest first; among equals the first ones first."""
    return np.argsort(-heatmap.ravel(), kind="stable")


def deletion(
    image: Pixels, order: NDArray[np.int64], score: Score, at_once: int, progress: Progress
) -> NDArray[np.float64]:
    """Return the score while pixels are covered with the mean colour of the image.

    Args:
        image: `(H, W, C)`.
        order: `(H * W,)` of its pixels, from `order_of`.
        score: Of the class that is explained.
        at_once: Images that are scored together.
        progress: Called after each of these.

    Returns:
        `(STEPS + 1,)`: from the whole image to the mean colour alone.
    """
    blank = np.broadcast_to(mean_colour(image), image.shape)
    return scores(_replaced(image, blank, order), score, at_once, progress)


def insertion(
    image: Pixels, order: NDArray[np.int64], score: Score, at_once: int, progress: Progress
) -> NDArray[np.float64]:
    """Return the score while the mean colour is replaced with pixels of the image.

    As `deletion`; there the original starts from a blurred image.
    """
    blank = np.broadcast_to(mean_colour(image), image.shape)
    return scores(_replaced(blank, image, order), score, at_once, progress)


def area(curve: NDArray[np.floating]) -> float:
    """Return the mean height of a curve by the trapezoidal rule, in the unit of the score."""
    return float((curve[:-1] + curve[1:]).mean() / 2)


def _replaced(start: Pixels, end: Pixels, order: NDArray[np.int64]) -> Iterator[Pixels]:
    flat, target = start.reshape(len(order), -1).copy(), end.reshape(len(order), -1)
    done = 0
    for number in np.linspace(0, len(order), STEPS + 1).round().astype(int):
        flat[order[done:number]] = target[order[done:number]]
        done = number
        yield flat.reshape(start.shape).copy()
