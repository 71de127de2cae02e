"""What tells one set of data from another, and images that stand in two splits."""

import hashlib
import json
from collections.abc import Mapping, Sequence

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
    seen: dict[bytes, tuple[str, int]] = {}
    found = []
    for split, images in splits.items():
        for index, image in enumerate(images):
            # Digests instead of the images: a set may fill most of the memory.
            digest = hashlib.sha256(np.ascontiguousarray(image).data).digest()
            twin, place = seen.setdefault(digest, (split, index))
            if twin != split:
                found.append((split, index, twin, place))
    return found
