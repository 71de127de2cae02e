"""Check that the model gives the same results here as where it was made: `python3 check.py`."""

import hashlib
import json
import shlex
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent

if sys.version_info < (3, 10):  # noqa: UP036  the file still compiles on 3.6
    sys.exit(
        "error: this kit needs Python 3.10 or newer, and this is Python "
        f"{sys.version.split()[0]}; run it as python3.10 check.py, or install a newer Python"
    )

try:
    import numpy as np
    from classifier import decide, image_shape, load, predict
    from picture import read_image
except ImportError as error:
    if error.name in {"classifier", "picture"}:
        sys.exit(f"error: {HERE / error.name}.py is missing; copy the kit again")
    install = [sys.executable, "-m", "pip", "install", "-r", str(HERE / "requirements.txt")]
    reason = str(error).strip().splitlines()[0]
    sys.exit(f"error: {reason}; install what the kit needs: {' '.join(map(shlex.quote, install))}")


def main() -> int:
    """Compare the probabilities of the golden images; return 1 if one differs, else 0."""
    changed = changed_files()
    if changed:
        print(f"FAILED: missing or changed: {', '.join(changed)}; copy the kit again")
        return 1
    expected = json.loads((HERE / "golden" / "expected.json").read_text(encoding="utf-8"))
    tolerance, images = expected["tolerance"], expected["images"]
    differences, num_classes = [], 0
    try:
        session = load(HERE / "model.onnx")
        for image in images:
            pixels, _ = read_image(HERE / "golden" / image["file"], image_shape(session))
            probabilities = predict(session, pixels[None])[0]  # (K,)
            differences.append(np.abs(probabilities - image["probabilities"]).max())
            here, there = decide(session, np.array([probabilities, image["probabilities"]]))
            num_classes += int(here == there)
            if not differences[-1] <= tolerance:  # also where it is not a number
                print(f"{image['file']}: a probability differs by {differences[-1]:.2g}")
    except ValueError as error:
        print(f"FAILED: {error}")
        return 1
    num_same = sum(difference <= tolerance for difference in differences)
    largest, verdict = np.max(differences), "FAILED"
    if num_same == len(images):
        verdict = "ok"
    elif num_classes == len(images) and largest <= (expected.get("rounding") or 0):
        verdict = "ok, with another platform's rounding of int8: the same classes"
    print(
        f"{verdict}: {num_same} of {len(images)} images as expected; largest difference "
        f"{largest:.1g}, allowed {tolerance:g}"
    )
    return int(verdict == "FAILED")


def changed_files() -> list[str]:
    """Return the names of missing or changed files; scripts and texts may be edited."""
    try:
        hashes = json.loads((HERE / "manifest.json").read_bytes())["files"]
    except (OSError, ValueError, KeyError):
        return ["manifest.json"]
    data = [name for name in hashes if not name.endswith((".py", ".md", "requirements.txt"))]
    return [n for n in data if not (HERE / n).is_file() or sha256(HERE / n) != hashes[n]]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
