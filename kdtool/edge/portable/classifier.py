"""Load and run the model; import these functions into your own program."""

import json
import os
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # has no effect after the import

import numpy as np
import onnxruntime


def load(path: Path | str, threads: int = 1) -> Any:
    """Return an onnxruntime session of the model, on the CPU.

    Raises:
        ValueError: The file is missing, damaged, or too new for this onnxruntime.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path} is missing; copy the kit again")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what is fatal is raised as well
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own errors share no other base class
        reason = " ".join(str(error).split())
        raise ValueError(
            f"cannot load {path}: it is damaged (copy the kit again) or needs a newer onnxruntime "
            f"than {onnxruntime.__version__}: {reason}"
        ) from error


def image_shape(session: Any) -> list[Any]:
    """Return height, width and channels of the model's images; a text means any size."""
    entry = session.get_inputs()[0]
    _, *dims = entry.shape
    return dims if entry.type == "tensor(uint8)" else [*dims[1:], dims[0]]


def predict(session: Any, images: np.ndarray) -> np.ndarray:
    """Return the probability of each class, `(N, K)` in [0, 1].

    Args:
        session: From `load`.
        images: uint8 `(N, H, W, C)`.
    """
    entry = session.get_inputs()[0]
    if entry.type != "tensor(uint8)":  # a model of uint8 input scales and transposes by itself
        images = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    return np.asarray(session.run(["probabilities"], {entry.name: images})[0])


def decision(session: Any) -> tuple[int, float] | None:
    """Return the index of the positive class and its threshold in [0, 1], or None.

    None: the most probable class is the predicted one.
    """
    texts = session.get_modelmeta().custom_metadata_map
    chosen = json.loads(texts.get("kdtool.decision", '{"rule": "argmax"}'))
    if chosen["rule"] == "argmax":
        return None
    classes = json.loads(texts["kdtool.classes"])
    return classes.index(chosen["positive"]), float(chosen["threshold"])


def decide(session: Any, probabilities: np.ndarray) -> np.ndarray:
    """Return the index of the predicted class of each image, `(N,)`.

    Args:
        session: From `load`.
        probabilities: `(N, K)` from `predict`.
    """
    chosen = decision(session)
    if chosen is None:
        return np.asarray(probabilities.argmax(axis=1))
    positive, threshold = chosen  # the model has two classes
    return np.where(probabilities[:, positive] >= threshold, positive, 1 - positive)
