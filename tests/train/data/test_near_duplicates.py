"""Copies that were scaled, compressed or brightened; and no false alarms."""

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from kdtool.recipe.data import FolderTable
from kdtool.train.data.duplicates import find_near_duplicates
from kdtool.train.data.splits import load_splits

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
def test_changed_copies_are_found_with_their_twins(change):
    train, validation, test = scenes(60, 0), scenes(10, 1), scenes(20, 2)
    for index in range(8):
        copy = CHANGES[change](Image.fromarray(train[40 + index].transpose(1, 2, 0)))
        test[2 * index] = np.asarray(copy).transpose(2, 0, 1)
    splits = {"train": train, "validation": validation, "test": test}
    expected = [("test", 2 * index, "train", 40 + index) for index in range(8)]
    assert find_near_duplicates(splits, set()) == expected
    assert find_near_duplicates(splits, {("test", 0)}) == expected[1:]


def test_different_images_are_none():
    assert find_near_duplicates({"train": scenes(700, 3), "test": scenes(300, 4)}, set()) == []


def test_copies_within_a_split_and_flat_images_are_none():
    train, test = scenes(20, 0), scenes(10, 1)
    train[3] = train[4]
    train[5:8], test[5:8] = 255, 254
    assert find_near_duplicates({"train": train, "test": test}, set()) == []


def test_small_images_look_alike_anyway_and_are_not_compared():
    train, test = scenes(20, 0, side=63), scenes(10, 1, side=63)
    test[:] = train[:10]
    test[:, 0, 0, 0] ^= 1
    assert find_near_duplicates({"train": train, "test": test}, set()) == []


def test_they_are_told_with_the_names_of_the_files(tmp_path):
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
    assert warnings[0].startswith("1 image looks nearly like one of another split, such as ")
    assert "test/a/copy.png (test) and train/a/2.png (" in warnings[0]
