"""Image sets in the IDX format of MNIST; each damaged file is an error that names it."""

import gzip
import io
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import DataError, reason
from kdtool.recipe.data import IdxFiles, IdxTable
from kdtool.train.data.images import check_memory
from kdtool.train.data.source import SourceData, beginning

Kind = Literal["images", "labels"]
# Two zero bytes, 8 for unsigned bytes, number of dimensions.
# Source: "The IDX file format", http://yann.lecun.com/exdb/mnist/.
MAGIC: dict[Kind, bytes] = {"images": b"\0\0\x08\x03", "labels": b"\0\0\x08\x01"}
GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 1 << 20
MOST_UNPACKED = (
    1032  # times the size of a gzip file at most. Source: https://zlib.net/zlib_tech.html
)
GET_AGAIN = "download the file again"


def load_idx(table: IdxTable) -> SourceData:
    """Return the set of source "idx": four files of any names under `data.root`.

    Raises:
        DataError: A file is missing or damaged, or the four do not fit together.
    """
    description = f"IDX files in {table.root.name}"
    return read_set(table.root, table.files, classes=table.classes, description=description)


def find_file(path: Path) -> Path | None:
    """Return `path`, or the same with .gz added or removed, whichever exists."""
    other = path.with_suffix("") if path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
    return next((candidate for candidate in (path, other) if candidate.is_file()), None)


def missing_files(folder: Path, files: IdxFiles) -> list[str]:
    """Return which of the four files `folder` has neither plain nor as .gz."""
    names: list[Path] = list(files.model_dump().values())
    return [str(name) for name in names if find_file(folder / name) is None]


def read_set(
    folder: Path, files: IdxFiles, *, classes: Sequence[str] | None, description: str
) -> SourceData:
    """Read four files that make one set.

    Args:
        folder: Folder of the files.
        files: Their names; each file may be plain or .gz.
        classes: Names, one for each label from 0; None: the labels themselves.
        description: Of the set, for results and report.

    Raises:
        DataError: Files are missing or damaged, all of which are listed, or do not fit together.
    """
    if missing := missing_files(folder, files):
        raise DataError(
            f"{folder} lacks {', '.join(missing)}, plain or .gz; check data.root and data.files"
        )
    read: dict[str, NDArray[np.uint8]] = {}
    damaged = []
    for key, name in files.model_dump().items():
        found = find_file(folder / name)
        assert found is not None
        try:
            read[key] = read_idx(found, "images" if key.endswith("images") else "labels")
        except DataError as error:
            damaged.append(str(error))
    if damaged:
        raise DataError("\n".join(damaged))
    _check_fit(folder, files, read)
    train_images, test_images = read["train_images"][:, None], read["test_images"][:, None]
    train_labels = read["train_labels"].astype(np.int64)
    test_labels = read["test_labels"].astype(np.int64)
    highest = int(max(train_labels.max(), test_labels.max()))
    names = tuple(classes) if classes is not None else tuple(map(str, range(highest + 1)))
    for path, labels in ((files.train_labels, train_labels), (files.test_labels, test_labels)):
        if labels.max() >= len(names):
            raise DataError(
                f"{folder}: {path} holds the label {labels.max()}, expected 0 to {len(names) - 1}: "
                f"data.classes has {', '.join(names)}"
            )
    return SourceData(
        description=description,
        classes=names,
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
    )


def read_idx(path: Path, kind: Kind) -> NDArray[np.uint8]:
    """Read one file, gzip if its name ends in .gz, as `(N, H, W)` images or `(N,)` labels.

    Memory grows with what the file holds, not with the size in its header.

    Raises:
        DataError: The file cannot be read, or its content does not match its header.
    """
    data = bytearray()
    num_dims = MAGIC[kind][-1]
    header_bytes = 4 + 4 * num_dims
    with _opened(path) as file:
        _fill(data, file, 4, path)
        _check_magic(bytes(data), kind, path)
        _fill(data, file, header_bytes, path)
        shape = struct.unpack(f">{num_dims}I", data[4:])
        content = f"{shape[0]:,} {kind}" + (f" of {_size(shape)} pixels" if shape[1:] else "")
        if not math.prod(shape):
            raise DataError(f"{path} holds {content}, expected at least one; {GET_AGAIN}")
        most = path.stat().st_size * (MOST_UNPACKED if path.suffix == ".gz" else 1)
        check_memory(min(math.prod(shape), most), f"the {content} of {path}", "use fewer images")
        _fill(data, file, header_bytes + math.prod(shape), path)
        if _more_follows(file, path):
            raise DataError(
                f"{path} has more data after the {content} of its header: expected {len(data):,} "
                f"bytes, got more; {GET_AGAIN}"
            )
    return np.frombuffer(data, np.uint8, offset=header_bytes).reshape(shape)


