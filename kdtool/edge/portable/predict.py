"""Say what is on pictures: `python predict.py IMAGE...`."""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from classifier import decide, decision, image_shape, load, predict
from picture import read_image

HERE = Path(__file__).parent


def describe(path: str, session: Any, labels: list[str]) -> str:
    """Return the class that an image file is called, and the most probable others, as text."""
    pixels, (width, height) = read_image(path, image_shape(session))
    if pixels.shape[:2] != (height, width):
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        print(f"{path}: resized from {width} x {height} to {size}", file=sys.stderr)
    probabilities = predict(session, pixels[None])
    (called,) = decide(session, probabilities)
    best = [called, *(k for k in np.argsort(-probabilities[0], kind="stable") if k != called)]
    texts = {k: f"{labels[k]} {100 * probabilities[0, k]:.1f} %" for k in best[:3]}
    if chosen := decision(session):
        positive, threshold = chosen
        texts[positive] += f" (called from {100 * threshold:.4g} % on)"
    return ", ".join(texts.values())


def main() -> int:
    """Print a line for each image; return 1 if one of them could not be read, else 0."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("images", nargs="+", metavar="IMAGE")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # for terminals that lack a letter
    session = load(HERE / "model.onnx", args.threads)
    labels = (HERE / "labels.txt").read_text(encoding="utf-8").splitlines()
    status = 0
    for path in args.images:
        try:
            print(f"{path}: {describe(path, session, labels)}")
        except ValueError as error:
            print(error, file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
