import numpy as np
import pytest
from onnx import TensorProto, helper

from kdtool.edge.latency import measure
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
    assert (measurement.ratio, measurement.ratio_ci95) == (1.0, (1.0, 1.0))
    assert latency.num_runs >= 662
    lower, upper = latency.p50_ci95_ms
    assert 0 < latency.min_ms <= lower <= upper
    assert latency.min_ms <= latency.p50_ms <= latency.p90_ms <= latency.p99_ms
    assert latency.load_ms > latency.p50_ms


def test_heavier_model_is_slower_than_the_first(tiny_onnx, heavy_onnx):
    first, second = measure([tiny_onnx, heavy_onnx], seconds=0.1)
    assert second.ratio_ci95[0] > 2
    assert second.ratio == pytest.approx(second.latency.p50_ms / first.latency.p50_ms, rel=0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threads": 0}, "threads is 0; it must be at least 1"),
        ({"seconds": 0.0}, "seconds is 0.0; it must be a positive number"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"provider": "tpu"}, "no provider 'tpu'"),
    ],
)
def test_wrong_arguments_are_refused_in_one_message(tiny_onnx, arguments, message):
    with pytest.raises(KdtoolError, match=message) as error:
        measure([tiny_onnx], **arguments)
    assert "Traceback" not in str(error.value)


def test_child_that_dies_leaves_its_last_words(tiny_onnx, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise SystemError('the runtime is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(KdtoolError, match=r"exit code 1; its last words:[^$]*runtime is broken"):
        measure([tiny_onnx])


def test_child_that_is_killed_says_so(tiny_onnx, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(KdtoolError, match="was killed, most likely for want of memory"):
        measure([tiny_onnx])


def test_module_of_the_same_name_in_the_users_folder_is_not_imported(
    tiny_onnx, tmp_path, monkeypatch
):
    (tmp_path / "onnxruntime.py").write_text("raise SystemError('not this one')")
    monkeypatch.chdir(tmp_path)
    assert measure([tiny_onnx], seconds=0.01)


def test_library_that_writes_to_standard_output_does_no_harm(tiny_onnx, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('hello from a library')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert measure([tiny_onnx], seconds=0.01)


def test_non_ascii_path_reaches_the_child(tiny_onnx):
    path = tiny_onnx.rename(tiny_onnx.with_name("café 犬.onnx"))
    assert measure([path], seconds=0.01)
