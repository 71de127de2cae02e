"""The fingerprint of a set of data, and its exact and near duplicates."""

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import ValidationError

from kdtool.errors import StudyError
from kdtool.files import write_atomic
from kdtool.format import file_size, keyboard_text
from kdtool.results.base import Record, to_json
from kdtool.train.data.images import fits
from kdtool.train.data.large.stored import Images, StoredImages

Twins = tuple[str, int, str, int]  # split and index of an image, and of the first equal one


# Raise it when other duplicates are found, or the fingerprint is another: sets are examined again.
EXAMINED = 1


class Examined(Record):
    """What is known of the images of a set."""

    fingerprint: str
    twins: list[Twins]  # of `find_twins`
    near: list[Twins]  # of `find_near_duplicates`
    uncompared: str | None  # why these were not looked for, if they could be


def examine(
    classes: Sequence[str],
    images: Mapping[str, Images],
    arrays: Sequence[NDArray[np.int64]],
    groups: Sequence[Sequence[int]],
    memory: str | None = None,
) -> Examined:
    """Return the fingerprint and the duplicates of a set; those of a set in a file are kept there.

    Every image is read three times to find them: of many, that takes minutes in each process.

    Args:
        classes: Names of the classes, in order.
        images: By split, in order.
        arrays: Labels and split indices that belong to the fingerprint, in order.
        groups: The classes merged into each class; empty if none are.
        memory: `data.memory`.
    """
    uncompared = why_uncompared(images, memory)
    about = _place(classes, images, arrays, groups, is_compared=uncompared is None)
    if about is not None:
        try:
            return Examined.model_validate_json(about.read_bytes())
        except (OSError, ValidationError):  # not found yet, or damaged
            pass
    twins = find_twins(images)
    exact = {(split, index) for split, index, *_twin in find_duplicates(twins)}
    found = Examined(
        fingerprint=fingerprint(classes, [*images.values(), *arrays], groups),
        twins=twins,
        near=[] if uncompared else find_near_duplicates(images, exact),
        uncompared=uncompared,
    )
    if about is not None:
        with suppress(StudyError):  # a cache of somebody else, that can be read only
            write_atomic(about, to_json(found))
    return found


def _place(
    classes: Sequence[str],
    images: Mapping[str, Images],
    arrays: Sequence[NDArray[np.int64]],
    groups: Sequence[Sequence[int]],
    *,
    is_compared: bool,
) -> Path | None:
    """Return the file for what is found of a set in a file; None: it is in memory."""
    stored = [one for one in images.values() if isinstance(one, StoredImages)]
    if len(stored) < len(images):
        return None
    rows = [one.rows for one in stored]
    shapes = [array.shape for array in (*rows, *arrays)]
    head = [EXAMINED, is_compared, list(classes), list(images), [*map(list, groups)], shapes]
    digest = hashlib.sha256(json.dumps(head).encode())
    for array in (*rows, *arrays):
        digest.update(np.ascontiguousarray(array).data)
    return stored[0].path.with_suffix(f".{digest.hexdigest()[:16]}.json")


def fingerprint(
    classes: Sequence[str],
    arrays: Sequence[NDArray[np.generic] | StoredImages],
    groups: Sequence[Sequence[int]] = (),
) -> str:
    """Return the SHA-256 of names, types, shapes and bytes, in hex; the same on every machine.

    Args:
        classes: Names of the classes, in order.
        arrays: Images, labels and split indices, always in the same order.
        groups: The classes merged into each class; empty if none are.
    """
    parts = [[one] if isinstance(one, np.ndarray) else one.chunks() for one in arrays]
    header = [list(classes), [(_little(array).str, array.shape) for array in arrays]]
    if groups:
        header.append([list(group) for group in groups])
    # JSON has an end, and the shapes give the lengths: no two inputs have the same bytes.
    digest = hashlib.sha256(json.dumps(header).encode())
    for array in itertools.chain(*parts):
        digest.update(np.ascontiguousarray(array, _little(array)).data)
    return digest.hexdigest()


