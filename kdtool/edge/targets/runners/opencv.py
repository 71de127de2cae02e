"""Classify images with OpenCV, which reads the ONNX file: `python3 run.py IMAGE...`."""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def load(path: Path, threads: int, facts: dict[str, Any]) -> Any:
    """Return a network.

    OpenCV 5 has two engines. The new one does not load 8-bit files; the classic one computes
    depthwise convolutions of images of 1 x 1 pixels wrongly.
    """
    cv2.setNumThreads(threads)
    is_int8 = facts["precision"] == "int8"
    engine = cv2.dnn.ENGINE_CLASSIC if is_int8 else cv2.dnn.ENGINE_NEW
    network = cv2.dnn.readNetFromONNX(str(path), engine)
    if network.empty():  # of an operator that it lacks, it prints the name and raises nothing
        raise ValueError("OpenCV does not read the file")
    return network


def predict(model: Any, images: np.ndarray) -> np.ndarray:
    """Return probabilities `(N, K)`, computed an image at a time.

    Args:
        model: From `load`.
        images: uint8 `(N, H, W, C)`, red first (`cv2.imread` returns blue first), without
            `blobFromImage`; or of the form "tensor" float32 `(N, C, H, W)` in [0, 1].
    """
    answers = []
    for index in range(len(images)):
        model.setInput(images[index : index + 1], "image")
        answers.append(model.forward("probabilities").reshape(1, -1))
    return np.concatenate(answers)


if __name__ == "__main__":
    from common import main

    sys.exit(main(load, predict))
