"""Classify images with ncnn: `python3 run.py IMAGE...`."""

import sys
from pathlib import Path
from typing import Any

import ncnn
import numpy as np


def load(path: Path, threads: int, facts: dict[str, Any]) -> Any:
    """Return a network that computes in float32; its weights are in `model.bin`.

    ncnn computes in float16 or bfloat16 on processors that have them: faster, with other answers.
    """
    network = ncnn.Net()
    network.opt.num_threads = threads
    network.opt.use_fp16_packed = False
    network.opt.use_fp16_storage = False
    network.opt.use_fp16_arithmetic = False
    network.opt.use_bf16_packed = False
    network.opt.use_bf16_storage = False
    weights = path.with_suffix(".bin")
    # Of a layer that it lacks, it prints the name and raises nothing.
    if network.load_param(str(path)) != 0 or network.load_model(str(weights)) != 0:
        raise ValueError("ncnn does not read the file")
    return network


def predict(model: Any, images: np.ndarray) -> np.ndarray:
    """Return probabilities `(N, K)`, computed an image at a time.

    Args:
        model: From `load`.
        images: float32 `(N, C, H, W)` in [0, 1].
    """
    if images.dtype != np.float32:  # ncnn would read beyond them
        raise ValueError(f"expected float32 images, got {images.dtype}")
    answers = []
    for image in images:
        extractor = model.create_extractor()
        extractor.input("in0", ncnn.Mat(image))
        status, probabilities = extractor.extract("out1")  # the logits are "out0"
        if status != 0:
            raise ValueError("ncnn cannot compute the network")
        answers.append(np.array(probabilities).reshape(-1))
    return np.stack(answers)


if __name__ == "__main__":
    from common import main

    sys.exit(main(load, predict))
