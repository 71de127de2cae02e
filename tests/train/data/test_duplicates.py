"""The fingerprint of data; copies within and across splits, exact, or scaled and compressed."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from loading import load_splits
from PIL import Image, ImageEnhance, ImageFilter

from kdtool.recipe.data import FolderTable
from kdtool.train.data.checks import uncompared_warnings
from kdtool.train.data.duplicates import (
    examine,
    find_duplicates,
    find_near_duplicates,
    find_twins,
    fingerprint,
    num_pairs,
)

IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 1, 3, 4)
LABELS = np.array([0, 1])
CLASSES = ("cat", "dog")
BASE = fingerprint(CLASSES, [IMAGES, LABELS])


@given(st.integers(0, 23), st.integers(1, 255))
def test_the_fingerprint_changes_with_any_pixel(position, change):
    images = IMAGES.copy()
    images.flat[position] ^= change
    assert fingerprint(CLASSES, [images, LABELS]) != BASE


def test_the_fingerprint_changes_with_labels_names_shapes_and_order():
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


def test_the_fingerprint_does_not_change_with_the_layout_in_memory():
    strided = np.repeat(IMAGES, 2, axis=0)[::2]
    big_endian = LABELS.astype(">i8")
    assert not strided.flags.c_contiguous
    assert fingerprint(list(CLASSES), [strided, big_endian]) == BASE


def test_the_fingerprint_is_the_sha256_that_its_docstring_describes():
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
def test_duplicates_are_those_of_a_plain_loop(seed):
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


SIDE = 64


def scenes(num_images, seed, side=SIDE):
    """Blurred noise of several scales, `(N, 3, side, side)`: as different as photos are."""
    rng = np.random.default_rng(seed)
    images = np.zeros((num_images, side, side, 3))
    for cells, weight in ((3, 1.0), (7, 0.6), (16, 0.4)):
        for image in images:
            coarse = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
            scaled = Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC)
            image += weight * np.asarray(scaled)
    return np.ascontiguousarray((images / 2).clip(0, 255).astype(np.uint8).transpose(0, 3, 1, 2))


def as_jpeg(image):
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=40)
    return Image.open(stream)


CHANGES = {
    "compressed": as_jpeg,
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "scaled down and up": lambda image: image.resize((40, 40)).resize(image.size),
    "grey": lambda image: image.convert("L").convert("RGB"),
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_copies_are_found_with_their_originals(change):
    train, validation, test = scenes(60, 0), scenes(10, 1), scenes(20, 2)
    for index in range(8):
        copy = CHANGES[change](Image.fromarray(train[40 + index].transpose(1, 2, 0)))
        test[2 * index] = np.asarray(copy).transpose(2, 0, 1)
    splits = {"train": train, "validation": validation, "test": test}
    expected = [("test", 2 * index, "train", 40 + index) for index in range(8)]
    assert find_near_duplicates(splits, set()) == expected
    assert find_near_duplicates(splits, {("test", 0)}) == expected[1:]


def test_different_images_are_no_near_duplicates():
    assert find_near_duplicates({"train": scenes(700, 3), "test": scenes(300, 4)}, set()) == []


def test_copies_within_a_split_and_flat_images_are_no_near_duplicates():
    train, test = scenes(20, 0), scenes(10, 1)
    train[3] = train[4]
    train[5:8], test[5:8] = 255, 254
    assert find_near_duplicates({"train": train, "test": test}, set()) == []


def test_small_images_are_not_compared_as_they_look_alike_too_often():
    train, test = scenes(20, 0, side=63), scenes(10, 1, side=63)
    test[:] = train[:10]
    test[:, 0, 0, 0] ^= 1
    assert find_near_duplicates({"train": train, "test": test}, set()) == []


def test_every_pair_of_two_splits_is_one_comparison():
    splits = {"train": scenes(7, 0), "validation": scenes(3, 1), "test": scenes(2, 2)}
    assert num_pairs(splits) == 7 * 3 + 7 * 2 + 3 * 2
    assert num_pairs({"train": scenes(7, 0, side=63), "test": scenes(3, 1, side=63)}) == 0


def test_pairs_that_are_too_many_are_not_compared_and_it_is_said(monkeypatch):
    train = scenes(20, 0)
    splits = {"train": train, "test": train // 4 * 3}

    def found():
        return examine(CLASSES, splits, [], [])

    monkeypatch.setattr("kdtool.train.data.duplicates.MOST_PAIRS", 20 * 20)
    assert len(found().near) == 20
    assert uncompared_warnings(found().uncompared) == []
    monkeypatch.setattr("kdtool.train.data.duplicates.MOST_PAIRS", 20 * 20 - 1)
    assert found().near == []
    (text,) = uncompared_warnings(found().uncompared)
    assert "400 pairs are more than the 399 that are compared" in text


def test_thumbnails_larger_than_the_memory_are_not_made_and_it_is_said(tmp_path):
    images = scenes(40, 5).transpose(0, 2, 3, 1)
    images[39] = images[0]
    for index, image in enumerate(images):
        folder = tmp_path / "set" / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        image = ImageEnhance.Brightness(Image.fromarray(image)).enhance(1 + 0.15 * (index == 39))
        image.save(folder / f"{index:02}.png")
    num_bytes = 40 * 4 * (32**2 + 256)  # less than the images, which are in a file in each case
    for room, is_compared in [(0, True), (-1, False), (0, True)]:
        warned = []
        memory = f"{(num_bytes + room) / 10**6:.6f} MB"
        table = FolderTable(source="folder", root=tmp_path / "set", test=0.5, memory=memory)
        result = load_splits(table, warned.append).result
        assert result.read_from.where == "disk"
        assert result.num_near_duplicates == is_compared
        texts = [text for text in warned if "were not searched for near copies" in text]
        assert len(texts) == (not is_compared)
    assert texts == []


def test_near_duplicates_are_reported_with_the_names_of_their_files(tmp_path):
    images = scenes(40, 5).transpose(0, 2, 3, 1)
    for index, image in enumerate(images):
        folder = tmp_path / ("train" if index < 30 else "test") / "ab"[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")
    as_jpeg(Image.fromarray(images[2])).save(tmp_path / "test" / "a" / "copy.png")
    warnings = []
    table = FolderTable(source="folder", root=tmp_path)
    result = load_splits(table, warnings.append).result
    assert (result.num_near_duplicates, result.num_duplicates) == (1, 0)
    assert result.near_duplicates[0][:2] == ("test", 5)
    assert result.warnings == warnings
    assert warnings[0].startswith("1 image looks nearly like one in another split, such as ")
    assert "test/a/copy.png (test) and train/a/2.png (" in warnings[0]
