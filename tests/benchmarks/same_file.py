"""Time files against copies of themselves, and against ones with 10 % more work.

    uv run python tests/benchmarks/same_file.py [--times 20] [--seconds 3] [MODEL.onnx...]

A file against its copy should be "no measurable difference" in 95 of 100 cases; one with 10 % more
work should be measurably slower. The models are an MLP, with 5 MB of weights that get another place
in memory in every process, and a small convolutional net.
"""

import argparse
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kdtool.edge.count.graph import count_graph
from kdtool.edge.latency.measure import measure, ratio_of
from kdtool.stats.speed import speed_phrase

SAME = "no measurable difference"


def write_mlp(path, widths):
    shapes = [(width, following) for width, following in pairwise(widths)]
    nodes, name = [], "x"
    for layer in range(len(shapes)):
        nodes.append(helper.make_node("Gemm", [name, f"w{layer}"], [f"h{layer}"], transB=1))
        nodes.append(helper.make_node("Relu", [f"h{layer}"], [name := f"a{layer}"]))
    return write(path, nodes, [widths[0]], [(out, width) for width, out in shapes], name)


def write_convnet(path, image, channels):
    shapes = [(after, before, 3, 3) for before, after in pairwise(channels)]
    nodes, name = [], "x"
    for layer in range(len(shapes)):
        strides = [1, 1] if layer == 0 else [2, 2]
        conv = helper.make_node(
            "Conv", [name, f"w{layer}"], [f"h{layer}"], pads=[1] * 4, strides=strides
        )
        nodes += [conv, helper.make_node("Relu", [f"h{layer}"], [name := f"a{layer}"])]
    return write(path, nodes, [channels[0], *image], shapes, name)


def write(path, nodes, image, weights, output):
    generator = np.random.default_rng(0)
    arrays = [
        generator.normal(0, np.prod(shape[1:]) ** -0.5, shape).astype(np.float32)
        for shape in weights
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *image])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, f"w{layer}") for layer, array in enumerate(arrays)],
    )
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def compare(first, second, times, seconds):
    """Print every comparison; return how often the two were found to be the same."""
    extra = count_graph(second).num_macs / count_graph(first).num_macs - 1
    print(f"\n{first.name} against {second.name}: {100 * extra:+.1f} % MACs")
    verdicts = []
    for _ in range(times):
        one, other = measure([first, second], seconds=seconds)
        ratio, (lower, upper) = ratio_of(other, one)
        verdicts.append(speed_phrase(ratio, (lower, upper)))
        p50 = one.latency.p50_ms
        print(
            f"  p50 {p50:.4f} ms  ratio {ratio:.3f}  {lower:.3f} .. {upper:.3f}  {verdicts[-1]}"
            + (f"  ({one.latency.noise})" if one.latency.noise else ""),
            flush=True,
        )
    same = verdicts.count(SAME)
    print(f'  "{SAME}": {same} of {times}', flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, help="further files, against their copies")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3.0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        mlp = write_mlp(folder / "mlp.onnx", (784, 784, 784, 10))
        convnet = write_convnet(folder / "convnet.onnx", (28, 28), (1, 16, 32, 64))
        pairs = [
            (path, Path(shutil.copy(path, folder / f"copy-of-{path.name}")))
            for path in (mlp, convnet, *arguments.models)
        ]
        pairs += [
            (mlp, write_mlp(folder / "larger-mlp.onnx", (784, 862, 784, 10))),
            (convnet, write_convnet(folder / "larger-convnet.onnx", (28, 30), (1, 16, 32, 64))),
        ]
        for first, second in pairs:
            compare(first, second, arguments.times, arguments.seconds)


if __name__ == "__main__":
    main()
