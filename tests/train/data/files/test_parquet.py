"""Parquet files of Hugging Face: read as files in folders are, or told what is wrong."""

import errno
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from loading import load_splits
from pictures import numbers, save_classes, save_number

from kdtool.errors import OF_SYSTEM, DataError, KdtoolError
from kdtool.recipe.data import FolderTable, ParquetTable

SIDE = 20


def load(root, warn=pytest.fail, **settings):
    table = ParquetTable(source="parquet", root=root, **{"size": SIDE, **settings})
    return load_splits(table, warn)


def test_a_missing_package_is_an_error_that_says_how_to_get_it(tmp_path, monkeypatch):
    (tmp_path / "a.parquet").touch()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(KdtoolError, match=r'needs the package datasets: .*pip install "datasets>='):
        load(tmp_path)


def raised(error, *causes):
    """Return a function that raises an error with a chain of causes."""

    def from_parquet(*_arguments, **_settings):
        last = error
        for cause in causes:
            last.__cause__ = cause
            last = cause
        raise error

    return from_parquet


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS])
@pytest.mark.parametrize("wrapped", [0, 1, 2])
def test_a_full_disk_is_no_damaged_file(tmp_path, monkeypatch, user_cache, number, wrapped):
    """`datasets` raises errors of its own, with those of the system as their cause."""
    (tmp_path / "a.parquet").touch()
    chain = [RuntimeError("it failed"), RuntimeError("it failed")][:wrapped]
    chain.append(OSError(number, os.strerror(number)))
    module = SimpleNamespace(
        disable_progress_bars=lambda: None,
        Dataset=SimpleNamespace(from_parquet=raised(*chain)),
    )
    monkeypatch.setitem(sys.modules, "datasets", module)
    with pytest.raises(DataError) as caught:
        load(tmp_path)
    assert str(caught.value) == (
        f"cannot read {tmp_path}/a.parquet into {user_cache}/kdtool/parquet: {os.strerror(number)}"
        f"; {OF_SYSTEM[number]}, or set the environment variable XDG_CACHE_HOME to a folder on a "
        "larger disk"
    )
    damaged = [RuntimeError("it failed"), OSError("Couldn't deserialize thrift")]
    module.Dataset.from_parquet = raised(*damaged)
    with pytest.raises(DataError, match=r"  a\.parquet: it cannot be read \(Couldn't deserialize"):
        load(tmp_path)


@pytest.fixture(scope="module")
def datasets():
    return pytest.importorskip("datasets")


@pytest.fixture
def write(datasets):
    """Write a file of images (bytes) and their labels, as a data set of the hub has them."""

    def write_it(path, images, labels, *, kind=None, image=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        features = datasets.Features(
            image=image or datasets.Image(), label=kind or datasets.Value("string")
        )
        rows = {"image": images, "label": labels}
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(path))

    return write_it


@pytest.fixture
def pictures(tmp_path):
    """The bytes of 30 PNG files, each of its number."""
    for number in range(30):
        save_number(tmp_path / "png", f"{number}", number)
    return [{"bytes": (tmp_path / "png" / f"{n}.png").read_bytes()} for n in range(30)]


@pytest.mark.parametrize("memory", [None, "0.001 MB"])
def test_parquet_files_are_read_as_the_same_files_in_folders(tmp_path, datasets, write, memory):
    save_classes(tmp_path / "folder", 10)
    paths = sorted((tmp_path / "folder").rglob("*.*"))
    images = [{"bytes": path.read_bytes()} for path in paths]
    labels = [("cross", "disc").index(path.parent.name) for path in paths]
    kind = datasets.ClassLabel(names=["cross", "disc"])
    write(tmp_path / "set" / "0.parquet", images[:12], labels[:12], kind=kind)
    write(tmp_path / "set" / "1.parquet", images[12:], labels[12:], kind=kind)
    folder = FolderTable(source="folder", root=tmp_path / "folder", size=SIDE)
    expected = load_splits(folder, pytest.fail)
    found = load(tmp_path / "set", memory=memory)
    assert found.classes == ("cross", "disc")
    assert found.result.fingerprint == expected.result.fingerprint
    assert np.array_equal(found.test.pixels[:], expected.test.pixels)
    assert found.test_names[0].startswith("0.parquet/row ")
    assert found.result.description == "images in 2 parquet files of set"


