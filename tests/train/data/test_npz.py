"""NumPy files in the layout of MedMNIST."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from loading import load_splits

from kdtool.errors import DataError
from kdtool.recipe.data import NpzTable
from kdtool.recipe.load import load_recipe

RECIPE = Path(__file__).parents[3] / "recipes" / "pneumoniamnist.toml"


def content(*channels, splits=("train", "val", "test"), size=7):
    generator = np.random.default_rng(0)
    arrays = {}
    for split, count in zip(splits, (20, 6, 10), strict=False):
        shape = (count, size, size + 1, *channels)
        arrays[f"{split}_images"] = generator.integers(0, 256, shape, dtype=np.uint8)
        arrays[f"{split}_labels"] = (np.arange(count) % 2)[:, None].astype(np.uint8)
    return arrays


@pytest.fixture
def load(tmp_path):
    def load(arrays, **settings):
        np.savez_compressed(tmp_path / "set.npz", **arrays)
        table = NpzTable(source="npz", root=tmp_path, file=Path("set.npz"), **settings)
        return load_splits(table, pytest.fail)

    return load


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_each_split_is_that_of_the_file(load, channels):
    arrays = content(*channels)
    splits = load(arrays)
    for name, split in (("train", splits.train), ("val", splits.validation), ("test", splits.test)):
        images = arrays[f"{name}_images"].reshape(len(split), 7, 8, -1).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(split.images.numpy(), images)
        np.testing.assert_array_equal(split.labels.numpy(), arrays[f"{name}_labels"][:, 0])
    assert splits.classes == ("0", "1")
    assert splits.result.image_shape == (*(channels or (1,)), 7, 8)


def test_labels_may_be_boolean_and_other_arrays_are_not_read(load):
    plain = load(content())
    yes_or_no = {
        name: array.astype(bool) if "labels" in name else array for name, array in content().items()
    }
    splits = load({**yes_or_no, "note": np.array([{}], dtype=object)})
    assert splits.result == plain.result


def test_validation_is_drawn_where_there_is_none(load):
    arrays = {name: array for name, array in content().items() if "val" not in name}
    assert load(arrays).result.class_counts["validation"] == [1, 1]


def test_the_recipe_reads_pneumoniamnist(tmp_path):
    recipe = load_recipe(RECIPE, [f"data.root={tmp_path}"])
    with pytest.raises(
        DataError, match=r"pneumoniamnist\.npz .* download the data from https://medmnist\.com"
    ):
        load_splits(recipe.data, pytest.fail)
    np.savez(tmp_path / "pneumoniamnist.npz", **content(size=27))
    assert load_splits(recipe.data, pytest.fail).classes == ("normal", "pneumonia")


def changed(**arrays):
    return {**content(), **arrays}


def without(name):
    return {key: array for key, array in content().items() if key != name}


def renamed(arrays, **names):
    return {
        f"{names.get(split, split)}_{kind}": arrays[f"{split}_{kind}"]
        for split, kind in (name.split("_") for name in arrays)
    }


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "eval", "VAL"])
def test_without_test_arrays_the_validation_arrays_are_the_test_split(tmp_path, name):
    arrays = content()
    given = {key: array for key, array in arrays.items() if "test" not in key}
    np.savez(tmp_path / "set.npz", **renamed(given, val=name))
    warnings = []
    table = NpzTable(source="npz", root=tmp_path, file=Path("set.npz"))
    splits = load_splits(table, warnings.append)
    assert warnings == [
        f"{name} is used as the test split, as there is no other; validation images are drawn from "
        "train (data.validation)"
    ]
    np.testing.assert_array_equal(splits.test.images[:, 0].numpy(), arrays["val_images"])
    assert (len(splits.train), len(splits.validation)) == (18, 2)


@pytest.mark.parametrize("names", [{"val": "valid"}, {"val": "Dev", "train": "training"}])
def test_arrays_may_have_other_names_of_splits(load, names):
    assert load(renamed(content(), **names)).result == load(content()).result


def test_all_that_is_wrong_with_the_arrays_is_listed(load):
    with pytest.raises(DataError) as caught:
        load(changed(test_images=np.zeros((10, 7, 8)), val_labels=np.full((6, 1), -1)))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("set.npz: 2 problems:")
    assert lines[1:3] == [
        "  test_images holds float64 of shape (10, 7, 8), expected uint8 (N, H, W) or (N, H, W, 3)",
        "  val_labels holds the label -1, expected 0 or more",
    ]


BAD = {
    "no test": (without("test_images"), {}, "lacks test images; it has test_labels, train_images"),
    "half of val": (
        without("val_labels"),
        {},
        "lacks validation labels; it has test_images, test_labels, train_images",
    ),
    "float": (changed(test_images=np.zeros((10, 7, 8))), {}, "test_images holds float64 of shape"),
    "volumes": (
        changed(train_images=np.zeros((20, 7, 8, 7), np.uint8)),
        {},
        "train_images holds uint8 of shape (20, 7, 8, 7), expected uint8 (N, H, W) or (N, H, W, 3)",
    ),
    "no images": (changed(val_images=np.zeros((0, 7, 8), np.uint8)), {}, "holds no images"),
    "several labels": (
        changed(train_labels=np.zeros((20, 14), np.uint8)),
        {},
        "train_labels holds uint8 of shape (20, 14), expected whole numbers (N, 1)",
    ),
    "negative": (changed(train_labels=np.full((20, 1), -1)), {}, "holds the label -1"),
    "label missing": (
        changed(train_labels=np.zeros((19, 1), np.uint8)),
        {},
        "20 train images and 19 labels, expected one label for each image",
    ),
    "two sizes": (changed(test_images=np.zeros((10, 9, 9), np.uint8)), {}, "expected one shape"),
    "more labels than classes": (
        changed(val_labels=np.full((6, 1), 2)),
        {"classes": ["a", "b"]},
        "holds the label 2, expected 0 to 1: data.classes has a, b",
    ),
    "one class": (
        changed(
            **{
                f"{name}_labels": np.zeros((n, 1), int)
                for name, n in (("train", 20), ("val", 6), ("test", 10))
            }
        ),
        {},
        "got the classes 0; expected at least two",
    ),
    "a split twice": (
        {**content(), "valid_images": np.zeros(1), "valid_labels": np.zeros(1)},
        {},
        "has a split twice; it has test_images, test_labels, train_images",
    ),
    "objects": (
        changed(test_labels=np.array([{}] * 10, dtype=object)),
        {},
        "Object arrays cannot be loaded",
    ),
    "a number for a label": (
        changed(test_labels=np.full((10, 1), 10**12)),
        {},
        "the label 1,000,000,000,000, and 20 train images",
    ),
}


@pytest.mark.parametrize(("arrays", "settings", "message"), BAD.values(), ids=BAD.keys())
def test_files_that_cannot_be_used_have_their_message(load, arrays, settings, message):
    with pytest.raises(DataError) as caught:
        load(arrays, **settings)
    assert message in str(caught.value)


def cut(path):
    np.savez(path, **content())
    path.write_bytes(path.read_bytes()[:500])


def no_array(path):
    np.savez(path, **without("val_labels"))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("val_labels.npy", b"no array")


def bomb(path):
    np.savez(path, **without("train_images"))
    header = io.BytesIO()
    shape = {"descr": "|u1", "fortran_order": False, "shape": (10**9, 1000, 1000)}
    np.lib.format.write_array_header_1_0(header, shape)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("train_images.npy", header.getvalue() + bytes(100))


def flip(path):
    np.savez_compressed(path, **content())
    data = bytearray(path.read_bytes())
    data[200:230] = bytes(30)
    path.write_bytes(data)


NO_NPZ = {
    "cut": (cut, "is corrupt or not a numeric .npz: "),
    "damaged": (flip, "is corrupt or not a numeric .npz: "),
    "a header that claims too much": (bomb, "is corrupt or not a numeric .npz: "),
    "text": (
        lambda path: path.write_text("a,b\n1,2"),
        "is corrupt or not a numeric .npz: File is not a zip file; the file begins with the text "
        "'a,b'; download it again",
    ),
    "a page of errors": (
        lambda path: path.write_text("# kdtool"),
        "the file begins with the text '# kdtool'; download it again",
    ),
    "nothing": (lambda path: path.touch(), "the file is empty; download it again"),
    "one array": (
        lambda path: np.save(path.open("wb"), np.zeros(3)),
        "is corrupt or not a numeric .npz: ",
    ),
    "no array": (no_array, "val_labels holds bytes of shape ()"),
    "a folder": (lambda path: path.mkdir(), "cannot read"),
}


@pytest.mark.parametrize(("make", "message"), NO_NPZ.values(), ids=NO_NPZ.keys())
def test_a_file_that_is_no_npz_is_an_error(tmp_path, make, message):
    make(tmp_path / "set.npz")
    table = NpzTable(source="npz", root=tmp_path, file=Path("set.npz"))
    with pytest.raises(DataError) as caught:
        load_splits(table, pytest.fail)
    assert message in str(caught.value)
