"""What tells one set of data from another, and images that stand in two splits."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray


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


def find_duplicates(
    splits: Mapping[str, NDArray[np.uint8]],
) -> list[tuple[str, int, str, int]]:
    """Find the images that stand, bit for bit, in an earlier split too.

    Args:
        splits: Images `(N, C, H, W)` by the split's name, in order.

    Returns:
        Split and index of each image with a twin in an earlier split, and the split and index of
        the first twin.
    """
    return [twins for twins in _twins(splits) if twins[0] != twins[2]]


def find_contradictions(
    splits: Mapping[str, NDArray[np.uint8]], labels: Mapping[str, NDArray[np.int64]]
) -> list[tuple[str, int, str, int]]:
    """Find the images that stand, bit for bit, under another label before, in any split.

    Args:
        splits: Images `(N, C, H, W)` by the split's name, in order.
        labels: `(N,)` of each.

    Returns:
        As `find_duplicates`.
    """
    return [
        (split, index, other, place)
        for split, index, other, place in _twins(splits)
        if labels[split][index] != labels[other][place]
    ]


def _twins(splits: Mapping[str, NDArray[np.uint8]]) -> Iterator[tuple[str, int, str, int]]:
    """Yield split and index of each image that stood before, and those of the first such."""
    seen: dict[bytes, tuple[str, int]] = {}
    for split, images in splits.items():
        for index, image in enumerate(images):
            # Digests instead of the images: a set may fill most of the memory.
            digest = hashlib.sha256(np.ascontiguousarray(image).data).digest()
            other, place = seen.setdefault(digest, (split, index))
            if (other, place) != (split, index):
                yield split, index, other, place
