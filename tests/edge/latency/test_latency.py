import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from kdtool.edge.latency.driver import NUM_ROUNDS
from kdtool.edge.latency.measure import measure, ratio_of
from kdtool.errors import KdtoolError


@pytest.fixture
def heavy_onnx(make_onnx):
    """Hundreds of times the work of `tiny_onnx`, so that no noise can hide it."""
    weights = {"w": np.ones((64, 64, 3, 3), np.float32)}
    conv = helper.make_node("Conv", ["x", "w"], ["y"])
    dims = ["n", 64, 34, 34]
    return make_onnx([conv], {"x": (TensorProto.FLOAT, dims)}, weights, name="heavy.onnx")


def test_figures_of_one_model_fit_together(tiny_onnx):
    (measurement,) = measure([tiny_onnx], threads=2, seconds=0.2, batch_size=3)
    latency = measurement.latency
    assert (latency.threads, latency.batch_size, latency.provider) == (2, 3, "cpu")
    assert (latency.runtime, latency.arithmetic) == ("onnxruntime", None)
    assert ratio_of(measurement, measurement) == (1.0, (1.0, 1.0))
    runs = [run for blocks in measurement.rounds for block in blocks for run in block]
    assert latency.num_runs == len(runs) >= 662
    assert len(measurement.rounds) == NUM_ROUNDS
    lower, upper = latency.p50_ci95_ms
    assert 0 < latency.min_ms <= lower <= upper
    assert latency.min_ms <= latency.p50_ms <= latency.p90_ms <= latency.p95_ms <= latency.p99_ms
    assert latency.images_per_second == pytest.approx(3000 / np.mean(runs))
    assert latency.load_ms > latency.p50_ms
    assert (latency.other_cores is not None) == Path("/proc/stat").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not report memory")
def test_memory_is_that_of_the_model_and_not_of_the_runtime(make_onnx):
    image = {"x": (TensorProto.FLOAT, ["n", 4096])}
    relu = make_onnx([helper.make_node("Relu", ["x"], ["y"])], image)
    weights = {"w": np.ones((4096, 4096), np.float32)}  # 64 MiB, held twice while it is loaded
    matmul = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    large = make_onnx(matmul, image, weights, name="large.onnx")
    tiny, heavy = (
        one.latency.peak_memory_bytes - one.latency.runtime_memory_bytes
        for one in measure([relu, large], seconds=0.01)
    )
    assert 0 <= tiny < 3 * 2**20
    assert 63 * 2**20 < heavy < 140 * 2**20


def test_heavier_model_is_slower(tiny_onnx, heavy_onnx):
    tiny, heavy = measure([tiny_onnx, heavy_onnx], seconds=0.1)
    ratio, (lower, upper) = ratio_of(heavy, tiny)
    assert 2 < lower <= ratio <= upper
    assert ratio == pytest.approx(heavy.latency.p50_ms / tiny.latency.p50_ms, rel=0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads is 0; it must be at least 1"),
        ({"seconds": 0.0}, "seconds is 0.0; it must be a positive number"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"provider": "tpu"}, "unknown provider 'tpu'"),
        ({"shapes": {"z": (3,)}}, "is for the input 'z'"),
    ],
)
def test_wrong_arguments_are_refused_in_one_message(tiny_onnx, arguments, message):
    with pytest.raises(KdtoolError, match=message) as error:
        measure([tiny_onnx], **arguments)
    assert "Traceback" not in str(error.value)


def test_model_that_fails_when_it_runs_is_named(make_onnx, tiny_onnx):
    nodes = [helper.make_node("Reshape", ["x", "to"], ["y"])]
    path = make_onnx(nodes, {"x": (TensorProto.FLOAT, ["n", 5])}, {"to": np.array([7, 7])})
    with pytest.raises(KdtoolError, match="cannot run") as error:
        measure([tiny_onnx, path])
    assert str(path) in str(error.value)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps to RLIMIT_AS")
@pytest.mark.parametrize("stored", [False, True])
def test_a_model_that_runs_out_of_memory_is_named(make_onnx, tmp_path, monkeypatch, stored):
    (tmp_path / "sitecustomize.py").write_text(
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30,) * 2)"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    fold_when_loaded = [
        helper.make_node("ConstantOfShape", ["shape"], ["w"]),
        helper.make_node("Add", ["x", "w"], ["y"]),
    ]
    nodes = fold_when_loaded if stored else [helper.make_node("Expand", ["x", "shape"], ["y"])]
    inputs, size = {"x": (TensorProto.FLOAT, ["n", 1])}, {"shape": np.array([1, 2**32])}  # 16 GiB
    path = make_onnx(nodes, inputs, size, name="huge.onnx")
    with pytest.raises(KdtoolError, match=r"huge\.onnx needs more memory than is available"):
        measure([path])
