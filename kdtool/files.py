"""Atomic writes, temporary folders, hashes of files, and the folder for downloads."""

import errno
import hashlib
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from typing import TYPE_CHECKING, Any

from kdtool.errors import DataError, StudyError, reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

UNFINISHED = ".unfinished"  # in the name of a file that is being written
# Signals that end a command; Windows has no SIGHUP.
ENDING = [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])]

_scratch = set[str]()  # the temporary folders of this process


def size_and_time(path: Path) -> str:
    """Return size and time of change of a file, by which a change of it is noticed."""
    try:
        status = path.stat()
    except OSError:  # a link to nowhere, or a file of another program that is gone meanwhile
        return "-"
    return f"{status.st_size} {status.st_mtime_ns}"


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `path` atomically: a reader sees the old content or the new, never a part.

    Raises:
        StudyError: The disk is full or the folder cannot be written.
    """
    with replaced(path) as unfinished:
        unfinished.write_bytes(data.encode() if isinstance(data, str) else data)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file, renamed to `path` if the block raises nothing.

    Raises:
        StudyError: The disk is full or the folder cannot be written.
    """
    made: list[Path] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with signals_wait():
            handle, name = tempfile.mkstemp(
                prefix=f".{path.stem}.", suffix=UNFINISHED + path.suffix, dir=path.parent
            )
            made.append(Path(name))
            os.close(handle)
        (unfinished,) = made
        yield unfinished
        with unfinished.open("rb+") as file:
            os.fsync(file.fileno())
        unfinished.chmod(0o666 & ~_umask())
        unfinished.replace(path)
    except OSError as error:
        raise StudyError(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        for one in made:
            one.unlink(missing_ok=True)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that gets the name `path` if the block raises nothing.

    Args:
        path: Nothing has this name yet.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix, made = f".{path.name}.", list[Path]()
    try:
        with signals_wait():
            made.append(Path(tempfile.mkdtemp(prefix=prefix, suffix=UNFINISHED, dir=path.parent)))
        (unfinished,) = made
        yield unfinished
        unfinished.chmod(0o777 & ~_umask())
        unfinished.rename(path)
    finally:
        with signals_wait():
            for one in made:
                shutil.rmtree(one, ignore_errors=True)


@contextmanager
def scratch_folder(parent: Path | None = None, prefix: str = "kdtool-") -> Iterator[Path]:
    """Yield a temporary folder, which is gone after the block, whatever ends it.

    A signal that comes while the folder is made or removed waits until that is done: it would
    leave the folder behind.

    Args:
        parent: Where to make it; None: in the folder that the environment names, as `tempfile`.
        prefix: Of its name.

    Raises:
        OSError: The disk is full or the folder cannot be written.
    """
    made = list[tempfile.TemporaryDirectory[str]]()
    try:
        with signals_wait():
            made.append(tempfile.TemporaryDirectory(prefix=prefix, dir=parent))
            _scratch.add(made[0].name)
        yield Path(made[0].name)
    finally:
        with signals_wait():
            for one in made:
                one.cleanup()
                _scratch.discard(one.name)


def remove_scratch_folders() -> None:
    """Remove the temporary folders of this process, which is about to end without cleaning up."""
    for name in [*_scratch]:
        shutil.rmtree(name, ignore_errors=True)


@contextmanager
def signals_wait() -> Iterator[None]:
    """Have Ctrl-C, SIGTERM and SIGHUP wait until the block, which is short, ends."""
    if current_thread() is not main_thread():
        yield  # Python runs handlers in the main thread
        return
    came: list[int] = []
    handlers = {one: signal.getsignal(one) for one in ENDING}
    # A handler that Python did not set cannot be set again; a signal that is ignored stays so.
    ours = {one: old for one, old in handlers.items() if old not in {None, signal.SIG_IGN}}
    try:
        for number in ours:
            signal.signal(number, lambda one, _frame: came.append(one))
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def save_arrays(path: Path, **arrays: "NDArray[Any]") -> None:
    """Write arrays to a compressed .npz file, atomically.

    Raises:
        StudyError: The disk is full or the folder cannot be written.
    """
    import numpy as np  # only training writes arrays

    with replaced(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hex.

    Raises:
        OSError: There is no such file, it cannot be read, or it is a device or a pipe, which might
            have no end.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_folder() -> Path:
    """Return the folder for downloads: `$XDG_CACHE_HOME/kdtool`, else `~/.cache/kdtool`.

    Raises:
        DataError: The user has no home.

    Source: XDG Base Directory Specification 0.8, by which relative paths are ignored.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (given if given.is_absolute() else Path.home() / ".cache") / "kdtool"
    except RuntimeError as error:  # a user without a home, as in some containers
        raise DataError(
            f"no folder for downloads: {reason(error)}; set the environment variable "
            "XDG_CACHE_HOME to one, or give files of yours (for a data set --set data.root=DIR)"
        ) from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
