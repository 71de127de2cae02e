"""The model; import these functions in your program."""

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # too late after the import

import numpy as np
import onnxruntime


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


def predict(session: Any, images: np.ndarray) -> np.ndarray:
    """Return the probability of each class, `(N, K)`, for uint8 images `(N, H, W, C)`."""
    entry = session.get_inputs()[0]
    if entry.type != "tensor(uint8)":  # else the model scales and transposes by itself
        images = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    return np.asarray(session.run(["probabilities"], {entry.name: images})[0])