def _check_fit(folder: Path, files: IdxFiles, read: dict[str, NDArray[np.uint8]]) -> None:
    names = files.model_dump()
    problems = [
        f"{folder / names[f'{split}_images']} holds {len(read[f'{split}_images']):,} images, "
        f"{folder / names[f'{split}_labels']} {len(read[f'{split}_labels']):,} labels; expected "
        "one label for each image: are both of the same split?"
        for split in ("train", "test")
        if len(read[f"{split}_images"]) != len(read[f"{split}_labels"])
    ]
    sizes = {split: _size(read[f"{split}_images"].shape) for split in ("train", "test")}
    if sizes["train"] != sizes["test"]:
        problems.append(
            f"{folder}: {files.train_images} holds images of {sizes['train']} pixels, "
            f"{files.test_images} of {sizes['test']}; expected one size"
        )
    if problems:
        raise DataError("\n".join(problems))


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedIOBase]:
    """Open a file, gzip if its name ends in .gz; errors inside become a DataError."""
    try:
        with path.open("rb") as file:
            start = file.peek(len(GZIP_MAGIC))
            if not start:
                raise DataError(f"{path} is truncated: it is empty; {GET_AGAIN}")
            is_gzip, named_gzip = start.startswith(GZIP_MAGIC), path.suffix == ".gz"
            if named_gzip and not is_gzip:
                raise DataError(
                    f"{path} is named .gz but is not gzip: it {beginning(start)}; rename it or "
                    f"{GET_AGAIN}"
                )
            if is_gzip and not named_gzip:
                raise DataError(f"{path} is gzip but not named .gz; rename it to {path.name}.gz")
            yield gzip.GzipFile(fileobj=file) if is_gzip else file
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is damaged: {reason(error)}; {GET_AGAIN}") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {reason(error)}") from error


def _fill(data: bytearray, file: io.BufferedIOBase, expected: int, path: Path) -> None:
    """Read on until `data` has `expected` bytes."""
    try:
        while len(data) < expected:
            chunk = file.read1(min(CHUNK_BYTES, expected - len(data)))
            if not chunk:
                raise EOFError
            data += chunk
    except EOFError as error:  # gzip raises the same for a stream that is cut off
        raise DataError(
            f"{path} is truncated: expected {expected:,} bytes"
            f"{' when unpacked' if path.suffix == '.gz' else ''}, got {len(data):,}; {GET_AGAIN}"
        ) from error


def _more_follows(file: io.BufferedIOBase, path: Path) -> bool:
    """Read past the end, which also makes gzip compare its checksum."""
    try:
        return bool(file.read1(1))
    except EOFError as error:
        raise DataError(
            f"{path} is truncated: its gzip checksum is cut off; {GET_AGAIN}"
        ) from error


def _check_magic(given: bytes, kind: Kind, path: Path) -> None:
    if given == MAGIC[kind]:
        return
    other: Kind = "labels" if kind == "images" else "images"
    if given == MAGIC[other]:
        raise DataError(f"{path} holds {other}, expected {kind}: are two files swapped?")
    raise DataError(
        f"{path} is not an IDX file of {kind}: it {beginning(given)}, expected the bytes "
        f"0x{MAGIC[kind].hex()}; {GET_AGAIN}"
    )


def _size(shape: tuple[int, ...]) -> str:
    height, width = shape[-2:]
    return f"{width} x {height}"
