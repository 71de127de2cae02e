"""What is the same in every runtime: reading images, and writing answers.

`run.py` has what is particular to the runtime, `load` and `predict`.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
BATCH = 64


def main(load: Any, predict: Any) -> int:
    """Classify images; return 1 if one could not be read or the check failed, else 0.

    Args:
        load: Path of the model, threads and `model.json` -> a model.
        predict: A model and images as it takes them -> probabilities `(N, K)`.
    """
    parser = argparse.ArgumentParser(description="Classify images.")
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="image file")
    parser.add_argument("--check", action="store_true", help="compare the golden images")
    parser.add_argument("--npy", metavar="FILE", help="uint8 images (N, H, W, C), RGB or gray")
    parser.add_argument("--out", metavar="FILE", help="where the probabilities of --npy go, .npy")
    parser.add_argument("--threads", type=int, default=1, help="default: 1")
    args = parser.parse_args()
    if bool(args.npy) != bool(args.out) or not (args.images or args.npy or args.check):
        parser.error("give images, or --check, or --npy FILE --out FILE")
    facts = json.loads((HERE / "model.json").read_text(encoding="utf-8"))
    model = load(HERE / facts["file"], args.threads, facts)
    if args.npy:
        images = np.load(args.npy)
        starts = range(0, len(images), BATCH)
        answers = [predict(model, as_input(images[at : at + BATCH], facts)) for at in starts]
        np.save(args.out, np.concatenate(answers))
    if args.check and not check(model, predict, facts):
        return 1
    return classify(args.images, model, predict, facts)


def as_input(images: np.ndarray, facts: dict[str, Any]) -> np.ndarray:
    """Return uint8 images `(N, H, W, C)` as the model takes them."""
    match facts["takes"]:
        case "tensor":
            floats = images.transpose(0, 3, 1, 2).astype(np.float32)
            return np.ascontiguousarray(floats / 255)
        case "signed":
            return np.ascontiguousarray(images ^ np.uint8(128)).view(np.int8)  # less 128
        case _:
            return np.ascontiguousarray(images)


def pixels_of(path: Path | str, facts: dict[str, Any]) -> np.ndarray:
    """Return an image file as pixels of the model's size, uint8 `(1, H, W, C)`.

    Other decoders may differ: `cv2.imread`, for one, returns blue first.

    Raises:
        ValueError: It cannot be read.
    """
    from picture import read_image

    pixels, _ = read_image(path, [facts["height"], facts["width"], facts["channels"]])
    return np.asarray(pixels[None])


def classify(paths: list[str], model: Any, predict: Any, facts: dict[str, Any]) -> int:
    """Print the most probable classes of image files."""
    from picture import visible

    sys.stdout.reconfigure(errors="backslashreplace")  # the terminal may lack a letter
    labels = (HERE / "labels.txt").read_text(encoding="utf-8").splitlines()
    status = 0
    for path in paths:
        try:
            pixels = pixels_of(path, facts)
        except ValueError as error:
            print(visible(f"error: {error}"), file=sys.stderr)
            status = 1
            continue
        (probabilities,) = predict(model, as_input(pixels, facts))
        order = np.argsort(-probabilities, kind="stable").tolist()
        predicted = decide(probabilities[None], facts)[0]
        order.remove(predicted)
        shown = [predicted, *order[:2]]
        texts = (f"{labels[one]} {100 * probabilities[one]:.1f} %" for one in shown)
        print(visible(f"{path}: {', '.join(texts)}"))
    return status


def decide(probabilities: np.ndarray, facts: dict[str, Any]) -> np.ndarray:
    """Return the predicted class `(N,)`: the most probable one, or that of the threshold."""
    if facts["threshold"] is None:
        return np.asarray(probabilities.argmax(axis=1))
    positive = facts["positive"]  # the model has two classes
    is_positive = probabilities[:, positive] >= facts["threshold"]
    return np.asarray(np.where(is_positive, positive, 1 - positive))


def check(model: Any, predict: Any, facts: dict[str, Any]) -> bool:
    """Compare the golden images with their expected answers, print what differs."""
    expected = json.loads((HERE / "golden" / "expected.json").read_text(encoding="utf-8"))
    tolerance, failed, largest = expected["tolerance"], [], 0.0
    rounding = expected["rounding"] or tolerance  # of int8, where the class is the same
    for image in expected["images"]:
        name = image["file"]
        pixels = pixels_of(HERE / "golden" / name, facts)
        if hashlib.sha256(pixels.tobytes()).hexdigest() != image["pixels"]:
            failed.append(f"{name}: it is decoded to other pixels here than where it was made")
            continue
        (answer,) = predict(model, as_input(pixels, facts))
        difference = float(np.abs(answer - image["probabilities"]).max())
        largest = max(largest, difference)
        here, there = decide(np.array([answer, image["probabilities"]]), facts)
        if not difference <= (
            rounding if here == there else tolerance
        ):  # also if it is not a number
            failed.append(f"{name}: a probability differs by {difference:.2g}")
    for line in failed:
        print(line)
    num = len(expected["images"])
    print(
        f"{'FAILED' if failed else 'ok'}: {num - len(failed)} of {num} images as expected; "
        f"largest difference {largest:.1g}, allowed {rounding:g}"
    )
    return not failed
