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

    Hard are those whose two most probable classes are closest, where a difference shows first; but
    not so close that a difference within the tolerance could change the class.

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
    seen: dict[int, int] = {}
    turns = []  # how many images of the same class come before
    for place in clear:
        label = int(labels[place])
        turns.append(seen.get(label, 0))
        seen[label] = turns[-1] + 1
    spread = [clear[k] for k in np.argsort(turns, kind="stable")]
    hard = sorted(clear, key=lambda place: float(margins[place]))
    typical = spread[: NUM_GOLDEN // 2]
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
