"""Check a written page in headless Chromium: its golden images, and all test images."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdtool.edge.kit.readme import TOLERANCES
from kdtool.edge.targets.web.browser import Browser
from kdtool.errors import GateError

AT_ONCE = 4 << 20  # characters that are handed to the page in one message
MOST_AT_ONCE = 64  # images, as each message has to be answered in time
READY = "kdtool.ready.then(({results, classifier, ...outcome}) => outcome)"
ANSWERS = """(async () => {{
    const answers = [];
    for (const text of {texts}) {{
        const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
        answers.push((await kdtool.classify(new Blob([bytes]))).probabilities);
    }}
    return answers;
}})()"""


@dataclass(frozen=True, slots=True)
class WebCheck:
    """What a page answered in a browser."""

    browser: str  # name and version
    num_images: int
    ties: list[int]  # images with another class although ONNX Runtime's own margin is tiny
    max_difference: float  # of a probability
    num_golden: int  # golden images, which all passed


def check_page(
    browser: Browser, page: Path, images: NDArray[np.uint8], probabilities: NDArray[np.float32]
) -> WebCheck:
    """Open a page from the disk, and compare its answers with those of ONNX Runtime.

    Args:
        browser: Running.
        page: The HTML file with everything inside.
        images: `(N, H, W, C)`, of the model's size; they pass through the page as PNG files.
        probabilities: `(N, K)` in [0, 1], expected.

    Raises:
        GateError: The page's own check fails, or an image gets another class or probability.
    """
    browser.open(page.resolve().as_uri())
    outcome = _golden(browser)
    if not outcome["passed"]:
        raise GateError(
            f"in {browser.version()} the page fails its own check: {outcome['numSame']} of "
            f"{outcome['numImages']} golden images have the expected answers, largest difference "
            f"{outcome['largest']:.2g}"
        )
    answers = answers_of(browser, [_png(image) for image in images])
    difference = float(np.abs(answers - probabilities).max())
    tolerance, _ = TOLERANCES["fp32"]
    same = answers.argmax(axis=1) == probabilities.argmax(axis=1)
    ordered = np.sort(probabilities, axis=1)
    clear = ordered[:, -1] - ordered[:, -2] > 2 * tolerance
    if not difference <= tolerance or not same[clear].all():
        raise GateError(
            f"in {browser.version()} the page answers otherwise than ONNX Runtime: "
            f"{int(same.sum())} of {len(same)} test images get the same class, and the largest "
            f"difference of a probability is {difference:.2g}, allowed {tolerance:g}"
        )
    ties = np.flatnonzero(~same).tolist()
    return WebCheck(browser.version(), len(images), ties, difference, int(outcome["numImages"]))


def _golden(browser: Browser) -> dict[str, float]:
    """Return the outcome of the page's own check, when it is done."""
    browser.evaluate(
        "new Promise(done => { const wait = () => globalThis.kdtool ? done() : "
        "setTimeout(wait, 20); wait() })"
    )
    outcome: dict[str, float] = browser.evaluate(READY)
    return outcome


def answers_of(browser: Browser, pictures: Sequence[bytes]) -> NDArray[np.float64]:
    """Return the probabilities `(N, K)` that the open page gives to image files."""
    texts = [base64.b64encode(picture).decode() for picture in pictures]
    answers: list[list[float]] = []
    while len(answers) < len(texts):
        part: list[str] = []
        size = 0
        for text in texts[len(answers) :]:
            size += len(text)
            if part and (size > AT_ONCE or len(part) == MOST_AT_ONCE):
                break
            part.append(text)
        answers += browser.evaluate(ANSWERS.format(texts=json.dumps(part)))
    return np.array(answers)


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    shown = image.squeeze(axis=2) if image.shape[2] == 1 else image
    Image.fromarray(shown).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
