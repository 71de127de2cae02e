"""Time the int8 and fp16 files that kdtool makes of MobileNetV2 against fp32.

    uv run python tests/benchmarks/int8_speed.py [--seconds 3] [--model NAME] [--size 224]

Its weights are random: speed and size do not depend on them. Every file is timed in turns with
fp32.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx

from kdtool.edge.fp16 import to_fp16
from kdtool.edge.int8.quantize import prepared, to_int8
from kdtool.edge.int8.ranges import measure_activations, min_max
from kdtool.edge.latency.measure import measure, ratio_of
from kdtool.stats.speed import speed_phrase
from kdtool.train.export.onnx_file import make_onnx
from kdtool.train.models.networks import build_model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--model", default="torchvision:mobilenet_v2")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    shape = (3, args.size, args.size)
    fp32 = make_onnx(build_model(args.model, shape, 2, seed=0).eval(), shape, 2, 18)
    images = np.random.default_rng(0).integers(0, 256, (8, args.size, args.size, 3), np.uint8)
    models = {"fp32": fp32, "fp16": to_fp16(fp32)}
    for target in ("portable", "x86", "arm"):
        ranges = min_max(measure_activations(prepared(fp32, target), images))
        models[f"int8 {target}"] = to_int8(fp32, ranges, target)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{name.replace(' ', '-')}.onnx" for name in models]
        for path, model in zip(paths, models.values(), strict=True):
            onnx.save(model, path)
        measured = measure(paths, threads=args.threads, seconds=args.seconds)
        for name, path, one in zip(models, paths, measured, strict=True):
            ratio, (lower, upper) = ratio_of(one, measured[0])
            print(
                f"{name:14} {path.stat().st_size / 1e6:5.2f} MB  p50 {one.latency.p50_ms:6.2f} ms  "
                f"ratio to fp32 {ratio:.3f}  {lower:.3f} .. {upper:.3f}  "
                f"{speed_phrase(ratio, (lower, upper))}"
            )
        if measured[0].latency.noise:
            print("noisy:", measured[0].latency.noise)


if __name__ == "__main__":
    main()
