"""Classify images with LiteRT: `python3 run.py IMAGE...`."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def load(path: Path, threads: int, facts: dict[str, Any]) -> Any:
    """Return the function that the file has; XNNPACK computes it."""
    return Interpreter(model_path=str(path), num_threads=threads).get_signature_runner()


def predict(model: Any, images: np.ndarray) -> np.ndarray:
    """Return probabilities `(N, K)`, computed an image at a time.

    Args:
        model: From `load`.
        images: float32 `(N, C, H, W)` in [0, 1].
    """
    # The logits are "output_0".
    answers = [model(args_0=images[at : at + 1])["output_1"] for at in range(len(images))]
    return np.concatenate(answers)


if __name__ == "__main__":
    from common import main

    sys.exit(main(load, predict))
