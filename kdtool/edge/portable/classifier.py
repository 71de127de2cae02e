"""The model; import these functions in your program."""

import json
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


def decision(session: Any) -> tuple[int, float] | None:
    """Return which class is called from what probability on; None: the most probable is called."""
    texts = session.get_modelmeta().custom_metadata_map
    chosen = json.loads(texts.get("kdtool.decision", '{"rule": "argmax"}'))
    if chosen["rule"] == "argmax":
        return None
    classes = json.loads(texts["kdtool.classes"])
    return classes.index(chosen["positive"]), float(chosen["threshold"])


def decide(session: Any, probabilities: np.ndarray) -> np.ndarray:
    """Return the class `(N,)` that images are called, by their probabilities `(N, K)`."""
    chosen = decision(session)
    if chosen is None:
        return np.asarray(probabilities.argmax(axis=1))
    positive, threshold = chosen  # of two classes
    return np.where(probabilities[:, positive] >= threshold, positive, 1 - positive)
