"""The fingerprint, and images that stand in two splits."""

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kdtool.train.data.duplicates import find_duplicates, find_twins, fingerprint

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4)
LABELS = np.array([0, 1])
CLASSES = ("cat", "dog")
BASE = fingerprint(CLASSES, [IMAGES, LABELS])


@given(st.integers(0, 23), st.integers(1, 255))
def test_it_changes_with_any_pixel(position, change):
    images = IMAGES.copy()
    images.flat[position] ^= change
    assert fingerprint(CLASSES, [images, LABELS]) != BASE


def test_it_changes_with_labels_names_shapes_and_order():
    others = [
        fingerprint(CLASSES, [IMAGES, np.array([1, 0])]),
        fingerprint(("cat", "eel"), [IMAGES, LABELS]),
        fingerprint(("dog", "cat"), [IMAGES, LABELS]),
        fingerprint(("catdog", ""), [IMAGES, LABELS]),
        fingerprint(CLASSES, [IMAGES.reshape(2, 1, 4, 3), LABELS]),
        fingerprint(CLASSES, [IMAGES[:1], IMAGES[1:], LABELS]),
        fingerprint(CLASSES, [LABELS, IMAGES]),
        fingerprint(CLASSES, [IMAGES, LABELS.astype(np.int32)]),
    ]
    assert len({BASE, *others}) == 1 + len(others)


def test_it_does_not_change_with_the_layout_in_memory():
    strided = np.repeat(IMAGES, 2, axis=0)[::2]
    big_endian = LABELS.astype(">i8")
    assert not strided.flags.c_contiguous
    assert fingerprint(list(CLASSES), [strided, big_endian]) == BASE


def test_it_is_the_sha256_that_its_docstring_says():
    header = b'[["cat", "dog"], [["|u1", [2, 1, 3, 4]], ["<i8", [2]]]]'
    content = header + IMAGES.tobytes() + LABELS.astype("<i8").tobytes()
    assert hashlib.sha256(content).hexdigest() == BASE


def distinct(start, count):
    """Images that differ in one pixel each; those of different starts have none in common."""
    images = np.zeros((count, 1, 3, 5), np.uint8)
    images[:, 0, 1, 2] = np.arange(start, start + count)
    return images


def test_distinct_images_are_no_duplicates():
    splits = {"train": distinct(0, 50), "validation": distinct(50, 20), "test": distinct(70, 30)}
    assert find_duplicates(find_twins(splits)) == []


def test_planted_duplicates_are_found_with_their_twins():
    train, validation, test = distinct(0, 50), distinct(50, 20), distinct(70, 30)
    validation[3] = train[40]
    test[7] = train[40]
    test[29] = validation[11]
    assert find_duplicates(
        find_twins({"train": train, "validation": validation, "test": test})
    ) == [
        ("validation", 3, "train", 40),
        ("test", 7, "train", 40),
        ("test", 29, "validation", 11),
    ]


def test_the_same_image_twice_in_one_split_is_no_duplicate():
    train, test = distinct(0, 50), distinct(50, 20)
    train[8] = train[9]
    test[1] = test[0]
    assert find_duplicates(find_twins({"train": train, "test": test})) == []


@given(st.integers(0, 2**32 - 1))
def test_it_counts_what_a_plain_loop_counts(seed):
    # One pixel of few values: many duplicates.
    pixels = np.random.default_rng(seed).integers(0, 12, (3, 9, 1, 1, 1)).astype(np.uint8)
    train, validation, test = (split.ravel().tolist() for split in pixels)
    expected = sum(p in train for p in validation) + sum(p in train + validation for p in test)
    listed = find_duplicates(
        find_twins(dict(zip(("train", "validation", "test"), pixels, strict=True)))
    )
    assert len(listed) == expected
    values = {"train": train, "validation": validation, "test": test}
    assert all(values[a][i] == values[b][j] for a, i, b, j in listed)
