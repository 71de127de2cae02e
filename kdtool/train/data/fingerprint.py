"""What tells one set of data from another, and images that stand in two splits."""

import hashlib
import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

NUM_LISTED = 20  # duplicates; results.json says "the first 20"


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
) -> tuple[int, list[tuple[str, int, str, int]]]:
    """Find the images that stand, bit for bit, in an earlier split too.

    Args:
        splits: Images `(N, C, H, W)` by the split's name, in order.

    Returns:
        How many images have a twin in an earlier split, and the first 20 of them: split, index,
        and the split and index of the first twin.
    """
    images = np.concatenate([images.reshape(len(images), -1) for images in splits.values()])
    lengths = [len(split_images) for split_images in splits.values()]
    split_of = np.repeat(np.arange(len(splits)), lengths)  # (N,), N over all splits
    start_of = np.cumsum([0, *lengths[:-1]])
    # One opaque item an image: numpy then sorts whole images, exactly and without a Python loop.
    items = images.view(f"V{images.shape[1]}")[:, 0]
    _, first, item_of = np.unique(items, return_index=True, return_inverse=True)
    twin = first[item_of]  # (N,), the first image with the same bytes
    found = np.flatnonzero(split_of[twin] < split_of)
    names = list(splits)

    def place(index: int) -> tuple[str, int]:
        split = int(split_of[index])
        return names[split], int(index - start_of[split])

    return len(found), [(*place(i), *place(twin[i])) for i in found[:NUM_LISTED]]
