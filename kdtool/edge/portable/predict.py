"""Classify images: `python3 predict.py IMAGE...`."""

import argparse
import shlex
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

if sys.version_info < (3, 10):  # noqa: UP036  the file still compiles on 3.6
    sys.exit(
        "error: this kit needs Python 3.10 or newer, and this is Python "
        f"{sys.version.split()[0]}; run it as python3.10 predict.py, or install a newer Python"
    )

try:
    import numpy as np
    from classifier import decide, decision, image_shape, load, predict
    from picture import read_image, visible
except ImportError as error:
    if error.name in {"classifier", "picture"}:
        sys.exit(f"error: {HERE / error.name}.py is missing; copy the kit again")
    install = [sys.executable, "-m", "pip", "install", "-r", str(HERE / "requirements.txt")]
    reason = str(error).strip().splitlines()[0]
    sys.exit(f"error: {reason}; install what the kit needs: {' '.join(map(shlex.quote, install))}")


def main() -> int:
    """Print one line for each image; return 1 if an image could not be read, else 0."""
    parser = argparse.ArgumentParser(description="Classify images.")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="image file")
    parser.add_argument("--threads", type=at_least_one, default=1, help="default: 1")
    args = parser.parse_args()
    sys.stdout.reconfigure(errors="backslashreplace")  # the terminal may lack a letter
    try:
        session = load(HERE / "model.onnx", args.threads)
        labels = read_labels(HERE / "labels.txt", session)
    except ValueError as error:
        sys.exit(visible(f"error: {error}"))
    status = 0
    for path in args.images:
        try:
            print(visible(f"{path}: {describe(path, session, labels)}"))
        except ValueError as error:
            print(visible(f"error: {error}"), file=sys.stderr)
            status = 1
    return status


def at_least_one(text: str) -> int:
    """Return a number of threads.

    Raises:
        argparse.ArgumentTypeError: It is not a whole number of at least 1.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text}")
    return int(text)


def read_labels(path: Path, session: Any) -> list[str]:
    """Return the class names in `labels.txt`, in the order of the model's outputs.

    Raises:
        ValueError: The file cannot be read, or has too few or too many lines for the model.
    """
    try:
        labels = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise ValueError(f"cannot read {path}: {why}; copy the kit again") from error
    shapes = {output.name: output.shape for output in session.get_outputs()}
    num_classes = shapes["probabilities"][-1]
    if isinstance(num_classes, int) and len(labels) != num_classes:
        raise ValueError(
            f"{path} has {len(labels)} lines, but the model has {num_classes} classes; write one "
            "class name per line, or copy the kit again"
        )
    return labels


def describe(path: str, session: Any, labels: list[str]) -> str:
    """Return the predicted class of an image file and the next most probable ones, as text.

    Raises:
        ValueError: The image cannot be read.
    """
    pixels, (width, height) = read_image(path, image_shape(session))
    if pixels.shape[:2] != (height, width):
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        print(visible(f"{path}: resized from {width} x {height} to {size}"), file=sys.stderr)
    probabilities = predict(session, pixels[None])  # (1, K)
    (predicted,) = decide(session, probabilities)
    order = np.argsort(-probabilities[0], kind="stable")
    first = [predicted, *(index for index in order if index != predicted)][:3]
    texts = {index: f"{labels[index]} {100 * probabilities[0, index]:.1f} %" for index in first}
    chosen = decision(session)
    if chosen is not None:
        positive, threshold = chosen
        texts[positive] += f" (threshold {100 * threshold:.4g} %)"
    return ", ".join(texts.values())


if __name__ == "__main__":
    sys.exit(main())
