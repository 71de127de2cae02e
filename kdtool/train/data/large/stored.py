"""Images of one shape in a file, of which only those that are asked for are read into memory.

A mapped file would be less code, but every page that was ever read counts as memory of the process,
and one that the disk cannot read ends it by SIGBUS; mapped anew for each batch, it is no faster.
docs/MEASURED.md has the rates.
"""

import math
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import OF_SYSTEM, DataError, StudyError, reason
from kdtool.format import file_size, keyboard_text

CHUNK_BYTES = 2**24  # of images that are read one after another
Index = slice | Sequence[int] | NDArray[np.int64] | NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class StoredImages:
    """uint8 images `(N, C, H, W)` in a file of rows, `C * H * W` bytes each.

    The file is opened for each access: the value can be copied and sent to another process.
    """

    path: Path
    image_shape: tuple[int, int, int]  # C, H, W
    rows: NDArray[np.int64]  # (N,), the row of the file that each image is
    held: "Held | None" = None  # keeps a file of the cache there

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """N, C, H, W."""
        return len(self.rows), *self.image_shape

    def only(self, index: Index) -> Self:
        """Return some of the images, in this order; none is read."""
        return replace(self, rows=self.rows[index])

    def __getitem__(self, index: Index) -> NDArray[np.uint8]:
        """Read images `(B, C, H, W)`.

        Raises:
            DataError: The file is gone or shorter than it was.
        """
        images = np.empty((len(self.rows[index]), *self.image_shape), dtype=np.uint8)
        self.read(index, images)
        return images

    def read(self, index: Index, out: NDArray[np.uint8]) -> None:
        """Read images into `out` `(B, C, H, W)`.

        Raises:
            DataError: The file is gone or shorter than it was.
        """
        size = int(np.prod(self.image_shape))
        try:
            with self.path.open("rb", buffering=0) as file:
                for row, image in zip(self.rows[index].tolist(), out, strict=True):
                    file.seek(row * size)
                    if file.readinto(image.reshape(-1)) != size:
                        raise DataError(f"{self.path} is shorter than it was; {AGAIN}")
        except OSError as error:
            raise DataError(f"cannot read {self.path}: {reason(error)}; {AGAIN}") from error

    def expect(self, index: Index) -> None:
        """Have the system read images ahead, while the program does something else.

        Where the system cannot be told, nothing is done.
        """
        if not hasattr(os, "posix_fadvise"):
            return
        size = int(np.prod(self.image_shape))
        try:
            with self.path.open("rb", buffering=0) as file:
                for row in self.rows[index].tolist():
                    os.posix_fadvise(file.fileno(), row * size, size, os.POSIX_FADV_WILLNEED)
        except OSError:
            return  # `read` will say so

    def chunks(self) -> Iterator[NDArray[np.uint8]]:
        """Yield all images, some `(B, C, H, W)` at a time."""
        at_once = max(1, CHUNK_BYTES // int(np.prod(self.image_shape)))
        for start in range(0, len(self), at_once):
            yield self[start : start + at_once]

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Yield each image `(C, H, W)`."""
        for chunk in self.chunks():
            yield from chunk


class Held:
    """Keeps other processes from deleting a file as long as this object lives, or a copy of it."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def __del__(self) -> None:
        self.file.close()

    def __reduce__(self) -> tuple[Callable[[Path], "Held | None"], tuple[Path]]:
        return hold, (Path(self.file.name),)


def hold(path: Path) -> Held | None:
    """Keep a file from being deleted within `unread`; None: it is not there any more."""
    try:
        held = Held(path.open("rb"))
    except OSError:
        return None
    try:
        import fcntl

        fcntl.flock(held.file, fcntl.LOCK_SH)  # `unread` holds it for a moment only
    except (ImportError, OSError):
        return held  # on Windows no file is deleted that is open; a disk may have no locks
    return held if os.fstat(held.file.fileno()).st_nlink else None


@contextmanager
def unread(path: Path) -> Iterator[None]:
    """Keep other processes from a file within the block, which may delete it.

    Raises:
        OSError: A process holds it, or this user may not write it.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


AGAIN = "run the same command again, which decodes the images again if it must"
Images = NDArray[np.uint8] | StoredImages  # `(N, C, H, W)`, in memory or in a file


@dataclass(frozen=True, slots=True)
class Converted:
    """Images in a file that are converted when they are read."""

    images: StoredImages
    convert: Callable[[NDArray[np.uint8]], NDArray[np.generic]]  # (B, C, H, W) -> (B, ...)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Index) -> NDArray[np.generic]:
        return self.convert(self.images[index])


def some_of(images: Images, index: NDArray[np.int64]) -> Images:
    """Return some images; those of a file stay in it."""
    return images.only(index) if isinstance(images, StoredImages) else images[index]


@dataclass(frozen=True, slots=True)
class ChannelsLast:
    """Images `(N, H, W, C)`, of which only those that are asked for are read and converted."""

    images: Images

    def __getitem__(self, index: Index) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self.images[index].transpose(0, 2, 3, 1))


def channels_last(images: Images, folder: Path) -> NDArray[np.uint8]:
    """Return all images `(N, H, W, C)`: those of a file in another one, mapped, that has no name.

    Args:
        images: `(N, C, H, W)`.
        folder: For the other file.

    Raises:
        StudyError: The folder cannot be written, or its disk has no room.
    """
    if not isinstance(images, StoredImages):
        return ChannelsLast(images)[:]
    count, channels, height, width = images.shape
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            for chunk in images.chunks():
                file.write(np.ascontiguousarray(chunk.transpose(0, 2, 3, 1)).data)
            file.flush()
            return np.memmap(file, np.uint8, "r", shape=(count, height, width, channels))
    except OSError as error:
        advice = OF_SYSTEM.get(error.errno or 0, "free some space there")
        raise StudyError(
            f"cannot write the images, {keyboard_text(file_size(math.prod(images.shape)))}, to "
            f"{folder}: {reason(error)}; {advice}"
        ) from error
