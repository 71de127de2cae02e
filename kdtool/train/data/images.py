"""Reads image files of any kind and size into arrays of one shape; lists all broken files."""

import errno
import math
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from kdtool import environment
from kdtool.edge.portable.picture import check_header, fit, open_image
from kdtool.errors import DataError, reason
from kdtool.format import plural
from kdtool.recipe.data import PictureKeys, parse_memory
from kdtool.train.data.each_file import for_all
from kdtool.train.data.large.cache import find_cached, key_of_set, locked, record, written
from kdtool.train.data.large.shards import PictureFile
from kdtool.train.data.large.stored import Images
from kdtool.train.data.source import Progress, beginning, first_of, problem_list

GREY_MODES = {"1", "L", "LA", "La", "F"}  # and all that start with I
SIDEWAYS = {5, 6, 7, 8}  # EXIF orientations that swap width and height


@dataclass(frozen=True, slots=True)
class Header:
    """What the header of an image file says."""

    width: int  # after rotation by EXIF
    height: int
    is_grey: bool
    is_deep: bool  # 16 bits a pixel


def read_header(path: PictureFile) -> Header:
    """Return the header of an image file, without reading its pixels.

    Raises:
        ValueError: It is not a readable image; the reason in plain words.
        OSError: The system cannot open it.
    """
    if not _is_file(path):  # a pipe would never end
        raise ValueError("there is no such file")
    with path.open("rb") as stream:
        try:
            return _header_of(stream)
        except UnidentifiedImageError as error:
            raise ValueError(_not_an_image(path)) from error
        except Exception as error:  # a broken file can raise almost any
            raise ValueError(reason(error)) from error


