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


@dataclass(frozen=True, slots=True)
class Member:
    """A file within another one, which takes the place of a path."""

    path: Path  # of the other one
    name: str  # within it
    offset: int  # of its first byte, or number of its row
    size: int  # in bytes; 0 of a row
    content: Callable[[int], bytes] | None = None  # of a row, given its number; None: of a tar file

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
    """Yield the files in a tar file, which is not packed, in its order.

    Raises:
        ValueError: It is packed, or not a whole tar file; the reason in plain words.
    """
    try:
        with shard.open("rb") as file:
            begins = file.peek(8)
            if packed := [name for magic, name in PACKED.items() if begins.startswith(magic)]:
                raise ValueError(f"it is packed by {packed[0]}; unpack it, to be read by offset")
            with tarfile.open(fileobj=file, mode="r:") as archive:
                for info in archive:
                    if info.isreg() and not info.issparse():
                        yield Member(shard, info.name, info.offset_data, info.size)
                end = archive.offset
            # tarfile takes a damaged header for the end of the file.
            file.seek(end)
            if any(file.read(BLOCK)):
                raise ValueError(f"it is damaged at byte {end:,}")
    except (tarfile.TarError, OSError) as error:
        raise ValueError(f"it is not a whole tar file ({reason(error)})") from error


PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
