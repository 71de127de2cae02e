"""Downloads of published sets through torchvision, which has addresses and checksums."""

import contextlib
import errno
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPException
from pathlib import Path

from kdtool.errors import DataError, reason
from kdtool.files import scratch_folder


class DownloadError(DataError):
    """No address delivered complete files."""


# For one connection or read; each address of a server is tried for this long.
TIMEOUT_SECONDS = 10.0


@contextlib.contextmanager
def waiting_no_longer() -> Iterator[None]:
    """Limit the wait of all sockets in the block; torchvision has no argument for it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


def download(
    folder: Path, fetch: Callable[[str], Path], names: Sequence[str], addresses: Sequence[str]
) -> None:
    """Download files, unpacked, into `folder`; each is complete or does not exist.

    Args:
        folder: Of the files; is created.
        fetch: Downloads below a temporary folder and returns the folder of the files there; its
            checksums are those of torchvision.
        names: Of the files.
        addresses: That `fetch` tries, for the message.

    Raises:
        DownloadError: No address delivered a file with the right checksum.
        DataError: The cache cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            root = str(stack.enter_context(scratch_folder(folder, ".unfinished-")))
        except OSError as error:
            raise _cannot_write(folder, error) from error
        try:
            with waiting_no_longer(), contextlib.redirect_stdout(sys.stderr):
                downloaded = fetch(root)
            for name in names:
                (downloaded / name).replace(folder / name)
        except (RuntimeError, HTTPException) as error:
            raise DownloadError(reason(error)) from error
        except OSError as error:  # of a socket, unless of the disk
            if error.errno in DISK_ERRORS:
                raise _cannot_write(folder, error) from error
            raise DownloadError(f"{', '.join(addresses)}: {reason(error)}") from error


def _cannot_write(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write {folder}, the folder for downloads: {error.strerror}; free some space, or "
        "set the environment variable XDG_CACHE_HOME to another folder"
    )
