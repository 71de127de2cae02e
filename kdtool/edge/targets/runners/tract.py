"""Classify images with tract, which reads the ONNX file: `python3 run.py IMAGE...`."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tract

PROBABILITIES = 1  # tract loses the names of outputs, and keeps their order: logits come first


def load(path: Path, threads: int, facts: dict[str, Any]) -> Any:
    """Return a network that is ready to run; tract computes in one thread."""
    return tract.onnx().load(str(path)).into_model().into_runnable()


def predict(model: Any, images: np.ndarray) -> np.ndarray:
    """Return probabilities `(N, K)`, computed an image at a time.

    Args:
        model: From `load`.
        images: uint8 `(N, H, W, C)`, or of the form "tensor" float32 `(N, C, H, W)` in [0, 1].
    """
    answers = [model.run([images[at : at + 1]]) for at in range(len(images))]
    return np.concatenate([answer[PROBABILITIES].to_numpy() for answer in answers])


if __name__ == "__main__":
    from common import main

    sys.exit(main(load, predict))
