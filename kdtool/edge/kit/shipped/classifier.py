"""The model, and how a picture becomes what it takes; import these functions in your program."""

import os
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # too late after the import

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def load(path: Path | str, threads: int = 1) -> Any:
    """Return the model, ready to run on the processor."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def image_shape(session: Any) -> list[Any]:
    """Return height, width and channels of the model's images; text stands for any number."""
    entry = session.get_inputs()[0]
    _, *dims = entry.shape
    return dims if entry.type == "tensor(uint8)" else [*dims[1:], dims[0]]


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
        if image.mode.startswith("I"):  # 16 bits: keep the upper 8
            values = np.asarray(image)
            if values.min() < 0 or values.max() > 0xFFFF:
                raise ValueError("its pixels have 32 bits, expected 8 or 16")
            image = Image.fromarray((values >> 8).astype(np.uint8))
        if image.mode == "F":
            raise ValueError("its pixels are floating point numbers, expected 8 or 16 bits")
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


def predict(session: Any, images: np.ndarray) -> np.ndarray:
    """Return the probability of each class, `(N, K)`, for uint8 images `(N, H, W, C)`."""
    entry = session.get_inputs()[0]
    if entry.type != "tensor(uint8)":  # else the model scales and transposes by itself
        images = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    return np.asarray(session.run(["probabilities"], {entry.name: images})[0])
