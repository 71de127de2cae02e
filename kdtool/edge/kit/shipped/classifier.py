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
            with Image.open(path) as file:
                image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I"):  # 16 bits: keep the upper 8
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        if image.has_transparency_data:  # lay it on white
            white = Image.new("RGBA", image.size, "white")
            image = Image.alpha_composite(white, image.convert("RGBA"))
        image = image.convert("L" if channels == 1 else "RGB")
    except Exception as error:  # a broken file can raise almost any
        raise ValueError(f"cannot read {path}: {getattr(error, 'strerror', 0) or error}") from error
    size = image.size
    if isinstance(height, int) and size != (width, height):
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(image).reshape(image.height, image.width, channels), size


def predict(session: Any, images: np.ndarray) -> np.ndarray:
    """Return the probability of each class, `(N, K)`, for uint8 images `(N, H, W, C)`."""
    entry = session.get_inputs()[0]
    if entry.type != "tensor(uint8)":  # else the model scales and transposes by itself
        images = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    return np.asarray(session.run(["probabilities"], {entry.name: images})[0])
