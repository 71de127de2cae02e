"""The golden images of a kit: test images, and what the model says of them."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

NUM_GOLDEN = 16


def pick_golden(
    labels: NDArray[np.int64], probabilities: NDArray[np.float32], tolerance: float
) -> list[int]:
    """Choose images: half typical, of as many classes as there are, half hard.

    The margin of an image is how far its two most probable classes are apart. Typical are those
    that the model gets right by about the median margin of their class; hard are those of the least
    margin, where a difference shows first. None is so close that a difference within the tolerance
    could change the class, unless all are.

    Args:
        labels: `(N,)`.
        probabilities: `(N, K)`.
        tolerance: How far a probability may be off.

    Returns:
        At most `NUM_GOLDEN` places.
    """
    ordered = np.sort(probabilities, axis=1)
    margins = ordered[:, -1] - ordered[:, -2]  # (N,)
    clear = np.flatnonzero(margins > 2 * tolerance).tolist()
    if not clear:  # a model that is sure of nothing has golden images as well
        clear = list(range(len(labels)))
    right = [place for place in clear if probabilities[place].argmax() == labels[place]]
    turns = []  # (how many of the class are more typical, class, place)
    for label in np.unique(labels[right]).tolist():
        own = [place for place in right if labels[place] == label]
        distances = np.abs(margins[own] - np.median(margins[own]))
        order = np.argsort(distances, kind="stable").tolist()
        turns += [(turn, label, own[k]) for turn, k in enumerate(order)]
    typical = [place for _, _, place in sorted(turns)[: NUM_GOLDEN // 2]]
    hard = sorted(clear, key=lambda place: float(margins[place]))
    rest = [place for place in hard if place not in typical]
    return typical + rest[: NUM_GOLDEN - len(typical)]


def write_golden(
    folder: Path,
    images: NDArray[np.uint8],
    labels: list[str],
    probabilities: NDArray[np.float32],
    tolerance: float,
) -> None:
    """Write images as PNG files and what is expected of them as JSON.

    Args:
        folder: Is made.
        images: `(G, H, W, C)`, 1 or 3 channels.
        labels: G names.
        probabilities: `(G, K)`.
        tolerance: How far a probability may be off.
    """
    folder.mkdir(parents=True)
    entries = []
    for place, (image, label) in enumerate(zip(images, labels, strict=True)):
        name = f"{place:02}.png"
        Image.fromarray(image.squeeze(axis=2) if image.shape[2] == 1 else image).save(folder / name)
        # Seven digits tell float32 numbers in [0, 1] apart far below any tolerance.
        expected = [round(float(value), 7) for value in probabilities[place]]
        entries.append({"file": name, "label": label, "probabilities": expected})
    document = {"tolerance": tolerance, "images": entries}
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)
    (folder / "expected.json").write_text(text + "\n", encoding="utf-8")
