"""Rows of an array in another order, without a second array."""

import numpy as np
from numpy.typing import NDArray


def reorder(array: NDArray[np.uint8], order: NDArray[np.int64]) -> None:
    """Bring rows into another order, in place: images may fill most of the memory.

    Args:
        array: `(N, ...)`; changed so that its row i is what was row `order[i]`.
        order: `(N,)`, each row once.
    """
    source = order.tolist()
    for start in range(len(source)):
        if source[start] == start:
            continue
        held, place = array[start].copy(), start
        while source[place] != start:  # round the cycle that leads back to `start`
            array[place] = array[source[place]]
            source[place], place = place, source[place]
        array[place] = held
        source[place] = place
