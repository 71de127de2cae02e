"""Reading IDX files, and each way in which they can be damaged."""

import contextlib
import gzip
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from kdtool.errors import DataError
from kdtool.recipe.data import IdxFiles, IdxTable
from kdtool.train.data.idx import load_idx, read_idx

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
SMALL_IMAGES = bytes.fromhex("00000803 00000002 00000002 00000003") + bytes(range(12))


@given(
    arrays.arrays(
        np.uint8,
        st.one_of(
            arrays.array_shapes(min_dims=1, max_dims=1, max_side=50),
            arrays.array_shapes(min_dims=3, max_dims=3, max_side=9),
        ),
    ),
    st.booleans(),
)
def test_what_was_written_is_read(array, packed):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.tobytes()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("file.gz" if packed else "file")
        path.write_bytes(gzip.compress(content) if packed else content)
        read = read_idx(path, "images" if array.ndim == 3 else "labels")
    assert read.dtype == np.uint8
    np.testing.assert_array_equal(read, array)


DAMAGES = {
    "empty": (b"", "file is truncated: it is empty"),
    "within magic": (SMALL_IMAGES[:3], "file is truncated: expected 4 bytes, got 3"),
    "within header": (SMALL_IMAGES[:10], "file is truncated: expected 16 bytes, got 10"),
    "without pixels": (SMALL_IMAGES[:16], "file is truncated: expected 28 bytes, got 16"),
    "one byte short": (SMALL_IMAGES[:-1], "file is truncated: expected 28 bytes, got 27"),
    "one byte more": (
        SMALL_IMAGES + b"\0",
        "file has more data after the 2 images of 3 x 2 pixels of its header: expected 28 bytes",
    ),
    "a labels file": (
        bytes.fromhex("00000801 00000002 0102"),
        "file holds labels, expected images: are two files swapped?",
    ),
    "not IDX": (
        b"\x89PNG\r\n",
        "it begins with the bytes 0x89504e47, expected the bytes 0x00000803",
    ),
    "signed bytes": (b"\0\0\x09\x03" + SMALL_IMAGES[4:], "it begins with the bytes 0x00000903"),
    "text": (b"# kdtool", "it begins with the text '# kd', expected the bytes 0x00000803"),
    "no images": (
        bytes.fromhex("00000803 00000000 0000001c 0000001c"),
        "file holds 0 images of 28 x 28 pixels, expected at least one",
    ),
    "no pixels": (
        bytes.fromhex("00000803 00000002 00000000 0000001c"),
        "file holds 2 images of 28 x 0 pixels, expected at least one",
    ),
    "gzip without .gz": (gzip.compress(SMALL_IMAGES), "file is gzip but not named .gz"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGES.values(), ids=DAMAGES.keys())
def test_each_damage_has_its_message(tmp_path, content, message):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path, "images")
    assert str(path) in str(caught.value)
    assert message in str(caught.value)


PACKED = gzip.compress(SMALL_IMAGES, mtime=0)
PACKED_DAMAGES = {
    "plain": (
        SMALL_IMAGES,
        "file.gz is named .gz but is not gzip: it begins with the bytes 0x0000080300000002",
    ),
    "no checksum": (PACKED[:-8], "file.gz is truncated: its gzip checksum is cut off"),
    "cut off": (
        gzip.compress(SMALL_IMAGES, 0)[:-16],
        "file.gz is truncated: expected 28 bytes when unpacked, got 20",
    ),
    "wrong checksum": (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "file.gz is damaged: CRC check"),
    "wrong bits": (PACKED[:10] + b"\xff" * (len(PACKED) - 10), "file.gz is damaged: "),
    "short inside": (
        gzip.compress(SMALL_IMAGES[:-1]),
        "file.gz is truncated: expected 28 bytes when unpacked, got 27",
    ),
    "more inside": (
        gzip.compress(SMALL_IMAGES + b"\0"),
        "file.gz has more data after the 2 images",
    ),
    "text": (b"<html> an error", "is not gzip: it begins with the text '<html> an error'; rename"),
    "garbage behind": (
        PACKED + b"garbage",
        "file.gz is damaged: Not a gzipped file ('ga'); download the file again",
    ),
}


@pytest.mark.parametrize(("content", "message"), PACKED_DAMAGES.values(), ids=PACKED_DAMAGES.keys())
def test_each_damage_of_gzip_has_its_message(tmp_path, content, message):
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx(path, "images")
    assert message in str(caught.value)


@given(st.data(), st.sampled_from([SMALL_IMAGES, PACKED]))
def test_a_file_cut_off_anywhere_is_a_data_error(data, content):
    length = data.draw(st.integers(0, len(content) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("file.gz" if content is PACKED else "file")
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"truncated|not gzip"):
            read_idx(path, "images")


@given(st.data(), st.sampled_from([SMALL_IMAGES, PACKED]))
def test_a_changed_byte_is_a_data_error_or_a_changed_pixel(data, content):
    position = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[position] ^= data.draw(st.integers(1, 255))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("file.gz" if content is PACKED else "file")
        path.write_bytes(changed)
        with contextlib.suppress(DataError):
            images = read_idx(path, "images")
            # gzip has a checksum, and bytes that say nothing of the content, such as the time.
            assert np.array_equal(images.ravel(), range(12)) == (content is PACKED)


@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_claims_a_lot_takes_no_memory(tmp_path, packed):
    content = bytes.fromhex("00000803 ffffffff ffffffff ffffffff") + bytes(100)
    path = tmp_path / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(content) if packed else content)
    tracemalloc.start()
    with pytest.raises(DataError, match="expected 79,228,162,458,924,105,385,300,197,391 bytes"):
        read_idx(path, "images")
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 10e6


