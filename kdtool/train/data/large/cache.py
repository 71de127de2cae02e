"""The decoded images of a set, in a file of the user's cache.

It is written once, whole or not at all, and read by every model, process and later run that has the
same files. When another one is written, those that no run has used for a month are deleted, and
those used longest ago until all take at most half of the disk that is theirs or free; never one
that a process reads.
"""

import errno
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL
from filelock import FileLock
from numpy.typing import NDArray
from pydantic import ValidationError

from kdtool.errors import DataError, reason
from kdtool.files import UNFINISHED, cache_folder, replaced, size_and_time, write_atomic
from kdtool.format import file_size, keyboard_text
from kdtool.recipe.data import ParquetTable, PictureKeys
from kdtool.results.base import Record, to_json
from kdtool.train.data.large.shards import Member, PictureFile
from kdtool.train.data.large.stored import StoredImages, hold, unread

MOVE = "set the environment variable XDG_CACHE_HOME to a folder on a larger disk"
UNUSED = 30 * 24 * 3600  # seconds after which a set is deleted
READER = 1  # raise it when files of pictures are decoded to other pixels


class CachedSet(Record):
    """What is known of a file of decoded images, beside it as JSON."""

    image_shape: tuple[int, int, int]  # C, H, W
    kept: list[tuple[int, int]]  # first row of images in a row, and the row after the last
    warnings: list[str]  # about the files


@dataclass(frozen=True, slots=True)
class Cached:
    """A set of the cache."""

    images: StoredImages
    warnings: tuple[str, ...]


def key_of_set(paths: Sequence[PictureFile], table: PictureKeys) -> str:
    """Return a hash of all that decoded pixels depend on: the files, and how they are read.

    A file counts as changed when its size or its time of modification is another.
    """
    column = [table.image] if isinstance(table, ParquetTable) else []  # a row may have several
    settings = [READER, PIL.__version__, table.size, table.channels, table.skip_broken, *column]
    digest = hashlib.sha256(json.dumps(settings).encode())
    known: dict[Path, bytes] = {}  # a tar file has many images
    for picture in paths:
        path = picture.path if isinstance(picture, Member) else picture
        if path not in known:
            known = {path: f"\0{size_and_time(path)} ".encode()}
        digest.update(known[path] + os.fsencode(path))
        if isinstance(picture, Member):
            digest.update(f"\0{picture.name}\0{picture.offset} {picture.size}".encode())
    return digest.hexdigest()[:32]


def places(key: str) -> tuple[Path, Path]:
    """Return the paths of the decoded images of a set and of what is known of them."""
    folder = cache_folder() / "decoded"
    return folder / f"{key}.images", folder / f"{key}.json"


def find_cached(key: str) -> Cached | None:
    """Return a set of the cache, now the last used; None: it is not there, or not whole."""
    path, about = places(key)
    try:
        known = CachedSet.model_validate_json(about.read_bytes())
        held = hold(path)
        size = path.stat().st_size
        with suppress(OSError):  # a cache of somebody else, that can be read only
            os.utime(about)
    except (OSError, ValidationError):
        return None
    rows = np.concatenate([np.arange(first, end) for first, end in known.kept])
    if held is None or size < (rows[-1] + 1) * int(np.prod(known.image_shape)):
        return None
    return Cached(StoredImages(path, known.image_shape, rows, held), tuple(known.warnings))


@dataclass(slots=True)
class Writer:
    """Writes rows of a set that is not in the cache yet, from several threads."""

    file: BinaryIO
    row_bytes: int
    failed: Callable[[str], DataError]  # the error of a reason
    lock: threading.Lock = field(default_factory=threading.Lock)

    def write(self, row: int, pixels: NDArray[np.uint8]) -> None:
        """Write one image `(C, H, W)`.

        Raises:
            DataError: The disk is full.
        """
        content = np.ascontiguousarray(pixels).data
        try:
            with self.lock:
                self.file.seek(row * self.row_bytes)
                if self.file.write(content) != self.row_bytes:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            raise self.failed(reason(error)) from error


@contextmanager
def locked(key: str) -> Iterator[None]:
    """Keep other processes from writing a set during the block; wait for one that does.

    What processes left behind that were killed while they wrote any set is deleted.

    Raises:
        DataError: The cache cannot be written.
    """
    folder = cache_folder() / "decoded"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f".*{UNFINISHED}.images"):
            _, owner, _ = path.name.split(".", 2)
            # It may be written still, or be another user's; another process may clean, too.
            with suppress(OSError), _lock(folder / owner, timeout=0):
                path.unlink(missing_ok=True)
        held = _lock(folder / key).acquire()
    except OSError as error:
        raise DataError(f"cannot write {folder}: {reason(error)}; {MOVE}") from error
    with held:
        yield


def _lock(path: Path, timeout: float = -1) -> FileLock:
    """Return the lock of a set, which all users of a cache may take: each lock is a file of one."""
    return FileLock(path.with_suffix(".lock"), timeout, mode=0o666)


@dataclass(frozen=True, slots=True)
class Stored:
    """A file of decoded images."""

    last_use: float  # seconds of `time.time`; 0 where the set was never whole
    num_bytes: int
    path: Path