def _little(array: NDArray[np.generic] | StoredImages) -> np.dtype[np.generic]:
    """Return the type of an array's values, least byte first."""
    dtype = array.dtype if isinstance(array, np.ndarray) else np.dtype(np.uint8)
    return dtype.newbyteorder("<")


def find_duplicates(twins: Sequence[Twins]) -> list[Twins]:
    """Return those of `find_twins` that are in two splits."""
    return [one for one in twins if one[0] != one[2]]


def find_contradictions(
    twins: Sequence[Twins], labels: Mapping[str, NDArray[np.int64]]
) -> list[Twins]:
    """Return those of `find_twins` that have different labels.

    Args:
        twins: Of all images.
        labels: `(N,)` of each split.
    """
    return [
        (split, index, other, place)
        for split, index, other, place in twins
        if labels[split][index] != labels[other][place]
    ]


def find_twins(splits: Mapping[str, Images]) -> list[Twins]:
    """Find the images that equal an earlier one, bit for bit, of the same or an earlier split.

    Args:
        splits: Images `(N, C, H, W)` by split, in order.

    Returns:
        Split and index of each, and of the first image that equals it.
    """
    seen: dict[bytes, tuple[str, int]] = {}
    found = []
    for split, images in splits.items():
        for index, image in enumerate(images):
            # Digests, as a second copy of the images might not fit into memory.
            digest = hashlib.sha256(np.ascontiguousarray(image).data).digest()
            other, place = seen.setdefault(digest, (split, index))
            if (other, place) != (split, index):
                found.append((split, index, other, place))
    return found


# Smaller images look alike too often, such as digits of MNIST.
SMALLEST_SIDE = 64
# Grey thumbnails are compared by their correlation. Measured on PneumoniaMNIST, enlarged to 64
# pixels: of 1,148 X-rays of validation and test none but the 8 exact copies comes above 0.97 with
# one of 4,708 to train on. A difference hash of 64 bits takes 610 for copies, where 2 may differ.
THUMBNAIL_SIDE = 32
MIN_CORRELATION = 0.98
ROWS_AT_ONCE = 256
BYTES_AN_IMAGE = 4 * (THUMBNAIL_SIDE**2 + ROWS_AT_ONCE)  # its thumbnail, and how alike others are
# ImageNet's 178,000 images of validation and test with its 1,150,000 to train on: half an hour on
# two cores, and 7 GB of thumbnails and their likeness.
MOST_PAIRS = 2.5e11


def num_pairs(splits: Mapping[str, Images]) -> int:
    """Return how many pairs of images `find_near_duplicates` compares."""
    first, *_ = splits.values()
    if min(first.shape[2:]) < SMALLEST_SIDE:
        return 0
    sizes = [len(images) for images in splits.values()]
    return sum(size * sum(sizes[:place]) for place, size in enumerate(sizes))


def why_uncompared(splits: Mapping[str, Images], memory: str | None) -> str | None:
    """Return why near duplicates of large images are not looked for; None: they are.

    Args:
        splits: Images `(N, C, H, W)` by split, in order.
        memory: `data.memory`, which may hold what is compared.
    """
    pairs, num_images = num_pairs(splits), sum(map(len, splits.values()))
    if pairs > MOST_PAIRS:
        return f"{pairs:,} pairs are more than the {MOST_PAIRS:,.0f} that are compared"
    num_bytes = num_images * BYTES_AN_IMAGE
    if not pairs or fits(num_bytes, memory):
        return None
    return (
        f"thumbnails of {num_images:,} images take {keyboard_text(file_size(num_bytes))}, more "
        "than they may of the memory (data.memory)"
    )


def find_near_duplicates(
    splits: Mapping[str, Images], exact: set[tuple[str, int]]
) -> list[tuple[str, int, str, int]]:
    """Find the images that look nearly like one of an earlier split.

    Args:
        splits: Images `(N, C, H, W)` by split, in order; not compared if a side is below 64 pixels.
        exact: Split and index of exact duplicates, which are left out.

    Returns:
        Split and index of each image found, and the split and index of the image of an earlier
        split that is most like it.
    """
    if not num_pairs(splits):
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
