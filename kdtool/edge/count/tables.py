"""How much of a stored table was learned, from its values.

Exporters store what they can compute: a mask, or a table of position biases in the place of the
few that were learned and are gathered into it.
"""

from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from kdtool.edge.model_file import EXTERNAL

FLOATS = frozenset(
    (TensorProto.BFLOAT16, TensorProto.DOUBLE, TensorProto.FLOAT, TensorProto.FLOAT16)
)
NUM_LOOKED_AT = 64  # first values; they show for nearly all tables that they are no masks
# Our choices: gathered tables had at most a quarter of their vectors once, learned ones all. In
# 8 bits, short vectors are equal by chance.
MOST_DISTINCT = 0.5
SHORTEST_OF_INTEGERS = 3


def learned_elements(tensor: TensorProto) -> int:
    """Return how many numbers of a table were learned.

    Args:
        tensor: Is added to the result of a layer, or multiplied or joined with it. Where its values
            are in another file, or it has a single dimension, all of it was learned.
    """
    size = int(prod(tensor.dims))
    if sum(dim > 1 for dim in tensor.dims) < 2 or tensor.data_location == EXTERNAL:
        return size
    try:
        table = numpy_helper.to_array(tensor)
    except (TypeError, ValueError):  # its values do not fit its shape
        return size
    if _is_mask(table):
        return 0
    shortest = 1 if tensor.data_type in FLOATS else SHORTEST_OF_INTEGERS
    # The learned vectors had one element for each head: the last axis, or those before two others.
    for vectors in (
        table.reshape(-1, table.shape[-1]),
        table.reshape(prod(table.shape[:-2]), -1).T,
    ):
        if vectors.shape[1] >= shortest:
            distinct = _num_distinct(vectors)
            if 1 < distinct <= MOST_DISTINCT * len(vectors):
                return distinct * int(vectors.shape[1])
    return size


def _is_mask(table: NDArray[Any]) -> bool:
    """Return whether a table has zeros and at most one other value, as -100 in a Swin network."""
    values = table.ravel()
    return all(
        len({0.0, *np.unique(some).tolist()}) <= 2 for some in (values[:NUM_LOOKED_AT], values)
    )


def _num_distinct(vectors: NDArray[Any]) -> int:
    """Return the number of different rows; where most first elements differ, only theirs."""
    first = len(np.unique(vectors[:, 0]))
    if first > MOST_DISTINCT * len(vectors):
        return first
    return len(np.unique(vectors, axis=0))
