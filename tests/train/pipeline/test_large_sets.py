"""A folder ten times larger than `data.memory`: trained, killed, resumed, and the same bits."""

import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from pictures import save_classes
from safetensors.numpy import load_file
from shell import kdtool

from kdtool.results.study import load_results

pytestmark = pytest.mark.slow

SIDE, NUM_IMAGES = 28, 60
MEMORY = f"{NUM_IMAGES * 3 * SIDE**2 / 10 / 10**6:.5f} MB"
RECIPE = f"""
name = "pictures"
seeds = [3]
[data]
source = "folder"
root = "pictures"
size = {SIDE}
channels = 3
augment = ["flip", "shift:0.1"]
[teacher]
model = "mnist-cnn"
epochs = 3
min_steps = 0
batch_size = 16
[student]
model = "mnist-mlp"
epochs = 3
min_steps = 0
batch_size = 16
[export]
input = "tensor"
precisions = ["fp32", "int8"]
max_drop = 0.9
[profile]
seconds = 0.02
[explain]
images = 2
"""
# Runs the command until two epochs of the student are saved, and kills it.
KILLED = """
import os, signal, sys
from kdtool.cli import app
from kdtool.train.fit import state

save_state, saved = state.save_state, []

def save(path, content):
    save_state(path, content)
    saved.append(path.name)
    if saved.count(path.name) == 2 and path.name.startswith("student"):
        os.kill(os.getpid(), signal.SIGKILL)

state.save_state, state.SECONDS_BETWEEN_SAVES = save, 0
app.main()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("large")
    save_classes(folder / "pictures", NUM_IMAGES // 2)
    (folder / "pictures.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def studies(folder):
    """The folders of two studies: of images in memory, and in a file, interrupted by kill -9."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder / "cache")
    try:
        recipe = folder / "pictures.toml"
        kdtool("distill", recipe, "--out", folder / "memory")
        arguments = [recipe, "--out", folder / "disk", "--set", f"data.memory={MEMORY}"]
        command = [sys.executable, "-c", KILLED, "distill", *arguments, "--anyway"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert list((folder / "disk" / "pictures" / "checkpoints").glob("student*.state*"))
        kdtool("distill", *arguments)
    finally:
        del os.environ["XDG_CACHE_HOME"]
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before
    return [folder / name / "pictures" for name in ("memory", "disk")]


def test_models_have_the_same_bits(studies):
    memory, disk = (sorted((one / "checkpoints").glob("*.safetensors")) for one in studies)
    assert [path.name for path in memory] == [path.name for path in disk]
    assert len(memory) == 3
    for one, other in zip(memory, disk, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert load_file(one)


def test_predictions_pictures_and_files_are_equal(studies):
    memory, disk = studies
    names = [path.relative_to(memory) for path in memory.rglob("*.npz")]
    assert len(names) >= 5
    for name in names:
        with np.load(memory / name) as one, np.load(disk / name) as other:
            assert sorted(one) == sorted(other)
            for key in one:
                assert np.array_equal(one[key], other[key]), (name, key)
    for name in ("teacher.onnx", "control.onnx", "student.onnx", "predictions/test.csv"):
        assert (memory / name).read_bytes() == (disk / name).read_bytes(), name


def test_results_and_report_say_what_was_read_from_where(studies):
    memory, disk = (load_results(one / "results.json") for one in studies)
    size = NUM_IMAGES * 3 * SIDE**2
    assert memory.data.read_from.model_dump() == {"where": "memory", "num_bytes": size}
    assert disk.data.read_from.model_dump() == {"where": "disk", "num_bytes": size}
    assert memory.data.fingerprint == disk.data.fingerprint
    assert "memory, 141 kB of decoded images" in (studies[0] / "report.md").read_text()
    assert "a file in the user's cache, 141 kB of decoded" in (studies[1] / "report.md").read_text()
    scores = [
        {role: one.test for role, one in results.models.items()} for results in (memory, disk)
    ]
    assert scores[0] == scores[1]


def test_a_kit_of_images_in_a_file_passes_its_own_check(studies, folder, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    kdtool("export", studies[1], "--kit")  # its golden images have the answers that they should
    assert len(list((studies[1] / "kit" / "golden").glob("*.png"))) > 2


def test_the_same_study_goes_on_where_more_memory_is(studies, folder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    shutil.copytree(studies[1], tmp_path / "pictures")
    before = json.loads((tmp_path / "pictures" / "results.json").read_text())
    kdtool("distill", folder / "pictures.toml", "--out", tmp_path)
    after = json.loads((tmp_path / "pictures" / "results.json").read_text())
    assert after["models"] == before["models"]
