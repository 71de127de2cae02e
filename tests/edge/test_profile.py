import hashlib
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kdtool.edge.metadata import write_metadata
from kdtool.edge.profile import ProfileOptions, profile_models
from kdtool.errors import KdtoolError
from kdtool.results.base import to_json
from kdtool.results.profile import ProfileReport


@pytest.fixture
def split_onnx(make_onnx):
    """5400 weights in `w.data` next to the model; opset 17."""
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"])
    weight = {"w": np.ones((60, 90), np.float32)}
    path = make_onnx([matmul], {"x": (TensorProto.FLOAT, ["n", 60])}, weight, opset=17)
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="w.data", size_threshold=0
    )
    return path


def test_report_holds_each_model_in_every_setting_in_the_order_given(tiny_onnx, split_onnx):
    model = onnx.load(tiny_onnx)
    write_metadata(model, {"classes": ["a", "b", "c", "犬"]})
    onnx.save(model, tiny_onnx)
    options = ProfileOptions(
        threads=(1, 2), batch_sizes=(2,), seconds=0.05, provider="cpu", operators=True
    )
    report = profile_models([split_onnx, tiny_onnx], options)

    split, tiny = report.models
    assert (split.path, tiny.path) == (str(split_onnx), str(tiny_onnx)) == (split.name, tiny.name)
    assert split.size_bytes == split_onnx.stat().st_size + 5400 * 4
    assert (split.opset, split.num_params, split.num_macs, split.num_flops) == (
        17,
        5400,
        5400,  # of one image, though the batch has two
        10800,
    )
    # Those of the batch / its time; 1 GFLOP/s is 1e6 FLOP/ms.
    assert split.latency.gflop_per_second == pytest.approx(0.0216 / split.latency.p50_ms)
    assert (tiny.num_params, tiny.num_macs, tiny.partial) == (132, 6928, False)
    assert tiny.metadata == {"classes": ["a", "b", "c", "犬"]}
    assert tiny.sha256 == hashlib.sha256(tiny_onnx.read_bytes()).hexdigest()
    for one in report.models:
        latencies = [one.latency, *one.other_latencies]
        assert [(each.threads, each.batch_size) for each in latencies] == [(1, 2), (2, 2)]
    assert [(c.threads, c.batch_size, c.of, c.against) for c in report.comparisons] == [
        (threads, 2, tiny.name, split.name) for threads in (1, 2)
    ]
    assert [rate.threads for rate in report.matrix_rates] == [1, 2]
    assert all(rate.gflop_per_second > 0.1 for rate in report.matrix_rates)
    assert [one.op_type for one in split.operators] == ["MatMul"]
    assert {"Conv", "GlobalAveragePool", "Gemm"} <= {one.op_type for one in tiny.operators}

    text = to_json(report)
    assert ProfileReport.model_validate_json(text) == report
    assert json.loads(text)["schema"] == 1


def test_a_file_with_several_inputs_of_integers_is_counted_and_timed(make_onnx):
    nodes = [
        helper.make_node("Gather", ["table", "words"], ["embedded"]),
        helper.make_node("Where", ["mask", "embedded", "zero"], ["kept"]),
        helper.make_node("MatMul", ["kept", "weight"], ["scores"]),
        helper.make_node("Cast", ["rate"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["scores", "factor"], ["y"]),
    ]
    inputs = {
        "words": (TensorProto.INT32, ["n", "length"]),
        "mask": (TensorProto.BOOL, ["n", "length", 1]),
        "rate": (TensorProto.INT64, []),
    }
    generator = np.random.default_rng(0)
    stored = {
        "table": generator.normal(size=(10, 4)).astype(np.float32),
        "weight": generator.normal(size=(4, 3)).astype(np.float32),
        "zero": np.float32(0),
    }
    path = make_onnx(nodes, inputs, stored)
    options = ProfileOptions(seconds=0.01, batch_sizes=(2,), shapes={"words": (7,)})
    (model,) = profile_models([path], options).models
    assert (model.num_params, model.num_macs, model.partial) == (40 + 12, 7 * 4 * 3, False)
    assert model.latency.num_runs > 0


def test_operators_without_a_count_and_given_shapes_reach_the_report(make_onnx):
    nodes = [helper.make_node("Det", ["x"], ["y"])]
    path = make_onnx(nodes, {"x": (TensorProto.FLOAT, ["n", "side", "side"])})
    options = ProfileOptions(seconds=0.01, shapes={"x": (3, 3)})
    (model,) = profile_models([path], options).models
    assert (model.partial, model.uncounted_ops) == (True, ["Det"])
    assert (model.uncounted_params, model.uncounted_macs) == ([], ["Det"])
    assert (model.params_at_least, model.macs_at_least) == (False, True)
    assert model.latency.gflop_per_second is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": ()}, "at least one number of threads"),
        ({"batch_sizes": ()}, "one batch size"),
        ({"runtimes": ()}, "one runtime"),
        ({"threads": (0,)}, "threads is 0; it must be at least 1"),
    ],
)
def test_wrong_options_are_refused(tiny_onnx, options, message):
    with pytest.raises(KdtoolError, match=message):
        profile_models([tiny_onnx], ProfileOptions(**options))


def test_nothing_to_profile_is_an_error():
    with pytest.raises(KdtoolError, match="no model given"):
        profile_models([], ProfileOptions())
