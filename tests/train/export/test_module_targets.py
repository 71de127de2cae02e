"""Targets that are converted from the PyTorch module: folders that answer, and refusals.

Those of LiteRT run where its converter's environment exists: `kdtool export STUDY --for litert`
makes it, then `uv run --extra litert pytest tests/train/export/test_module_targets.py`.
"""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from quantized import int8_of
from target_sources import noise
from torch import nn

from kdtool.edge.kit.folder import changed_files
from kdtool.edge.metadata import write_metadata
from kdtool.edge.session import open_session
from kdtool.edge.targets.target import TARGETS, check_installed, target_of
from kdtool.edge.targets.write import Source, TargetFacts, write_target
from kdtool.errors import KdtoolError
from kdtool.files import sha256_of
from kdtool.train.export.onnx_file import as_given, in_file_form, make_onnx
from kdtool.train.export.targets.write import writer_of

NAMES = [one.name for one in TARGETS if one.takes == "tensor"]
SIZE = (5, 7)  # an odd number of pixels, which is no multiple of a vector


class Computed(nn.Module):
    """A linear classifier of something that is computed from the pixels."""

    def __init__(self, function, num_logits=3):
        super().__init__()
        torch.manual_seed(0)
        self.function, self.head = function, nn.Linear(3 * SIZE[0] * SIZE[1], num_logits)

    def forward(self, images):
        return self.head(self.function(images.flatten(1)))


def plain(values):
    return values


@pytest.fixture
def make(tmp_path):
    """A function that writes a target from a network; returns the result and its folder."""

    def write(name, network, network_of_file=None, form="pixels", temperature=1.0, int8=False):
        images, shape = noise(3, SIZE), (3, *SIZE)
        path = tmp_path / "student.onnx"
        file = make_onnx((network_of_file or network).eval(), shape, 3, 18, form, temperature)
        height, width = SIZE
        preprocess = {"input": form, "height": height, "width": width, "channels": 3}
        write_metadata(file, {"preprocess": preprocess})
        given = as_given(images.transpose(0, 3, 1, 2), form)
        precision = "int8" if int8 else "fp32"
        onnx.save(int8_of(file, given, "x86") if int8 else file, path)
        (expected,) = open_session(path).run(["probabilities"], {"image": given})
        sha256 = sha256_of(path)
        source = Source(precision=precision, path=path, sha256=sha256, probabilities=expected)
        facts = TargetFacts(
            study="ring",
            role="student",
            classes=("a", "b", "c"),
            positive=None,
            threshold=None,
            num_golden=6,
            seconds=0.01,
        )
        target, labels = target_of(name), np.arange(len(images)) % 3
        network = in_file_form(network, 3, "tensor", temperature)
        writer = writer_of(target, network, shape)
        folder = tmp_path / "targets" / name
        result = write_target(folder, target, [source], facts, images, labels, writer)
        assert sha256_of(path) == source.sha256  # converters do not touch the study's file
        return SimpleNamespace(
            result=result, folder=folder, target=target, images=images, expected=expected
        )

    return write


@pytest.mark.parametrize("form", ["resize", "tensor"])
@pytest.mark.parametrize("name", NAMES)
def test_a_folder_answers_as_onnxruntime_and_has_all_it_needs(name, form, make, needs):
    needs(name)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(120, 3))
    made = make(name, network, form=form, temperature=0.5)
    result, folder = made.result, made.folder
    (check,) = result.checks
    assert (check.refused, check.agreement, check.flipped) == (None, 1.0, [])
    assert check.max_difference < 1e-5
    sizes = [(folder / file).stat().st_size for file in made.target.files]
    assert (result.path, result.size_bytes) == (f"targets/{name}", sum(sizes))
    assert result.time_ratio > 0
    assert changed_files(folder) == []
    assert [one.name for one in folder.parent.iterdir()] == [name]
    assert f"{result.runtime}=={result.version}\n" in (folder / "requirements.txt").read_text()
    readme = (folder / "README.md").read_text()
    assert "float32 images `(N, 3, 5, 7)` in [0, 1]" in readme
    assert ("this runtime does not compute ONNX's Resize" in readme) == (form == "resize")
    assert json.loads((folder / "model.json").read_text())["file"] == made.target.file

    picture = folder / "photo.png"
    Image.fromarray(made.images[0]).save(picture)
    done = subprocess.run(
        [sys.executable, folder / "run.py", picture], capture_output=True, text=True, check=True
    )
    best = int(made.expected[0].argmax())
    assert done.stdout.startswith(f"{picture}: {'abc'[best]} {100 * made.expected[0, best]:.1f} %")


