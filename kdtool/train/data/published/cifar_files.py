"""The files of CIFAR-10 and CIFAR-100: pixels and labels, of which nothing is executed."""

import io
import json
import pickle
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdtool.errors import DataError, reason
from kdtool.recipe.cifar import Found
from kdtool.train.data.idx import GZIP_MAGIC
from kdtool.train.data.images import check_memory
from kdtool.train.data.source import beginning, first_of

SHAPE = (3, 32, 32)  # of an image; a binary or python file has first all red values, row by row
PIXELS = 3 * 32 * 32
NO_IMAGES = np.zeros((0, *SHAPE), np.uint8)
NO_LABELS = np.zeros(0, np.int64)
ADVICE = "use fewer images"


@dataclass(frozen=True, slots=True)
class Batch:
    """Images and labels of a file, or of the files of a split."""

    images: NDArray[np.uint8]  # (N, 3, 32, 32); none in a file of labels
    labels: NDArray[np.int64]  # (N,); none in a file of images


def contents_of(found: Found) -> dict[str, bytes]:
    """Return the content of each file of a form, from its folder or its archive.

    Raises:
        DataError: A file cannot be read, is not in the archive, or does not fit into memory.
    """
    place, files = found.place, found.form.files
    try:
        if not place.is_dir():
            return _unpacked(found)
        num_bytes = sum((place / file).stat().st_size for file in files)
        check_memory(num_bytes, f"the files of {place}", ADVICE)
        return {file: (place / file).read_bytes() for file in files}
    except OSError as error:
        raise DataError(f"cannot read {place}: {reason(error)}") from error


def _unpacked(found: Found) -> dict[str, bytes]:
    """Return the files of an archive; links in it are not followed."""
    place, files = found.place, found.form.files
    folder = PurePosixPath(found.form.folders[0])
    contents = {}
    with place.open("rb") as packed:
        start = packed.read(16)
    try:
        with tarfile.open(place, "r:gz") as archive:
            for member in archive:
                path = PurePosixPath(member.name)
                if path.parent == folder and path.name in files and member.isfile():
                    check_memory(member.size, f"{member.name} of {place}", ADVICE)
                    file = archive.extractfile(member)
                    assert file is not None
                    contents[path.name] = file.read()
    except (tarfile.TarError, EOFError, zlib.error) as error:
        unlike = "" if start.startswith(GZIP_MAGIC) else f"; it {beginning(start)}"
        raise DataError(
            f"{place} is damaged: {reason(error)}{unlike}; download it again"
        ) from error
    if missing := [file for file in files if file not in contents]:
        raise DataError(
            f"{place} lacks {', '.join(missing)} in its folder {folder}; download it again"
        )
    return contents


def read_binary(content: bytes, num_labels: int) -> Batch:
    """Read a file of the binary version: for each image its labels, a byte each, and its pixels.

    Args:
        content: Of the file.
        num_labels: Bytes before the pixels: 1 in CIFAR-10; in CIFAR-100 2, of which the second is
            the class of 100.

    Raises:
        ValueError: It is not a whole number of images.
    """
    size = num_labels + PIXELS
    if not content or len(content) % size:
        raise ValueError(
            f"holds {len(content):,} bytes, expected a multiple of {size:,}: "
            f"{num_labels} for the labels and {PIXELS:,} for the pixels of each image"
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, size)
    images = rows[:, num_labels:].reshape(-1, *SHAPE)
    return Batch(images, rows[:, num_labels - 1].astype(np.int64))


def read_png(content: bytes) -> Batch:
    """Read a PNG of the npm package: an image in each row, its pixels row by row, RGB.

    Raises:
        ValueError: It is not such a PNG.
    """
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as sheet:
            mode, size, rows = sheet.mode, sheet.size, np.asarray(sheet)  # (N, 1024, 3)
    except Exception as error:  # a broken file can raise almost any
        raise ValueError(f"is no whole PNG: {reason(error)}; it {beginning(content)}") from error
    if mode != "RGB" or size[0] != PIXELS // 3:
        raise ValueError(
            f"is a PNG of {size[0]:,} x {size[1]:,} pixels in mode {mode}, expected "
            f"{PIXELS // 3:,} in each row, RGB"
        )
    images = rows.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
    return Batch(np.ascontiguousarray(images), NO_LABELS)


