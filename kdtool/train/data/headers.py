"""What image files say of themselves before they are decoded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from kdtool.errors import DataError

GREY_MODES = {"1", "L", "LA", "La", "F"}  # and all that start with I
SIDEWAYS = {5, 6, 7, 8}  # EXIF orientations that swap width and height


@dataclass(frozen=True, slots=True)
class Header:
    """What the first bytes of an image file say."""

    width: int  # of the image when it stands upright
    height: int
    is_grey: bool
    is_deep: bool  # 16 bits a pixel


def read_header(path: Path) -> Header:
    """Return what an image file says of itself.

    Raises:
        ValueError: It is no image.
    """
    try:
        if not path.is_file():  # a pipe would never end
            raise ValueError("there is no such file")
        with Image.open(path) as file:
            if file.format == "EPS":  # Pillow would have Ghostscript run it
                raise ValueError("an EPS, which is a program; save it as PNG")
            width, height = file.size
            # Only where it is at hand: Pillow would decode a PNG to look for it.
            exif = file.getexif() if {"exif", "xmp"} & file.info.keys() else {}
            if exif.get(ExifTags.Base.Orientation) in SIDEWAYS:
                width, height = height, width
            is_deep = file.mode.startswith("I")
            return Header(width, height, is_deep or file.mode in GREY_MODES, is_deep)
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        is_heic = path.suffix.lower() in {".heic", ".heif"}
        unread = "no image that Pillow can read" + ("; save it as JPEG" if is_heic else "")
        raise ValueError("an empty file" if empty else unread) from error
    except Exception as error:  # a broken file can raise almost any
        raise ValueError(getattr(error, "strerror", 0) or str(error) or repr(error)) from error


def check_one_size(headers: dict[int, Header], names: Sequence[str]) -> None:
    """Raise DataError if images differ in size.

    Args:
        headers: By the number of the file.
        names: Of all files.
    """
    sizes = Counter((each.width, each.height) for each in headers.values())
    if len(sizes) == 1:
        return
    examples = {(each.width, each.height): names[index] for index, each in headers.items()}
    told = [
        f"{width} x {height} ({count:,}, such as {examples[width, height]})"
        for (width, height), count in sizes.most_common(3)
    ]
    raise DataError(
        f"got images of {len(sizes):,} sizes, {', '.join(told)}; expected one; say to which they "
        "are to be brought, such as --set data.size=224: the shorter side is scaled to it, and "
        "the centre cropped"
    )