@pytest.mark.parametrize("name", NAMES)
def test_subclasses_are_merged(name, make, needs):
    needs(name)
    assert make(name, Computed(plain, num_logits=6)).result.last.refused is None


def test_executorch_computes_the_int8_file_of_the_study(make, needs):
    needs("executorch")
    network = nn.Sequential(nn.Conv2d(3, 64, 3), nn.Hardswish(), nn.Flatten(), nn.Linear(960, 3))
    fp32 = make("executorch", network).result
    other = Computed(torch.neg)  # is not asked
    int8 = make("executorch", other, network_of_file=network, int8=True).result
    assert (int8.last.precision, int8.last.refused) == ("int8", None)
    assert int8.size_bytes < fp32.size_bytes


@pytest.mark.parametrize("name", NAMES)
def test_another_network_than_that_of_the_file_is_refused(name, make, needs):
    needs(name)
    other = Computed(torch.neg)
    made = make(name, other, network_of_file=Computed(plain))
    assert "test images get another class than in ONNX Runtime" in made.result.last.refused
    assert not made.folder.exists()


class Untraceable(nn.Module):
    def forward(self, images):
        raise ValueError("three\nlines\nof it")


REFUSED = [
    # (target, network, that of the ONNX file, words of the refusal)
    (
        "ncnn",  # pnnx ends well
        Computed(lambda x: x.cumprod(1)),
        Computed(plain),
        "it cannot run the file: layer torch.cumprod not exists or registered ValueError: ncnn "
        "does not read the file",
    ),
    (
        "ncnn",
        Untraceable(),
        Computed(plain),
        "PyTorch cannot trace the network: three lines of it",
    ),
    ("executorch", Untraceable(), Computed(plain), "its converter failed: three lines of it"),
    (
        "litert",
        Untraceable(),
        Computed(plain),
        "PyTorch cannot export the network: three lines of it",
    ),
    (
        "litert",
        Computed(lambda x: x.cumprod(1)),
        Computed(plain),
        "its converter, litert-torch, failed: Lowering not found: aten.cumprod.default",
    ),
    (
        "litert",  # litert-torch ends well
        Computed(lambda x: x.sort(1)[0]),
        Computed(plain),
        "it cannot run the file: ValueError: Didn't find op for builtin opcode 'STABLEHLO_SORT'",
    ),
]


@pytest.mark.parametrize(("name", "network", "of_file", "words"), REFUSED)
def test_what_cannot_be_converted_or_run_is_refused(name, network, of_file, words, make, needs):
    needs(name)
    made = make(name, network, network_of_file=of_file)
    assert words in made.result.last.refused
    assert made.result.path is None
    assert list(made.folder.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ncnn", r"--for ncnn needs ncnn and pnnx: .*\[ncnn\]"),
        ("litert", r"--for litert needs ai-edge-litert: .*\[litert\]"),
    ],
)
def test_what_is_not_installed_is_named(name, words, monkeypatch):
    for module in ("ncnn", "pnnx", "ai_edge_litert"):  # imported by another test
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr("sys.meta_path", [])
    with pytest.raises(KdtoolError, match=words):
        check_installed([name])