def read_labels(content: bytes) -> Batch:
    """Read a JSON list of labels.

    Raises:
        ValueError: It is not one.
    """
    try:
        return Batch(NO_IMAGES, _as_labels(json.loads(content)))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"is no JSON: {reason(error)}; it {beginning(content)}") from error


def read_python(content: bytes, key: str) -> Batch:
    """Read a file of the python version, a pickle of a dictionary; it can name no code.

    Args:
        content: Of the file.
        key: Of the labels.

    Raises:
        ValueError: It is damaged, names code, or holds something else.
    """
    try:
        loaded = _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except _CodeError as error:
        raise ValueError(f"{error}; the file {beginning(content)}") from error
    except Exception as error:  # a damaged pickle can raise almost any
        raise ValueError(f"is no whole pickle: {reason(error)}; it {beginning(content)}") from error
    if not isinstance(loaded, dict):
        raise ValueError(f"holds a {type(loaded).__name__}, expected a dictionary")
    # Python 2 wrote text, read as latin1; a set that was written again may have bytes.
    entries = {
        name.decode("latin1") if isinstance(name, bytes) else name: loaded[name] for name in loaded
    }
    if missing := [name for name in ("data", key) if name not in entries]:
        raise ValueError(f"lacks {' and '.join(missing)}; it has {first_of([*map(str, entries)])}")
    images, labels = _as_pixels(entries["data"]), _as_labels(entries[key])
    if len(images) != len(labels):
        raise ValueError(
            f"holds {len(images):,} images and {len(labels):,} labels, expected one for each"
        )
    return Batch(images, labels)


def _as_labels(given: Any) -> NDArray[np.int64]:
    if not isinstance(given, list) or not given or any(type(one) is not int for one in given):
        raise ValueError("holds labels that are no list of whole numbers")
    return np.array([max(-1, min(one, 1 << 32)) for one in given], dtype=np.int64)


def _as_pixels(given: Any) -> NDArray[np.uint8]:
    pixels = given.pixels if isinstance(given, _Array) else None
    if pixels is None:
        raise ValueError(
            f"holds data that are no array of uint8 with {PIXELS:,} values for each image"
        )
    return pixels.reshape(-1, *SHAPE)


class _CodeError(Exception):
    """A pickle names something that could run code."""


class _Unpickler(pickle.Unpickler):
    """Reads lists, dictionaries, numbers, text, and arrays without a call to NumPy."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what stands in for a global; there is none for others than those of arrays."""
        try:
            return STAND_INS[module, name]
        except KeyError:
            raise _CodeError(
                f"names {module}.{name}, which could run code when the file is read"
            ) from None


class _Array:
    """Stands in for an array: keeps the content of one of uint8 `(N, 3072)`."""

    pixels: NDArray[np.uint8] | None = None

    def __init__(self, *_given: object) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, by_columns, content = state
        if (
            isinstance(dtype, _Dtype)
            and dtype.name == "u1"
            and isinstance(content, bytes | str)
            and isinstance(shape, tuple)
            and shape[1:] == (PIXELS,)
        ):
            given = content.encode("latin1") if isinstance(content, str) else content
            if given and len(given) == shape[0] * PIXELS:
                values = np.frombuffer(given, np.uint8)
                self.pixels = values.reshape(shape, order="F" if by_columns else "C")


class _Dtype:
    """Stands in for the type of an array."""

    def __init__(self, name: object = None, *_given: object) -> None:
        self.name = name

    def __setstate__(self, _state: object) -> None:
        pass


class _Bytes:
    """Stands in for what Python 3 writes for Python 2 where an object holds bytes."""

    def __new__(cls, text: str = "", _encoding: str = "latin1") -> Any:
        return text.encode("latin1")

    def __setstate__(self, _state: object) -> None:
        pass


STAND_INS: dict[tuple[str, str], type] = {
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Bytes,
    ("__builtin__", "bytes"): _Bytes,
}
