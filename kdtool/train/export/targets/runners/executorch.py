"""Classify images with ExecuTorch: `python3 run.py IMAGE...`."""

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch  # of which ExecuTorch for Python needs the libraries; one for devices does not

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its interface for Python may change
    from executorch.extension.pybindings import portable_lib
    from executorch.runtime import Runtime


def load(path: Path, threads: int, facts: dict[str, Any]) -> Any:
    """Return the method of the program; XNNPACK computes it."""
    portable_lib._unsafe_reset_threadpool(threads)  # before a model is loaded
    return Runtime.get().load_program(path).load_method("forward")


def predict(model: Any, images: np.ndarray) -> np.ndarray:
    """Return probabilities `(N, K)`, computed an image at a time.

    Args:
        model: From `load`.
        images: float32 `(N, C, H, W)` in [0, 1], or of an int8 file int8 `(N, H, W, C)`, pixels
            less 128.
    """
    given = torch.from_numpy(images)
    answers = [model.execute([given[at : at + 1]]) for at in range(len(given))]
    return np.concatenate([probabilities.numpy() for _, probabilities in answers])  # logits first


if __name__ == "__main__":
    from common import main

    sys.exit(main(load, predict))
