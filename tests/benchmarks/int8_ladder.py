"""What each rung of the int8 ladder costs in accuracy, for any ONNX file and images.

    uv run python tests/benchmarks/int8_ladder.py MODEL.onnx DATA.npz [--nncf PYTHON]

DATA.npz holds inputs of the model: `calibration` `(K, ...)`, `images` `(N, ...)` and `labels`
`(N,)`. All rungs are tried, whether one passes or not, and other percentiles. PYTHON is the
interpreter of an environment with nncf and onnx, such as after

    uv venv nncf-env && uv pip install -p nncf-env nncf onnx onnxruntime

whose `nncf.quantize` with sequential bias correction gets the same file and images. Times are
those of each file / those of fp32, measured in turn.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx

from kdtool.edge.int8.quantize import to_int8
from kdtool.edge.int8.ranges import percentile
from kdtool.edge.latency.measure import measure, ratio_of
from kdtool.edge.session import open_session
from kdtool.train.export.accuracy import accuracy_difference
from kdtool.train.export.ladder import STEPS, Tried, climb, network_of, noise_of

BATCH = 100
NNCF = """
import sys
import numpy as np, onnx, nncf
model, images = onnx.load(sys.argv[1]), np.load(sys.argv[2])["calibration"]
name = model.graph.input[0].name
dataset = nncf.Dataset(list(images), lambda image: {name: image[None]})
quantized = nncf.quantize(
    model, dataset, subset_size=len(images), fast_bias_correction=sys.argv[4] == "fast"
)
onnx.save(quantized, sys.argv[3])
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--target", default="portable")
    parser.add_argument("--nncf", type=Path, help="python of an environment with nncf")
    parser.add_argument("--seconds", type=float, default=1.0, help="of measuring time, each file")
    args = parser.parse_args()
    data = np.load(args.data)
    images, labels = data["images"], data["labels"]
    fp32 = onnx.load(args.model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        reference = calls(args.model, images)
        print(f"fp32: {100 * (reference == labels).mean():.2f} % of {len(labels)} images")
        shapes = {fp32.graph.input[0].name: images.shape[1:]}

        def timed(model):
            onnx.save(model, path)
            if args.seconds <= 0:
                return 1.0, (0.98, 1.02)
            of, against = measure([path, args.model], seconds=args.seconds, shapes=shapes)
            return ratio_of(of, against)

        last = time.perf_counter()

        def row(name, model):
            nonlocal last
            seconds = time.perf_counter() - last
            onnx.save(model, path)
            found = accuracy_difference(calls(path, images), reference, labels)
            low, high = (100 * end for end in found.ci95)
            print(
                f"{name:24} {100 * found.difference:+6.2f} ({low:+.2f} to {high:+.2f})  "
                f"{path.stat().st_size / 1e6:5.2f} MB  made in {seconds:5.1f} s  "
                f"ratio {timed(model)[0]:.2f}",
                flush=True,
            )
            last = time.perf_counter()
            return found

        network = network_of(fp32, data["calibration"], args.target)
        print(
            f"ranges of {len(network.activations)} activations: {time.perf_counter() - last:.1f} s"
        )
        last = time.perf_counter()

        def judge(candidate):
            return Tried(candidate, row(candidate.name, candidate.model), path.stat().st_size)

        # no file can pass, so that each is tried
        tried = climb(network, STEPS, judge, lambda one: timed(one.model), max_drop=-2)
        for one in noise_of(tried[0].candidate)[:5]:
            print(
                f"  {one.name} ({one.operator}): {one.snr_db:.1f} dB, outliers of input "
                f"{one.input_outliers:.1f}, output {one.output_outliers:.1f}, "
                f"spread of weights {one.weight_spread:.1f}"
            )
        for percent in (99.9, 99.999):
            last = time.perf_counter()
            ranges = percentile(network.activations, percent)
            row(f"percentile {percent:g}", to_int8(network.source, ranges, args.target))
        for kind in ("fast", "sequential") if args.nncf else ():
            last = time.perf_counter()
            script = [args.nncf, "-c", NNCF, args.model, args.data, path, kind]
            subprocess.run(script, check=True, capture_output=True)
            row(f"nncf, {kind}", onnx.load(path))


def calls(path, images):
    """Classes `(N,)` that a file calls, by its first output."""
    session = open_session(path)
    name = session.get_inputs()[0].name
    return np.concatenate(
        [
            session.run(None, {name: images[at : at + BATCH]})[0].argmax(axis=1)
            for at in range(0, len(images), BATCH)
        ]
    )


if __name__ == "__main__":
    main()
