"""Read image files as the pixels that the model takes; import `read_image` into your program."""

import os
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

ALWAYS_READ = 2**24  # pixels; a picture of this size takes 64 MB
# Of a larger one; deflate packs 1,032 equal pixels into a byte, photographs take a tenth and more.
MOST_PIXELS_A_BYTE = 10_000


def read_image(path: Path | str, shape: list[Any]) -> tuple[np.ndarray, tuple[int, int]]:
    """Read an image file and bring it to the model's size.

    Args:
        path: Any format that Pillow reads.
        shape: Height, width and channels (1 or 3), from `image_shape`.

    Returns:
        Pixels, uint8 `(H, W, C)`, and the width and height of the file's image.

    Raises:
        ValueError: The file is missing or is not a readable image.
    """
    height, width, channels = shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = open_image(path, channels)
    except ValueError as error:
        hint = "; give image files, not a folder" if os.path.isdir(path) else ""  # noqa: PTH112
        raise ValueError(f"cannot read {path}: {error}{hint}") from error
    size = image.size
    if isinstance(height, int):
        image = fit(image, width, height)
    return np.asarray(image).reshape(image.height, image.width, channels), size


def open_image(path: Path | str | BinaryIO, channels: int) -> Image.Image:
    """Return the (first) image of a file, upright, as grayscale or RGB.

    Raises:
        ValueError: The file is missing or is not a readable image.
    """
    try:
        # Opened here: given a name, Pillow maps a TIFF into memory and scrambles a rotated one.
        opened = Path(path).open("rb") if isinstance(path, (Path, str)) else path  # noqa: SIM115
        with opened as stream, Image.open(stream) as file:
            check_header(file, stream)
            image = ImageOps.exif_transpose(file)
        if image.mode[0] in "IF":  # 16 bits: keep the upper 8
            values = np.asarray(image)
            if image.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
                raise ValueError("its pixels have 32 bits of unknown range, expected 8 or 16 bits")
            image = Image.fromarray((values >> 8).astype(np.uint8))
        if image.has_transparency_data:  # put it on white
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        return image.convert("L" if channels == 1 else "RGB")
    except UnidentifiedImageError as error:  # its own message shows a Python object
        empty = isinstance(path, (Path, str)) and Path(path).stat().st_size == 0
        what = "it is not an image, or in a format that Pillow does not read"
        raise ValueError("it is an empty file, of 0 bytes" if empty else what) from error
    except ValueError:
        raise
    except Exception as error:  # Pillow raises many kinds for a damaged file
        by_system = getattr(error, "strerror", "")
        why = by_system or str(error) or repr(error)
        is_bomb = isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning))
        if by_system or is_bomb:
            raise ValueError(why) from error
        raise ValueError(f"it is damaged or truncated ({why})") from error


def check_header(file: Image.Image, stream: BinaryIO) -> None:
    """Refuse what reading the pixels would run, or a small file that claims a huge picture.

    Args:
        file: Of which the header is read, and no pixels.
        stream: That it is read from.

    Raises:
        ValueError: It is a program, or far too small for the width and height in its header.
    """
    if file.format == "EPS":  # Pillow would have Ghostscript run it
        raise ValueError("an EPS file is a program; save it as PNG")
    place, num_bytes = stream.tell(), stream.seek(0, 2)
    stream.seek(place)
    if file.width * file.height > max(ALWAYS_READ, MOST_PIXELS_A_BYTE * num_bytes):
        raise ValueError(
            f"its header claims {file.width} x {file.height} pixels (width x height) in a file of "
            f"{num_bytes} bytes, too few for a picture of that size"
        )


def visible(text: str) -> str:
    """Return text in which no character controls a terminal: such a one is shown by its number."""
    return "".join(c if c.isprintable() or c in "\n\u200c\u200d" else repr(c)[1:-1] for c in text)


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """Resize the shorter side (bilinear with antialiasing) and crop the centre."""
    wide, high = image.size
    scaled_width, scaled_height = width, max(height, width * high // wide)
    if height * wide >= width * high:
        scaled_width, scaled_height = max(width, height * wide // high), height
    left, top = (scaled_width - width) // 2, (scaled_height - height) // 2
    # In pixels of the file's image, so that only the kept part is computed.
    box = (
        left * wide / scaled_width,
        top * high / scaled_height,
        (left + width) * wide / scaled_width,
        (top + height) * high / scaled_height,
    )
    return image.resize((width, height), Image.Resampling.BILINEAR, box)
