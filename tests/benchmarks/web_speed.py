"""How much slower a model is in a browser than in ONNX Runtime on the same machine.

    npm pack onnxruntime-web@1.30.0
    uv run python tests/benchmarks/web_speed.py onnxruntime-web-1.30.0.tgz MODEL.onnx...

Each round times every model here and in headless Chromium, one after the other, one thread each,
and takes the median of several blocks of runs: the clock of a page has steps of 0.1 ms. Prints for
each model the median of the ratios of the rounds with their quartiles, the time in the browser, and
the largest difference of a probability. The ratio is what is worth keeping: times are those of this
machine at this moment.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdtool.edge.portable.classifier import image_shape, predict
from kdtool.edge.session import InferenceSession, open_session
from kdtool.edge.targets.web.browser import Browser, find_chromium
from kdtool.edge.targets.web.page import json_bytes, one_file
from kdtool.edge.targets.web.runtime import WASM, WebRuntime, find_runtime

BLOCK_MS = 10
SECONDS = 0.3  # that one model is run for in a round, on either side
OTHER_SIZE = (96, 96)  # of the images of a model that resizes them itself
TIMED = """(async () => {
    const BLOCK_MS = %d;
    const image = {%s};
    image.pixels = Uint8Array.from({length: image.width * image.height * image.channels},
        (_, k) => k * 7919 %% 251);
    const times = [];
    let last = await kdtool.answer(image);
    for (const end = performance.now() + %d; performance.now() < end; ) {
        const start = performance.now();
        let runs = 0;
        do {
            last = await kdtool.answer(image);
            runs++;
        } while (performance.now() < start + BLOCK_MS);
        times.push((performance.now() - start) / runs);
    }
    return [times, last.probabilities];
})()"""


def write_page(model: Path, runtime: WebRuntime, folder: Path) -> tuple[Path, InferenceSession]:
    """Write a page without golden images; return it, and the model's session here."""
    session = open_session(model)
    height, width, channels = image_shape(session)
    facts: dict[str, object] = {
        "title": model.name,
        "classes": [],
        "input": "pixels",
        "height": height if isinstance(height, int) else None,
        "width": width if isinstance(width, int) else None,
        "channels": channels,
        "columns_first": True,
        "decision": None,
        "wasm": WASM,
    }
    content = {
        "model.onnx": model.read_bytes(),
        "golden/expected.json": json_bytes({"tolerance": 0, "images": []}),
    }
    page = folder / f"{model.stem}.html"
    page.write_bytes(one_file(facts, {}, runtime, content))
    return page, session


def pixels(session: InferenceSession) -> NDArray[np.uint8]:
    """Return the image that `TIMED` runs, too: `(1, H, W, C)`."""
    *size, channels = image_shape(session)
    height, width = size if isinstance(size[0], int) else OTHER_SIZE
    values = np.arange(height * width * channels) * 7919 % 251
    return values.astype(np.uint8).reshape(1, height, width, channels)


def native_ms(session: InferenceSession, image: NDArray[np.uint8]) -> float:
    """Return the time of a run here, the median of blocks."""
    predict(session, image)
    times = []
    end = time.perf_counter() + SECONDS
    while (start := time.perf_counter()) < end:
        runs = 0
        while runs == 0 or time.perf_counter() < start + BLOCK_MS / 1000:
            predict(session, image)
            runs += 1
        times.append((time.perf_counter() - start) / runs)
    return 1000 * statistics.median(times)


def compare(browser: Browser, model: Path, runtime: WebRuntime, folder: Path, rounds: int) -> str:
    """Return a line of the table."""
    page, session = write_page(model, runtime, folder)
    image = pixels(session)
    _, height, width, channels = image.shape
    fields = f"width: {width}, height: {height}, channels: {channels}"
    browser.open(page.as_uri())
    ratios, here, there = [], [], []
    for _ in range(rounds):
        here.append(native_ms(session, image))
        times, answers = browser.evaluate(TIMED % (BLOCK_MS, fields, 1000 * SECONDS))
        there.append(statistics.median(times))
        ratios.append(there[-1] / here[-1])
    difference = np.abs(np.array(answers) - predict(session, image)[0]).max()
    low, middle, high = statistics.quantiles(ratios, n=4)
    return (
        f"| {model.name} | {middle:.2f} ({low:.2f} to {high:.2f}) | "
        f"{statistics.median(there):.2f} | {statistics.median(here):.2f} | {difference:.0e} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runtime", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    runtime, chromium = find_runtime(args.runtime), find_chromium()
    if chromium is None:
        parser.error("Chromium is not installed: apt install chromium")
    columns = ("time / native (quartiles)", "ms", "native ms", "largest difference")
    print("|", " | ".join([f"onnxruntime-web {runtime.version}", *columns]), "|")
    print("|---|---|---|---|---|")
    with Browser(chromium) as browser, tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            print(compare(browser, model, runtime, Path(folder), args.rounds), flush=True)
        print(f"{browser.version()}, {args.rounds} rounds, one thread")


if __name__ == "__main__":
    main()
