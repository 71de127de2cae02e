"""Check that the model answers here as it did where it was made: `python check.py`."""

import json
import sys
from pathlib import Path

import numpy as np
from classifier import image_shape, load, predict, read_image

HERE = Path(__file__).parent


def main() -> int:
    """Compare the answers to the golden images; return 1 if some differ, else 0."""
    expected = json.loads((HERE / "golden" / "expected.json").read_text(encoding="utf-8"))
    tolerance, images = expected["tolerance"], expected["images"]
    session = load(HERE / "model.onnx")
    differences = []
    for image in images:
        pixels, _ = read_image(HERE / "golden" / image["file"], image_shape(session))
        probabilities = predict(session, pixels[None])[0]
        differences.append(np.abs(probabilities - image["probabilities"]).max())
        if not differences[-1] <= tolerance:
            print(f"{image['file']}: a probability differs by {differences[-1]:.2g}")
    num_same = sum(difference <= tolerance for difference in differences)
    print(
        f"{'ok' if num_same == len(images) else 'FAILED'}: {num_same} of {len(images)} images "
        f"as expected, largest difference {np.max(differences):.1g}, allowed {tolerance:g}"
    )
    return int(num_same < len(images))


if __name__ == "__main__":
    sys.exit(main())