def test_splits_and_columns_may_have_other_names(tmp_path, datasets, pictures):
    binary = datasets.Features(pixels=datasets.Value("binary"), kind=datasets.Value("int64"))
    for split, first in (("train", 0), ("test", 20)):
        part = range(first, first + (20 if split == "train" else 10))
        rows = {"pixels": [pictures[n]["bytes"] for n in part], "kind": [10 - n % 2 for n in part]}
        (tmp_path / "data").mkdir(exist_ok=True)
        path = tmp_path / "data" / f"{split}-00000-of-00001.parquet"
        datasets.Dataset.from_dict(rows, features=binary).to_parquet(str(path))
    shards = {"train": "data/train-*.parquet", "test": "data/test-*.parquet"}
    splits = load(tmp_path, shards=shards, image="pixels", label="kind")
    assert splits.classes == ("9", "10")
    assert numbers(splits.test) == [*range(20, 30)]
    assert splits.test.labels.tolist() == [1, 0] * 5


def test_wrong_files_are_listed_with_what_is_wrong(tmp_path, datasets, write, pictures):
    root = tmp_path / "set"
    kind = datasets.ClassLabel(names=["cat", "dog"])
    write(root / "0.parquet", pictures[:4], [0, 1, None, 1], kind=kind)
    write(root / "1.parquet", pictures[:2], [0, 1], kind=datasets.ClassLabel(names=["dog", "cat"]))
    (root / "2.parquet").write_bytes((root / "0.parquet").read_bytes()[:-100])
    datasets.Dataset.from_dict({"text": ["a"]}).to_parquet(str(root / "3.parquet"))
    with pytest.raises(DataError) as caught:
        load(root)
    head, *lines, advice = str(caught.value).splitlines()
    assert head == f"the files in {root} cannot be used as they are:"
    assert lines[:2] == [
        "  0.parquet: row 2 has no class",
        "  1.parquet has the classes dog, cat, others cat, dog",
    ]
    assert lines[2].startswith("  2.parquet: it cannot be read (Parquet magic bytes not found in")
    assert lines[3] == "  3.parquet: it has no column image, only text"
    assert advice.startswith("data.image and data.label name the columns")


def test_broken_and_missing_images_are_listed_by_row(tmp_path, write, pictures):
    images = [*pictures[:20], {"bytes": b"no picture"}, None]
    write(tmp_path / "set" / "0.parquet", images, ["a", "b"] * 11)
    with pytest.raises(DataError) as caught:
        load(tmp_path / "set")
    assert str(caught.value).splitlines()[:3] == [
        "2 of 22 files are broken:",
        "  0.parquet/row 20: not an image that Pillow can read; it begins with the text "
        "'no picture'",
        "  0.parquet/row 21: an empty file",
    ]


def test_two_columns_of_images_are_two_sets_of_decoded_images(tmp_path, datasets, pictures):
    kind = {"image": datasets.Image(), "other": datasets.Image(), "label": datasets.Value("int64")}
    rows = {"image": pictures, "other": pictures[::-1], "label": [n % 2 for n in range(30)]}
    (tmp_path / "set").mkdir()
    written = datasets.Dataset.from_dict(rows, features=datasets.Features(kind))
    written.to_parquet(str(tmp_path / "set" / "0.parquet"))
    for memory in ("0.001 MB", None):
        one = load(tmp_path / "set", memory=memory)
        other = load(tmp_path / "set", image="other", memory=memory)
        assert not np.array_equal(one.train.pixels[:], other.train.pixels[:])
        assert one.result.fingerprint != other.result.fingerprint


@pytest.mark.parametrize("memory", [None, "0.001 MB"])
def test_a_file_that_changed_is_read_again(tmp_path, write, pictures, memory):
    path = tmp_path / "set" / "0.parquet"
    found = []
    for images in (pictures[:20], pictures[10:]):
        write(path, images, ["a", "b"] * 10)
        splits = load(tmp_path / "set", memory=memory)
        found.append(
            sorted(
                n
                for one in (splits.train, splits.validation, splits.test)
                for n in one.pixels[:][:, 0, 0, 0].tolist()
            )
        )
    assert found == [[*range(20)], [*range(10, 30)]]