def test_a_folder_in_place_of_a_file_is_named(tmp_path):
    with pytest.raises(DataError, match=f"cannot read {tmp_path}: Is a directory"):
        read_idx(tmp_path, "images")


def idx_table(root, **settings):
    return IdxTable(source="idx", root=root, **settings)


def test_the_four_files_make_one_set(tmp_path, write_idx_set):
    written = write_idx_set(tmp_path)
    data = load_idx(idx_table(tmp_path))
    np.testing.assert_array_equal(data.train_images, written.train_images[:, None])
    np.testing.assert_array_equal(data.train_labels, written.train_labels)
    np.testing.assert_array_equal(data.test_images, written.test_images[:, None])
    np.testing.assert_array_equal(data.test_labels, written.test_labels)
    assert data.classes == ("0", "1", "2", "3")
    assert data.train_labels.dtype == np.int64


@pytest.mark.parametrize(("named", "there"), [("my.idx", "my.idx.gz"), ("my.idx.gz", "my.idx")])
def test_a_name_also_means_the_file_with_or_without_gz(
    tmp_path, write_idx_set, idx_bytes, named, there
):
    written = write_idx_set(tmp_path)
    (tmp_path / IMAGES).unlink()
    content = idx_bytes(255 - written.train_images)
    packed = there.endswith(".gz")
    (tmp_path / there).write_bytes(gzip.compress(content) if packed else content)
    data = load_idx(idx_table(tmp_path, files=IdxFiles(train_images=Path(named))))
    np.testing.assert_array_equal(data.train_images[:, 0], 255 - written.train_images)


def test_all_missing_files_are_named(tmp_path, write_idx_set):
    write_idx_set(tmp_path)
    (tmp_path / IMAGES).unlink()
    (tmp_path / LABELS).unlink()
    with pytest.raises(DataError, match=rf"{tmp_path} lacks {IMAGES}, {LABELS}, plain or \.gz"):
        load_idx(idx_table(tmp_path))


def test_swapped_files_are_an_error(tmp_path, write_idx_set):
    write_idx_set(tmp_path)
    files = IdxFiles(train_images=Path(LABELS), train_labels=Path(IMAGES))
    with pytest.raises(DataError, match=f"{LABELS} holds labels, expected images: .* swapped"):
        load_idx(idx_table(tmp_path, files=files))


def test_labels_of_the_other_split_are_an_error(tmp_path, write_idx_set):
    write_idx_set(tmp_path)
    files = IdxFiles(train_labels=Path("t10k-labels-idx1-ubyte"))
    with pytest.raises(DataError, match=f"{IMAGES} holds 40 images, .*t10k-labels.* 20 labels"):
        load_idx(idx_table(tmp_path, files=files))


def test_train_and_test_images_of_two_sizes_are_an_error(tmp_path, write_idx_set, idx_bytes):
    write_idx_set(tmp_path, size=6)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((20, 5, 7))))
    with pytest.raises(DataError, match="6 x 6 pixels, t10k-images-idx3-ubyte of 7 x 5"):
        load_idx(idx_table(tmp_path))


def test_a_label_without_a_class_name_is_an_error(tmp_path, write_idx_set):
    write_idx_set(tmp_path, num_classes=4)
    with pytest.raises(
        DataError, match=f"{LABELS} holds the label 3, expected 0 to 2: data.classes has cat, dog"
    ):
        load_idx(idx_table(tmp_path, classes=["cat", "dog", "eel"]))


def test_files_that_do_not_fit_into_memory_are_an_error_before_reading(tmp_path):
    with (tmp_path / "images").open("wb") as file:
        file.write(bytes([0, 0, 8, 3]) + np.array([10**6, 1000, 1000], ">u4").tobytes())
        file.truncate(10**12 + 16)  # no more than its first bytes lie on the disk
    with pytest.raises(
        DataError, match=r"the 1,000,000 images of 1000 x 1000 pixels of .* need 931\.3 GiB; this"
    ):
        read_idx(tmp_path / "images", "images")


def test_all_damaged_files_are_reported_at_once(tmp_path, write_idx_set):
    write_idx_set(tmp_path)
    (tmp_path / IMAGES).write_bytes(b"")
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"<html>")
    with pytest.raises(DataError) as caught:
        load_idx(idx_table(tmp_path))
    first, second = str(caught.value).splitlines()
    assert f"{IMAGES} is truncated: it is empty" in first
    assert "t10k-labels-idx1-ubyte is not an IDX file of labels: it begins with the text" in second
