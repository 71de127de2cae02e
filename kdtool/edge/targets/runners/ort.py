"""Classify images with ONNX Runtime, from a file in its own format: `python3 run.py IMAGE...`."""

import os
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # has no effect after the import

import numpy as np
import onnxruntime


def load(path: Path, threads: int, facts: dict[str, Any]) -> Any:
    """Return a session. The file is optimized already, for any processor of its kind."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what is fatal is raised as well
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def predict(model: Any, images: np.ndarray) -> np.ndarray:
    """Return probabilities `(N, K)`.

    Args:
        model: From `load`.
        images: uint8 `(N, H, W, C)`, or of the form "tensor" float32 `(N, C, H, W)` in [0, 1].
    """
    return np.asarray(model.run(["probabilities"], {"image": images})[0])


if __name__ == "__main__":
    from common import main

    sys.exit(main(load, predict))
