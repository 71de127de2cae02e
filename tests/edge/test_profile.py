import json
import shutil

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from kdtool.edge.metadata import write_metadata
from kdtool.edge.profile import profile_models, speed_verdict
from kdtool.errors import KdtoolError
from kdtool.profiles import ProfileReport
from kdtool.record import to_json


@pytest.fixture
def split_onnx(make_onnx):
    """5400 weights in `w.data` beside the model; opset 17."""
    matmul = helper.make_node("MatMul", ["x", "w"], ["y"])
    weight = {"w": np.ones((60, 90), np.float32)}
    path = make_onnx([matmul], {"x": (TensorProto.FLOAT, ["n", 60])}, weight, opset=17)
    onnx.save(
        onnx.load(path), path, save_as_external_data=True, location="w.data", size_threshold=0
    )
    return path


def test_report_holds_each_model_in_the_order_given(tiny_onnx, split_onnx, tmp_path):
    model = onnx.load(tiny_onnx)
    write_metadata(model, {"classes": ["a", "b", "c", "犬"]})
    onnx.save(model, tiny_onnx)
    copy = shutil.copy(tiny_onnx, tmp_path / "copy.onnx")
    report = profile_models([split_onnx, tiny_onnx, copy], threads=1, seconds=0.05, batch_size=2)

    split, tiny, twin = report.models
    assert [split.path, tiny.path, twin.path] == [str(split_onnx), str(tiny_onnx), str(copy)]
    assert split.size_bytes == split_onnx.stat().st_size + 5400 * 4
    assert (split.opset, split.num_params, split.num_macs, split.num_flops) == (
        17,
        5400,
        5400,  # of one image, though the batch has two
        10800,
    )
    assert (tiny.num_params, tiny.num_macs, tiny.partial) == (132, 6928, False)
    assert tiny.metadata == {"classes": ["a", "b", "c", "犬"]}
    assert tiny.sha256 == twin.sha256 != split.sha256
    assert [model.latency.batch_size for model in report.models] == [2, 2, 2]
    assert [(c.of, c.against) for c in report.comparisons] == [
        (str(tiny_onnx), str(split_onnx)),
        (str(copy), str(split_onnx)),
    ]


def test_report_survives_json(tiny_onnx):
    report = profile_models([tiny_onnx], threads=1, seconds=0.01, batch_size=1)
    text = to_json(report)
    assert ProfileReport.model_validate_json(text) == report
    assert json.loads(text)["schema"] == 1


def test_operators_without_a_count_reach_the_report(make_onnx):
    nodes = [helper.make_node("Einsum", ["x"], ["y"], equation="ij->ji")]
    path = make_onnx(nodes, {"x": (TensorProto.FLOAT, ["n", 6])})
    (model,) = profile_models([path], threads=1, seconds=0.01, batch_size=1).models
    assert (model.partial, model.uncounted_ops) == (True, ["Einsum"])


def test_nothing_to_profile_is_an_error():
    with pytest.raises(KdtoolError, match="no model was given"):
        profile_models([], threads=1, seconds=1, batch_size=1)


@pytest.mark.parametrize(
    ("ratio", "ci95", "verdict"),
    [
        (0.8, (0.79, 0.81), "1.25 times faster"),
        (1.5, (1.4, 1.6), "1.50 times slower"),
        (0.95, (0.9, 1.001), "no measurable difference"),
        (1.0, (1.0, 1.0), "no measurable difference"),
        (1.003, (1.001, 1.005), "less than 1 % slower"),
        (0.997, (0.995, 0.999), "less than 1 % faster"),
    ],
)
def test_speed_verdict_in_words(ratio, ci95, verdict):
    assert speed_verdict(ratio, ci95) == verdict
