"""What tells one set of data from another, and images that stand in two splits."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Twins = tuple[str, int, str, int]  # split and index of an image, and of the first equal one


def fingerprint(
    classes: Sequence[str],
    arrays: Sequence[NDArray[np.generic]],
    groups: Sequence[Sequence[int]] = (),
) -> str:
    """Return the SHA-256 of names, types, shapes and bytes, in hex; the same on every machine.

    Args:
        classes: Names of the classes, in order.
        arrays: Images, labels and split indices, in an order that the caller keeps to.
        groups: The classes that are merged into each class; none without.
    """
    arrays = [np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for array in arrays]
    header = [list(classes), [(array.dtype.str, array.shape) for array in arrays]]
    if groups:
        header.append([list(group) for group in groups])
    # JSON says where it ends and the shapes say how long the bytes are: no two inputs run together.
    digest = hashlib.sha256(json.dumps(header).encode())
    for array in arrays:
        digest.update(array.data)
    return digest.hexdigest()


def find_duplicates(twins: Sequence[Twins]) -> list[Twins]:
    """Return those of `find_twins` that stand in two splits."""
    return [one for one in twins if one[0] != one[2]]


def find_contradictions(
    twins: Sequence[Twins], labels: Mapping[str, NDArray[np.int64]]
) -> list[Twins]:
    """Return those of `find_twins` that have two labels.

    Args:
        twins: Of all images.
        labels: `(N,)` of each split.
    """
    return [
        (split, index, other, place)
        for split, index, other, place in twins
        if labels[split][index] != labels[other][place]
    ]


def find_twins(splits: Mapping[str, NDArray[np.uint8]]) -> list[Twins]:
    """Find the images that stand, bit for bit, before, in the same or in an earlier split.

    Args:
        splits: Images `(N, C, H, W)` by the split's name, in order.

    Returns:
        Split and index of each, and the split and index of the first of its twins.
    """
    seen: dict[bytes, tuple[str, int]] = {}
    found = []
    for split, images in splits.items():
        for index, image in enumerate(images):
            # Digests instead of the images: a set may fill most of the memory.
            digest = hashlib.sha256(np.ascontiguousarray(image).data).digest()
            other, place = seen.setdefault(digest, (split, index))
            if (other, place) != (split, index):
                found.append((split, index, other, place))
    return found
