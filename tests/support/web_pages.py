"""Pages of small classifiers, opened in Chromium.

The tests run with a stand-in for onnxruntime-web, which computes the linear classifier of
`write_classifier`, so that they need no network; and with onnxruntime-web itself where the
environment variable KDTOOL_ONNXRUNTIME_WEB is the path of its package:

    npm pack onnxruntime-web@1.30.0
    KDTOOL_ONNXRUNTIME_WEB=$PWD/onnxruntime-web-1.30.0.tgz uv run pytest tests/edge/targets/web
"""

import functools
import json
import os
import threading
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from classifiers import write_classifier

from kdtool.edge.kit.build import Answered
from kdtool.edge.kit.readme import KitFacts
from kdtool.edge.targets.web.runtime import WebRuntime, find_runtime
from kdtool.edge.targets.web.write import write_web
from kdtool.environment import collect_environment
from kdtool.files import sha256_of
from kdtool.results.study import FileResult, Parity

GIVEN = os.environ.get("KDTOOL_ONNXRUNTIME_WEB")
NUM_IMAGES = 40
SIZE = (28, 20)  # height and width
CLASSES = ("warbler", "great spotted woodpecker", "oak", "犬 <b>", "fox", "orchid", "beetle")

STAND_IN = """
const weight = %s, bias = %s;
class Tensor { constructor(type, data, dims) { Object.assign(this, {type, data, dims}); } }
class InferenceSession {
  static async create(bytes) {
    if (bytes.length < 100) throw new Error("no model");
    return new InferenceSession();
  }
  inputNames = ["image"];
  async run({image: {data, dims: [, height, width, channels]}}) {
    const area = height * width;
    const logits = weight.map((row, k) => {
      let sum = bias[k];
      for (let place = 0; place < data.length; place++) {
        sum += row[(place %% channels) * area + Math.floor(place / channels)] * data[place] / 255;
      }
      return sum;
    });
    const highest = Math.max(...logits);
    const powers = logits.map(one => Math.exp(one - highest));
    const total = powers.reduce((one, other) => one + other);
    return {probabilities: {data: Float32Array.from(powers, one => one / total)}};
  }
}
const settings = {wasm: {}};
export{InferenceSession as InferenceSession,Tensor as Tensor,settings as env};
"""


def stand_in(model):
    """A runtime that computes `model`, of `write_classifier`, and nothing else."""
    script = STAND_IN % (json.dumps(model.weight.tolist()), json.dumps(model.bias.tolist()))
    return WebRuntime("stand-in", script.encode(), b"\0asm\1\0\0\0")


@functools.cache
def onnxruntime_web():
    if GIVEN is None:
        pytest.skip("KDTOOL_ONNXRUNTIME_WEB is not the path of onnxruntime-web's package")
    return find_runtime(Path(GIVEN))


def write_page(folder, name="stand-in", form="pixels", channels=3, classes=CLASSES, **changes):
    """Write a classifier and its page; returns the paths, and the classifier."""
    model = write_classifier(
        folder / "model.onnx", form, channels, classes, changes.pop("decision", None), SIZE
    )
    images = np.random.default_rng(2).integers(
        0, 256, (NUM_IMAGES, *SIZE, channels), dtype=np.uint8
    )
    probabilities = changes.pop("probabilities", model.answer(images).astype(np.float32))
    parity = Parity(num_images=NUM_IMAGES, agreement=1, max_abs_error=0, flipped=[], passed=True)
    facts = KitFacts(
        study="birds",
        role="student",
        precision=changes.pop("precision", "fp32"),
        file=FileResult(
            path=model.path.name,
            sha256=changes.pop("sha256", sha256_of(model.path)),
            size_bytes=model.path.stat().st_size,
            opset=18,
            accuracy=0.9,
            parity=parity,
        ),
        reason="",
        data="40 test images of noise",
        rates=None,
        environment=collect_environment(),
    )
    assert not changes
    check = write_web(
        folder / "web",
        model.path,
        facts,
        Answered(
            images=images,
            labels=np.arange(NUM_IMAGES) % len(classes),
            probabilities=probabilities,
        ),
        stand_in(model) if name == "stand-in" else onnxruntime_web(),
    )
    page, site = folder / "web" / "classifier.html", folder / "web" / "site"
    return SimpleNamespace(
        page=page,
        site=site,
        model=model.path,
        check=check,
        images=images,
        model_answers=model.answer(images),
    )


@contextmanager
def serving(folder, headers=()):
    """Serve a folder, and yield its address."""

    class Handler(SimpleHTTPRequestHandler):
        extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript"}

        def end_headers(self):
            for name, value in headers:
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *args):
            """Say nothing."""

    handler = functools.partial(Handler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
