"""How a picture becomes what the model takes; import these functions in your program."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps


def read_image(path: Path | str, shape: list[Any]) -> tuple[np.ndarray, tuple[int, int]]:
    """Return a file's pixels, uint8 `(H, W, C)` of that shape, and the width and height it had."""
    height, width, channels = shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            image = open_image(path, channels)
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    size = image.size
    if isinstance(height, int):
        image = fit(image, width, height)
    return np.asarray(image).reshape(image.height, image.width, channels), size


def open_image(path: Path | str, channels: int) -> Image.Image:
    """Return a file's picture, upright, grey or in colour; the first one if it holds several."""
    try:
        # Not by its name, as Pillow then maps it into memory, and scrambles a turned TIFF.
        with Path(path).open("rb") as stream, Image.open(stream) as file:
            image = ImageOps.exif_transpose(file)
        if image.mode[0] in "IF":  # 16 bits: keep the upper 8
            values = np.asarray(image)
            if image.mode == "F" or values.min() < 0 or values.max() > 0xFFFF:
                raise ValueError("its pixels have 32 bits of unknown range, expected 8 or 16")
            image = Image.fromarray((values >> 8).astype(np.uint8))
        if image.has_transparency_data:  # lay it on white
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        return image.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # a broken file can raise almost any
        raise ValueError(getattr(error, "strerror", 0) or str(error) or repr(error)) from error


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale the shorter side as Pillow does it, bilinear with antialiasing, and crop the centre."""
    wide, high = image.size
    scaled_width, scaled_height = width, max(height, width * high // wide)
    if height * wide >= width * high:
        scaled_width, scaled_height = max(width, height * wide // high), height
    left, top = (scaled_width - width) // 2, (scaled_height - height) // 2
    # In pixels of the image: what is cropped away is not computed, however long the image is.
    box = (
        left * wide / scaled_width,
        top * high / scaled_height,
        (left + width) * wide / scaled_width,
        (top + height) * high / scaled_height,
    )
    return image.resize((width, height), Image.Resampling.BILINEAR, box)