def _is_file(path: PictureFile) -> bool:
    """Return whether there is such a file; unlike `Path.is_file`, not False if none may look."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}:
            return False
        raise


def _header_of(stream: BinaryIO) -> Header:
    with Image.open(stream) as file:
        check_header(file, stream)
        width, height = file.size
        # Only if the header has it: Pillow would decode a whole PNG to look for it.
        exif = file.getexif() if {"exif", "xmp"} & file.info.keys() else {}
        if exif.get(ExifTags.Base.Orientation) in SIDEWAYS:
            width, height = height, width
        is_deep = file.mode.startswith("I")
        return Header(width, height, is_deep or file.mode in GREY_MODES, is_deep)


def _not_an_image(path: PictureFile) -> str:
    with path.open("rb") as file:
        content = file.read(16)
    if not content:
        return "an empty file"
    is_heic = path.suffix.lower() in {".heic", ".heif"}
    advice = "; save it as JPEG" if is_heic else f"; it {beginning(content)}"
    return f"not an image that Pillow can read{advice}"


def size_problem(headers: dict[int, Header], names: Sequence[str]) -> str | None:
    """Return an error message if images differ in size.

    Args:
        headers: By the number of the file.
        names: Of all files.
    """
    sizes = Counter((each.width, each.height) for each in headers.values())
    if len(sizes) == 1:
        return None
    examples = {(each.width, each.height): names[index] for index, each in headers.items()}
    listed = [
        f"{width} x {height}: {count:,}, such as {examples[width, height]}"
        for (width, height), count in sizes.most_common(3)
    ]
    more = len(sizes) - len(listed)
    return (
        f"images differ in size ({'; '.join(listed)}{f'; {more:,} more sizes' if more else ''}). "
        "Set data.size=224 (--set data.size=224) to resize and centre-crop them."
    )


# The rest is for programs, and for a batch and its activations.
MEMORY_SHARE = 0.7


@dataclass(frozen=True, slots=True)
class Pictures:
    """Images of one shape."""

    images: Images  # (N, C, H, W)
    kept: NDArray[np.int64]  # (N,), the numbers of their files: all, or all but the broken
    warnings: tuple[str, ...]


def read_pictures(
    paths: Sequence[PictureFile],
    names: Sequence[str],
    table: PictureKeys,
    progress: Progress,
    room: int | None = None,
) -> Pictures:
    """Read image files with all cores, into memory or, where they do not fit, into a file.

    A file may be in any format that Pillow reads; of several images in a file the first is used.
    EXIF rotation is applied, transparency is laid on white, CMYK and palettes become RGB, and of
    16 bits the upper 8 are kept; floating point and 32-bit pixels count as broken, as their range
    is unknown. With `data.size` the shorter side is scaled to it and the centre cropped.

    Args:
        paths: At least one.
        names: Of the files, for messages.
        table: Size, channels, memory, and whether broken files stop the run.
        progress: Shows the progress.
        room: Bytes that the device has for the images; None: it is the CPU.

    Raises:
        DataError: Files are broken, or the system cannot read them, with a full list; the sizes
            differ and there is no `data.size`; or the images fit neither into memory nor on the
            disk.
    """
    key = key_of_set(paths, table)
    cached = find_cached(key)
    if cached:
        in_memory = fits(math.prod(cached.images.shape), table.memory, room)
        images = cached.images[:] if in_memory else cached.images
        return Pictures(images, cached.images.rows, cached.warnings)
    found = _look(paths, names, table, progress)
    in_memory = fits(len(found.headers) * math.prod(found.shape), table.memory, room)
    return _into_memory(found, key) if in_memory else _into_file(found, key)


@dataclass(frozen=True, slots=True)
class _Found:
    """Image files whose headers are read."""

    paths: Sequence[PictureFile]
    names: Sequence[str]
    table: PictureKeys
    progress: Progress
    headers: dict[int, Header]  # of the files that can be read, by number, ascending
    reasons: dict[int, str]  # why others cannot, by number; more are added
    shape: tuple[int, int, int]  # C, H, W that all images get
    brightest: dict[int, int] = field(default_factory=dict)  # value in each file of 16 bits

    def read_all(self, keep: Callable[[int, int, NDArray[np.uint8]], None]) -> NDArray[np.int64]:
        """Decode all files.

        Args:
            keep: Is given the number of a header, that of its file, and its image `(C, H, W)`.

        Returns:
            Which of the headers have images.

        Raises:
            DataError: Files are broken, and not to be skipped; or the system cannot read them.
        """
        files = list(self.headers)

        def read(place: int) -> None:
            keep(place, files[place], self._decode(files[place]))

        names = [self.names[file] for file in files]
        undecoded = for_all(read, names, "reading the images", self.progress)
        self.reasons.update({files[place]: why for place, why in undecoded.items()})
        if self.reasons and (not self.table.skip_broken or len(undecoded) == len(files)):
            raise _broken(self.reasons, self.names)
        return np.array([place for place in range(len(files)) if place not in undecoded])

    def _decode(self, index: int) -> NDArray[np.uint8]:
        channels, height, width = self.shape
        given = self.paths[index]
        image = open_image(given if isinstance(given, Path) else given.open(), channels)
        if image.size != (width, height):
            if self.table.size is None:  # rotated by metadata that the header lacks
                raise ValueError(f"{image.width} x {image.height}, not {width} x {height} pixels")
            image = fit(image, width, height)
        pixels = np.asarray(image).reshape(height, width, channels)
        if self.headers[index].is_deep:
            self.brightest[index] = int(pixels.max())
        return pixels.transpose(2, 0, 1)

    def warnings_of(self, kept: NDArray[np.int64]) -> tuple[str, ...]:
        """Return what to warn of, given the numbers of the files that have images."""
        read = [self.headers[index] for index in kept.tolist()]
        return (
            *_broken_warning(self.reasons, self.names),
            *_enlarged_warning(read, self.table.size),
            *_dark_warning(self.brightest, len(read)),
        )


def _changed() -> DataError:
    return DataError("image files were changed while they were read; run the command again")


def _look(
    paths: Sequence[PictureFile], names: Sequence[str], table: PictureKeys, progress: Progress
) -> _Found:
    """Read the headers; for arguments see `read_pictures`.

    Raises:
        DataError: All files are broken, the system cannot read some, or sizes differ and there is
            no `data.size`.
    """
    found: dict[int, Header] = {}

    def look(index: int) -> None:
        found[index] = read_header(paths[index])

    reasons = for_all(look, names, "checking the files", progress)
    headers = dict(sorted(found.items()))
    if not headers:
        raise _broken(reasons, names)
    if table.size is None and (problem := size_problem(headers, names)):
        broken = "" if table.skip_broken or not reasons else f"{_broken(reasons, names)}\n"
        raise DataError(f"{broken}{problem}")
    first = next(iter(headers.values()))
    width, height = (table.size or first.width), (table.size or first.height)
    channels = table.channels or (1 if all(each.is_grey for each in headers.values()) else 3)
    return _Found(paths, names, table, progress, headers, reasons, (channels, height, width))


def _into_memory(found: _Found, key: str) -> Pictures:
    images = np.empty((len(found.headers), *found.shape), dtype=np.uint8)

    def keep(place: int, _file: int, pixels: NDArray[np.uint8]) -> None:
        images[place] = pixels

    whole = found.read_all(keep)
    for to, place in enumerate(whole.tolist()):
        if to != place:  # in place, as a second array might not fit
            images[to] = images[place]
    if key_of_set(found.paths, found.table) != key:
        raise _changed()
    kept = np.array(list(found.headers))[whole]
    return Pictures(images[: len(whole)], kept, found.warnings_of(kept))


def _into_file(found: _Found, key: str) -> Pictures:
    with locked(key):
        cached = find_cached(key)  # another process may have written it meanwhile
        if cached is None:
            with written(key, len(found.paths), found.shape) as writer:
                whole = found.read_all(lambda _place, file, pixels: writer.write(file, pixels))
                if key_of_set(found.paths, found.table) != key:
                    raise _changed()
            kept = np.array(list(found.headers))[whole]
            cached = record(key, found.shape, kept, found.warnings_of(kept))
    return Pictures(cached.images, cached.images.rows, cached.warnings)


def fits(num_bytes: int, memory: str | None, room: int | None = None) -> bool:
    """Return whether this process keeps images in memory.

    Args:
        num_bytes: That they need, in each of the processes that share the memory.
        memory: `data.memory`; without it `MEMORY_SHARE` of what is free. A process that may take
            less takes that share of it at most.
        room: Bytes that the device has for them; None: it is the CPU.
    """
    own, (_, free) = environment.own_limit(), environment.memory()
    if own is not None and num_bytes > MEMORY_SHARE * own:
        return False
    if room is not None and num_bytes > room:
        return False
    num_bytes *= environment.num_sharers()
    if memory is not None:
        return num_bytes <= parse_memory(memory)
    return free is None or num_bytes <= MEMORY_SHARE * free


def check_memory(num_bytes: int, what: str, advice: str) -> None:
    """Check that images fit into this machine's memory, before they are read.

    Args:
        num_bytes: That they need.
        what: They are, for the message.
        advice: How to need less.

    Raises:
        DataError: They do not; the message has both sizes.
    """
    memory, _ = environment.memory()
    if memory is not None and num_bytes > MEMORY_SHARE * memory:
        raise DataError(
            f"{what} need {num_bytes / 2**30:,.1f} GiB; this machine has {memory / 2**30:,.1f} GiB "
            f"of memory, of which images may take {MEMORY_SHARE:.0%}; {advice}"
        )


def _broken(reasons: dict[int, str], names: Sequence[str]) -> DataError:
    return problem_list(
        f"{_how_many(reasons, names)} broken:",
        [f"{names[index]}: {reasons[index]}" for index in sorted(reasons)],
        "fix or delete them, or leave them out with --set data.skip_broken=true",
    )


def _broken_warning(reasons: dict[int, str], names: Sequence[str]) -> list[str]:
    if not reasons:
        return []
    listed = [f"{names[index]} ({reasons[index]})" for index in sorted(reasons)]
    return [f"{_how_many(reasons, names)} broken and left out: {first_of(listed)}"]


def _how_many(reasons: dict[int, str], names: Sequence[str]) -> str:
    verb = "is" if len(reasons) == 1 else "are"
    return f"{len(reasons):,} of {plural(len(names), 'file')} {verb}"


def _enlarged_warning(headers: Sequence[Header], size: int | None) -> list[str]:
    smaller = sum(min(each.width, each.height) < size for each in headers) if size else 0
    if not smaller:
        return []
    return [
        f"{smaller:,} of {len(headers):,} images are smaller than data.size = {size} and are "
        "enlarged"
    ]


def _dark_warning(brightest: dict[int, int], num_images: int) -> list[str]:
    """Return a warning if all images of 16 bits are nearly black.

    Args:
        brightest: Value of each of them, of its upper 8 bits.
        num_images: All images.
    """
    if max(brightest.values(), default=255) >= 16:  # one of the upper 4 is set
        return []
    return [
        f"{len(brightest):,} of {num_images:,} images have 16 bits a pixel but use at most 12 of "
        "them, so that they are nearly black; multiply the values by 16 in these files, and in "
        "those of the device"
    ]