def sets_in(folder: Path) -> list[Stored]:
    """Return the sets of a cache, those used longest ago first."""
    found = []
    for path in folder.glob("[!.]*.images"):  # a point begins the name of what is being written
        with suppress(FileNotFoundError):  # another process deletes it
            status, last_use = path.stat(), 0.0
            with suppress(FileNotFoundError):
                begun = path.with_suffix(".json").stat().st_mtime
                # A run may be long, or of a user who cannot write the time of its beginning.
                last_use = max(begun, status.st_atime)
            found.append(Stored(last_use, status.st_size, path))
    return sorted(found, key=lambda one: one.last_use)


def make_room(folder: Path, num_bytes: int) -> None:
    """Delete sets that no run has used for a month, and others to make room for a new one.

    The longest unused are deleted until all sets together take at most half of what they take and
    the disk has free. None is deleted that a process reads or writes; none at all if the new one
    would not fit even then.

    Args:
        folder: Of the sets.
        num_bytes: Of the new one.
    """
    sets, free = sets_in(folder), shutil.disk_usage(folder).free
    used = sum(one.num_bytes for one in sets)
    most = (used + free) / 2 - num_bytes
    unread = [one for one in sets if can_be_deleted(one.path)]
    fits = num_bytes <= free + sum(one.num_bytes for one in unread)
    for one in unread if fits else []:
        if (used > most or one.last_use < time.time() - UNUSED) and is_deleted(one.path):
            used -= one.num_bytes


def can_be_deleted(path: Path) -> bool:
    """Return whether no process reads or writes a set, and this user may delete it."""
    try:
        with _lock(path, timeout=0), unread(path):
            return True
    except OSError:
        return False


def is_deleted(path: Path) -> bool:
    """Delete a set, with what is known of it; return whether that was possible."""
    try:
        with _lock(path, timeout=0), unread(path):
            path.unlink()
            for about in path.parent.glob(f"{path.stem}.*json"):
                about.unlink(missing_ok=True)
    except OSError:  # another process reads or writes it, or it is another user's
        return False
    return True


def _allocate(file: BinaryIO, num_bytes: int, folder: Path) -> None:
    """Take the room for a file on the disk, now and not after an hour of writing.

    Under a quota the disk has more room than this user: where it does not suffice, sets that no
    process reads are deleted, those used longest ago first, until it does.

    Args:
        file: To be written.
        num_bytes: Of it.
        folder: Of the sets.

    Raises:
        OSError: There is no room.
    """
    has_room = not hasattr(os, "posix_fallocate")
    while not has_room:
        try:
            os.posix_fallocate(file.fileno(), 0, num_bytes)
            has_room = True
        except OSError as error:
            is_full = error.errno in {errno.ENOSPC, errno.EDQUOT}
            if not is_full or not any(is_deleted(one.path) for one in sets_in(folder)):
                raise


@contextmanager
def written(key: str, num_rows: int, image_shape: tuple[int, int, int]) -> Iterator[Writer]:
    """Write a set into the cache, under its lock; it is there if the block raises nothing.

    Args:
        key: Of `key_of_set`.
        num_rows: Of the file.
        image_shape: C, H, W.

    Older sets make room for it; see `make_room`.

    Raises:
        DataError: The disk has no room, or the cache cannot be written.
    """
    path, _ = places(key)
    row_bytes = int(np.prod(image_shape))
    num_bytes = num_rows * row_bytes
    make_room(path.parent, num_bytes)
    free = shutil.disk_usage(path.parent).free
    if num_bytes > free:
        raise _no_room(path.parent, num_bytes, f"{file_size(free)} are free")
    with replaced(path) as unfinished, unfinished.open("rb+", buffering=0) as file:
        try:
            _allocate(file, num_bytes, path.parent)
        except OSError as error:
            raise _no_room(path.parent, num_bytes, reason(error)) from error
        yield Writer(file, row_bytes, lambda why: _no_room(path.parent, num_bytes, why))


def record(
    key: str, image_shape: tuple[int, int, int], rows: NDArray[np.int64], warnings: Sequence[str]
) -> Cached:
    """Write what is known of a set whose images are written, which makes it whole.

    Args:
        key: Of `key_of_set`.
        image_shape: C, H, W.
        rows: Rows with images, ascending, at least one.
        warnings: About the files.
    """
    path, about = places(key)
    parts = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    kept = [(int(part[0]), int(part[-1]) + 1) for part in parts]
    known = CachedSet(image_shape=image_shape, kept=kept, warnings=list(warnings))
    write_atomic(about, to_json(known))
    return Cached(StoredImages(path, image_shape, rows, hold(path)), tuple(warnings))


def _no_room(folder: Path, num_bytes: int, why: str) -> DataError:
    used = sum(one.num_bytes for one in sets_in(folder))
    older = (
        f"sets that were decoded earlier take {file_size(used)} there, and those that no run reads "
        "can be deleted; "
    )
    text = (
        f"the decoded images take {file_size(num_bytes)}, more than they may of the memory "
        f"(data.memory), and cannot be written to {folder}: {why}; {older if used else ''}{MOVE}, "
        "or a smaller data.size"
    )
    return DataError(keyboard_text(text))
