"""Classify images with OpenVINO, which reads the ONNX file: `python3 run.py IMAGE...`."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

# Importing openvino sends telemetry, unless this module cannot be imported.
sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]

import openvino  # noqa: E402


def load(path: Path, threads: int, facts: dict[str, Any]) -> Any:
    """Return a compiled model, which computes in float32 what is not 8 bits in the file.

    Without the hint OpenVINO computes in bfloat16 on processors that have it: faster, with other
    answers.
    """
    core = openvino.Core()
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(core.read_model(path), "CPU", settings)


def predict(model: Any, images: np.ndarray) -> np.ndarray:
    """Return probabilities `(N, K)`.

    Args:
        model: From `load`.
        images: uint8 `(N, H, W, C)`, or of the form "tensor" float32 `(N, C, H, W)` in [0, 1].
    """
    return np.array(model(images)["probabilities"])


if __name__ == "__main__":
    from common import main

    sys.exit(main(load, predict))
