"""Check that the model answers here as it did where it was made: `python check.py`."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np
from classifier import image_shape, load, predict
from picture import read_image

HERE = Path(__file__).parent


def damaged() -> list[str]:
    """Return the files, scripts and texts apart, that are not as they were made."""
    try:
        hashes = json.loads((HERE / "manifest.json").read_bytes())["files"]
    except (OSError, ValueError, KeyError):
        return ["manifest.json"]
    data = [name for name in hashes if not name.endswith((".py", ".md", "requirements.txt"))]
    return [n for n in data if not (HERE / n).is_file() or sha256(HERE / n) != hashes[n]]


def sha256(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> int:
    """Compare the answers to the golden images; return 1 if some differ, else 0."""
    if files := damaged():
        print(f"FAILED: not as they were made: {', '.join(files)}; copy the kit again")
        return 1
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
