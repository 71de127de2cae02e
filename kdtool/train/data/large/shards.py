"""Images within larger files: members of a tar file, read by offset, or rows of a table."""

import io
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from kdtool.errors import reason

BLOCK = 512  # bytes; a header takes one, and one of zeros ends the file
CHUNK_BYTES = 2**16  # that are looked at together
LINK = "is a link; write the shard with the files themselves (tar --hard-dereference --dereference)"
SPARSE = "is stored without its zeros; write the shard without tar --sparse"


@dataclass(frozen=True, slots=True)
class Member:
    """A file within another one, which takes the place of a path."""

    path: Path  # of the other one
    name: str  # within it
    offset: int  # of its first byte, or number of its row
    size: int  # in bytes; 0 of a row
    content: Callable[[int], bytes] | None = None  # of a row, given its number; None: of a tar file
    refused: str = ""  # why it cannot be read by offset, and what to do

    @property
    def suffix(self) -> str:
        """End of the name, from its last point on."""
        return Path(self.name).suffix

    def stat(self) -> os.stat_result:
        """Return what the system knows of the other file."""
        return self.path.stat()

    def read(self) -> bytes:
        """Return its content."""
        if self.content is not None:
            return self.content(self.offset)
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            return file.read(self.size)

    def open(self, _mode: str = "rb") -> BinaryIO:
        """Return its content as a file."""
        return io.BytesIO(self.read())


PictureFile = Path | Member


def members_of(shard: Path) -> Iterator[Member]:
    """Yield the files and links in a tar file, which is not packed, in its order.

    Raises:
        ValueError: It is packed, or not one whole tar file; the reason in plain words.
    """
    try:
        with shard.open("rb") as file:
            begins = file.peek(8)
            if packed := [name for magic, name in PACKED.items() if begins.startswith(magic)]:
                raise ValueError(f"it is packed by {packed[0]}; unpack it, to be read by offset")
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for info in archive:
                    refused = LINK * (info.islnk() or info.issym()) or SPARSE * info.issparse()
                    if info.isreg() or refused:
                        yield Member(shard, info.name, info.offset_data, info.size, None, refused)
                end = archive.offset
            file.seek(end)
            _check_end(file)
    except tarfile.TarError as error:
        raise ValueError(f"it is not a whole tar file ({reason(error)})") from error
    except OSError as error:
        raise ValueError(f"the system cannot read it ({reason(error)})") from error


def _check_end(file: BinaryIO) -> None:
    """Check what follows the last member of a tar file, up to the first byte that is not zero.

    Args:
        file: At the first byte after the member.

    Raises:
        ValueError: It is something else than zeros, a block at least.
    """
    end = file.tell()
    block = file.read(BLOCK)
    if block.strip(b"\0"):  # tarfile takes a damaged header for the end of the file
        raise ValueError(f"it is damaged at byte {end:,}")
    if len(block) < BLOCK:
        raise ValueError(
            f"it is cut at byte {end:,}, or was not closed: the zeros that end a tar file are "
            "missing"
        )
    while more := file.read(CHUNK_BYTES):
        if more.strip(b"\0"):
            raise ValueError(
                f"it goes on behind its end at byte {end:,}, as joined tar files do; keep each in "
                "a file of its own, or join them by tar --concatenate"
            )


PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
