"""How fast this machine multiplies matrices: the roof above the speed of every model."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper

from kdtool.edge.latency.children import Child
from kdtool.edge.latency.job import Job
from kdtool.edge.latency.rounds import run_rounds
from kdtool.profiles import MatrixRate

SIDE = 384  # of square matrices; 256 to 512 reached the same, larger ones leave the cache
SECONDS = 0.3
WARM_UP = (10, 0.1)  # runs, seconds


def matrix_rate(children: Sequence[Child], threads: int) -> MatrixRate:
    """Measure the product of two square float32 matrices in ONNX Runtime, on the processor.

    Args:
        children: At least one, which does the work.
        threads: That share it.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "matmul.onnx"
        onnx.save(_product(), path)
        job = Job(path=str(path), threads=threads, batch_size=SIDE)
        ((only,),), _ = run_rounds(children, [job], SECONDS, num_rounds=1, first_warm_up=WARM_UP)
    best_ms = min(float(np.median(block)) for block in only.blocks)
    return MatrixRate(threads=threads, gflop_per_second=2 * SIDE**3 / best_ms / 1e6)


def _product() -> onnx.ModelProto:
    weight = helper.make_node(
        "ConstantOfShape",  # keeps the file small; folded when it is loaded
        ["shape"],
        ["weight"],
        value=helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0]),
    )
    graph = helper.make_graph(
        [weight, helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "matmul",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", SIDE])],
        [helper.make_tensor("shape", TensorProto.INT64, [2], [SIDE, SIDE])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
