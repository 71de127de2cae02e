"""Processors that cut off sums of int8 files, and the warning of it."""

import json

import onnx
import pytest
from PIL import Image
from typer.testing import CliRunner

from kdtool import environment
from kdtool.cli.app import app
from kdtool.edge.int8.saturation import saturation, target_of
from kdtool.edge.metadata import write_metadata

AVX2 = "fma avx avx2"
CASES = [
    ("x86", AVX2, True),
    ("x86", f"{AVX2} avx512f avx512bw", True),
    ("x86", f"{AVX2} avx_vnni", False),
    ("x86", f"{AVX2} avx512f avx512_vnni", False),
    ("portable", AVX2, False),
    ("arm", AVX2, False),
    (None, AVX2, False),
]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that makes the processor one with such flags."""

    def become(flags, key="flags"):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\n{key} : {flags}\n")
        monkeypatch.setattr(environment, "CPU_INFO", tmp_path / "cpuinfo")

    return become


@pytest.mark.parametrize(("target", "flags", "warns"), CASES)
def test_only_8_bit_weights_without_vnni_are_cut_off(machine, target, flags, warns):
    machine(flags)
    metadata = {} if target is None else {"quantization": {"target": target}}
    text = saturation("m.int8.onnx", target_of(metadata))
    assert (text is not None) == warns
    if warns:
        assert text.startswith("m.int8.onnx was made for x86 processors with VNNI, which this one")


def test_arm_and_unknown_processors_do_not_warn(machine, tmp_path, monkeypatch):
    metadata = {"quantization": {"target": "x86"}}
    machine("fp asimd asimddp", "Features")
    assert saturation("m.onnx", target_of(metadata)) is None
    monkeypatch.setattr(environment, "CPU_INFO", tmp_path / "nowhere")
    assert saturation("m.onnx", target_of(metadata)) is None


@pytest.mark.parametrize("value", ["x86", ["x86"], {"target": ["x86"]}, 3, None])
def test_metadata_of_others_do_not_warn(machine, value):
    machine(AVX2)
    assert saturation("m.onnx", target_of({"quantization": value})) is None


@pytest.mark.parametrize("command", ["predict", "profile"])
def test_the_commands_warn_once_and_go_on(machine, make_classifier, tmp_path, command):
    machine(AVX2)
    path = make_classifier().path
    model = onnx.load(path)
    write_metadata(model, {"quantization": {"target": "x86"}})
    onnx.save(model, path)
    Image.new("L", (6, 4)).save(tmp_path / "a.png")
    more = [str(tmp_path / "a.png")] if command == "predict" else ["--seconds", "0.02"]
    done = CliRunner().invoke(app, [command, str(path), *more, "--json"])
    assert done.exit_code == 0
    json.loads(done.stdout)
    said = " ".join(done.stderr.split())
    assert said.count("which this one lacks") == 1
    assert "`kdtool export STUDY --target portable`" in said
