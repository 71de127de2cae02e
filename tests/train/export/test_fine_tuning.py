"""The last rung of the int8 ladder, from the command to the report."""

import numpy as np
import onnx
import pytest
from loading import load_splits
from onnx import numpy_helper
from shell import RECIPE, kdtool

from kdtool.edge.metadata import read_metadata
from kdtool.edge.session import open_session
from kdtool.errors import GateError
from kdtool.recipe.data import DigitsTable
from kdtool.results.study import load_results
from kdtool.train.export.onnx_file import as_given

pytestmark = pytest.mark.nightly

NETWORK = """
import torch
from torch import nn

class Uneven(nn.Module):
    def __init__(self, channels, draws):
        super().__init__()
        sizes = torch.exp(2 * torch.randn(channels, generator=draws))
        self.register_buffer("sizes", sizes.reshape(1, -1, 1, 1))

    def forward(self, x):
        return x * self.sizes

def network(image_shape, num_classes, width=24):
    draws = torch.Generator().manual_seed(1)
    def unit():
        depth = nn.Conv2d(width, width, 3, 1, 1, groups=width, bias=False)
        normed = [nn.BatchNorm2d(width), nn.ReLU()]
        point = nn.Conv2d(width, width, 1, bias=False)
        return [depth, *normed, Uneven(width, draws), point, nn.BatchNorm2d(width), nn.ReLU()]
    first = [nn.Conv2d(1, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
    last = [nn.AvgPool2d(4), nn.Flatten(), nn.Linear(width, num_classes)]
    return nn.Sequential(*first, *unit(), nn.MaxPool2d(2), *unit(), *last)
"""
SETTINGS = [
    "seeds=[0]",
    "data.validation=0.3",
    "teacher.epochs=4",
    "student.model=uneven_nets:network",
    "student.epochs=12",
    "student.batch_size=64",
    "student.learning_rate=6e-3",
    "student.schedule=cosine",
    "student.precision=fp32",
    "distill.soft_weight=0",
    "export.max_drop=0.05",
    "export.max_fp32_layers=0",
    "export.qat.learning_rate=0.3",
    "export.qat.min_steps=150",
]


def run(tmp_path, *settings):
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    options = [part for one in [*SETTINGS, *settings] for part in ("--set", one)]
    return kdtool("distill", recipe, "--out", tmp_path, *options)


def test_a_student_that_no_calibration_helps_learns_to_compute_in_8_bits(tmp_path, monkeypatch):
    (tmp_path / "uneven_nets.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    output = run(tmp_path).output
    study = tmp_path / "tiny"
    student = load_results(study / "results.json").models["student"]
    rungs = student.int8_ladder.rungs
    assert [rung.fine_tuned for rung in rungs[-3:]] == [None, "fp32", "int8"]
    assert [rung.passed for rung in rungs] == [False] * (len(rungs) - 1) + [True]
    control, aware = rungs[-2:]
    assert aware.difference > control.difference + 0.03
    assert (aware.kept_fp32, aware.bias_corrected) == ([], False)
    assert output.count("seed 0, fine-tuned in ") == 2
    # What ships has the weights that learned in 8 bits, and they are judged as those of any file
    file = student.files["int8"]
    assert file.quantization.fine_tuned == "int8"
    model, fp32 = (onnx.load(study / name) for name in (file.path, "student.onnx"))
    assert read_metadata(model)["quantization"]["fine_tuned"] == "int8"
    stored = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    given = {one.name: numpy_helper.to_array(one) for one in fp32.graph.initializer}
    (head,) = [name for name, array in given.items() if array.shape == (24, 10)]
    weights = stored[f"{head}_quantized"] * stored[f"{head}_scale"]
    assert np.abs(weights - given[head]).max() > stored[f"{head}_scale"].max()
    assert file.gate.validation_difference == aware.difference
    test = load_splits(DigitsTable(source="digits", validation=0.3), print).test
    pixels = as_given(test.images.numpy(), "pixels")
    (logits,) = open_session(study / file.path).run(["logits"], {"image": pixels})
    assert (logits.argmax(axis=1) == test.labels.numpy()).mean() == file.accuracy
    for report in ("report.md", "report.html"):
        assert "Fine-tuning in int8 changed the accuracy by" in (study / report).read_text()
    # Another limit needs another choice, but no other training
    again = run(tmp_path, "export.max_drop=0.04").output
    assert "making student.int8.onnx" in again
    assert "fine-tuned in" not in again
    student = load_results(study / "results.json").models["student"]
    assert student.files["int8"].sha256 == file.sha256
    with pytest.raises(GateError, match=r"the best of 3 attempts \(bias correction\) loses"):
        run(tmp_path, "export.qat.epochs=0")
