"""What is trained once is used again, whichever kdtool trained it; what is damaged is not."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from shell import kdtool

from kdtool.errors import StudyError
from kdtool.recipe.load import load_recipe, with_settings
from kdtool.results.study import load_results
from kdtool.study.folder import Study
from kdtool.study.keys import key_of
from kdtool.train.fit import state
from kdtool.train.pipeline.commands import check_settings
from kdtool.train.pipeline.roles import plan_role, train_role
from kdtool.train.pipeline.train_model import copy_from_sibling
from kdtool.train.reporter import Silent
from kdtool.train.run import open_run

pytestmark = pytest.mark.slow

RECIPE = """
name = "small"
seeds = [3]
[data]
source = "digits"
[teacher]
model = "mnist-mlp"
epochs = 2
min_steps = 0
[student]
model = "mnist-mlp"
epochs = 1
min_steps = 0
[profile]
seconds = 0.02
[explain]
images = 2
"""


class Warned(Silent):
    """A reporter that keeps the warnings."""

    def __init__(self):
        self.warnings = []

    def warn(self, text):
        self.warnings.append(text)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """The folder of a finished study; not to be changed."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "small.toml").write_text(RECIPE)
    kdtool("distill", folder / "small.toml", "--out", folder)
    return folder / "small"


@pytest.fixture
def copied(small, tmp_path):
    shutil.copy(small.parent / "small.toml", tmp_path)
    return shutil.copytree(small, tmp_path / "small")


def make_old(folder):
    """Rewrite the records of a study as kdtool 0.1.0 wrote them.

    Its record had key, files and result, in this order; the key was the first 16 hex digits of the
    SHA-256 of a JSON list that began with kdtool's version, and file names had its first 8.
    """
    (folder / "stages" / "finished.json").unlink()
    for path in sorted((folder / "stages").glob("*.json")):
        record = json.loads(path.read_text())
        key = hashlib.sha256(json.dumps(["0.1.0", record["key"]]).encode()).hexdigest()[:16]
        stem, name, files = path.stem, path.stem, record["files"]
        if "-seed" in stem:
            name = f"{stem.rpartition('-')[0]}-{key[:8]}"
            path.unlink()
        if stem.startswith(("teacher-seed", "control-seed", "student-seed")):
            new = f"checkpoints/{name}.safetensors"
            (old,) = files
            (folder / old).rename(folder / new)
            files = {new: files[old]}
        old_record = {"key": key, "files": files, "result": record["result"]}
        (folder / "stages" / f"{name}.json").write_text(json.dumps(old_record, indent=1))


def test_only_networks_that_may_not_export_are_exported_before_training(small, run):
    assert not list((small / "stages").glob("exportable-*"))
    settings = {"student.model": "torchvision:shufflenet_v2_x0_5", "student.input_size": 32}
    recipe = with_settings(run.recipe, settings)
    check_settings(replace(run, recipe=recipe), [({}, recipe)], {}, subclasses=False, force=False)
    assert [path.stem for path in run.study.folder.glob("stages/*")] == ["exportable-student"]


def weights_of(folder):
    return {path.name: path.read_bytes() for path in (folder / "checkpoints").iterdir()}


def test_a_study_of_kdtool_0_1_0_is_exported_and_explained_without_training(copied):
    make_old(copied)
    before = weights_of(copied)
    sizes = {path.name: path.stat().st_size for path in copied.glob("*.onnx")}
    results = load_results(copied / "results.json")
    (copied / "student.onnx").unlink()
    assert "trained again" not in kdtool("export", copied).stderr
    kdtool("explain", copied, "--images", "3")
    assert weights_of(copied) == before
    again = load_results(copied / "results.json")
    for role, model in results.models.items():
        assert again.models[role].seeds == model.seeds
        old, new = model.files["fp32"], again.models[role].files["fp32"]
        assert (new.accuracy, new.parity.passed) == (old.accuracy, True)
        assert (copied / new.path).stat().st_size == pytest.approx(sizes[new.path], abs=99)
    assert len(again.explain.images) == 3


def test_distill_says_before_training_which_models_of_an_older_kdtool_train_again(copied):
    make_old(copied)
    before = weights_of(copied)
    done = kdtool("distill", copied.parent / "small.toml", "--out", copied.parent)
    warning, _, rest = done.stderr.partition("trained again: teacher, control, student.")
    assert "its algorithm changed since (train 1 -> 2)" in " ".join(warning.split())
    assert "teacher, seed 3" not in warning
    assert "teacher, seed 3" in rest
    assert before.items() <= weights_of(copied).items()
    assert len(weights_of(copied)) == 2 * len(before)


def test_an_edited_digit_of_a_training_is_no_result_of_export(copied):
    make_old(copied)
    (path,) = (copied / "stages").glob("student-seed3-*.json")
    record = json.loads(path.read_text())
    record["result"]["epochs"][0]["validation_accuracy"] = 1.0
    path.write_text(json.dumps(record))
    before = (copied / "results.json").read_text()
    with pytest.raises(StudyError, match=r"student-seed3-.* is missing or was changed"):
        kdtool("export", copied)
    assert (copied / "results.json").read_text() == before


def test_an_edited_record_is_reported_and_its_model_trained_again(copied):
    (path,) = (copied / "stages").glob("student-seed3-*.json")
    text = path.read_text()
    path.write_text(text.replace('"best_epoch": 1', '"best_epoch": 0'))
    done = kdtool("distill", copied.parent / "small.toml", "--out", copied.parent)
    assert f"{path.name} was changed" in "".join(done.stderr.split("\n"))
    assert "student, seed 3:" in done.stderr
    assert "control, seed 3:" not in done.stderr
    assert json.loads(path.read_text())["result"]["best_epoch"] == 1


def test_a_second_run_has_nothing_left_to_do_and_loads_neither_pytorch_nor_images(copied):
    command = ["distill", str(copied.parent / "small.toml"), "--out", str(copied.parent), "--json"]
    kdtool(*command)  # the copy has other times
    script = (
        "import sys; from kdtool.cli.app import app\n"
        f"sys.argv = {['kdtool', *command]!r}\n"
        "try:\n    app()\nfinally:\n"
        "    assert not {'torch', 'sklearn', 'scipy', 'matplotlib'} & sys.modules.keys()"
    )
    before = (copied / "results.json").read_text()
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == before
    assert "nothing left to do" in done.stderr
    assert "loading PyTorch" not in done.stderr
    assert "loading PyTorch" in kdtool(*command, "--force").stderr


@pytest.fixture
def run(tmp_path):
    (tmp_path / "small.toml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "small.toml")
    return open_run(Study(tmp_path / "small"), recipe, "cpu", Warned())


@pytest.fixture
def interrupted(run, monkeypatch):
    """A training that ended after its first epoch, and where its state is."""

    def save_and_stop(path, content):
        save_state(path, content)
        raise KeyboardInterrupt

    save_state = state.save_state
    with monkeypatch.context() as patch:
        patch.setattr(state, "save_state", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            train_role(run, "teacher", {})
    (path,) = run.study.folder.rglob("*.state.pt")
    return run, path


def test_a_flipped_bit_of_a_training_state_is_reported_and_never_a_weight(interrupted, tmp_path):
    run, path = interrupted
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # in a weight: PyTorch does not notice
    path.write_bytes(content)
    (damaged,) = train_role(run, "teacher", {})
    (warning,) = run.reporter.warnings
    assert warning.startswith(f"{path} was changed")
    assert warning.endswith("teacher, seed 3 is trained from the start")
    other = open_run(Study(tmp_path / "other"), run.recipe, "cpu", Silent())
    (whole,) = train_role(other, "teacher", {})
    found, expected = load_file(damaged.checkpoint), load_file(whole.checkpoint)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert not path.exists()


def test_the_state_of_another_training_is_reported_and_not_resumed_from(interrupted):
    """Of the same network, so that PyTorch would load it, or of another one."""
    run, path = interrupted
    (plan,) = plan_role(run, "control", {})
    plan.state_path.write_bytes(path.read_bytes())
    train_role(run, "control", {})
    (warning,) = run.reporter.warnings
    assert warning.startswith(f"{plan.state_path} was changed, or is of another training")
    assert warning.endswith("control, seed 3 is trained from the start")


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"kdtool state 1\n" + bytes(40), b"\x80\x02}q\x00."],
    ids=["empty", "an archive of PyTorch", "of an older kdtool", "a pickle"],
)
def test_what_is_no_training_state_is_reported_and_not_resumed_from(interrupted, content):
    run, path = interrupted
    path.write_bytes(content)
    train_role(run, "teacher", {})
    (warning,) = run.reporter.warnings
    assert warning.startswith(f"{path} is not a training state of this kdtool; ")


def test_every_part_of_a_training_state_is_checked(interrupted):
    _, path = interrupted
    whole = path.read_bytes()
    assert state.damage_of(path) is None
    assert state.load_state(path)["epochs"][0]["epoch"] == 1
    for position in (0, len(state.MAGIC), len(state.MAGIC) + 32, len(whole) - 1):
        content = bytearray(whole)
        content[position] ^= 1
        path.write_bytes(content)
        assert state.damage_of(path) is not None
        with pytest.raises(StudyError, match="cannot resume from"):
            state.load_state(path)
    path.write_bytes(whole[:-1])
    assert "does not match its SHA-256" in state.damage_of(path)
    path.unlink()
    assert state.damage_of(path) is None
    path.mkdir()
    with pytest.raises(StudyError, match=rf"cannot read .*{path.name}: .*; make it readable"):
        state.damage_of(path)


def test_a_network_without_batch_norm_has_no_number_of_it(run):
    (teacher,) = train_role(run, "teacher", {})
    numbers = teacher.key.partition(":")[0]
    assert numbers == key_of("train").partition(":")[0]


def test_an_unreadable_study_in_the_same_folder_is_a_warning(run, tmp_path):
    (plan,) = plan_role(run, "teacher", {})
    record = tmp_path / "other" / "stages" / f"{plan.checkpoint.stem}.json"
    record.mkdir(parents=True)  # a folder in the place of the file: reading it is an OSError
    warnings = []
    study = Study(run.study.folder, warnings.append)
    assert copy_from_sibling(study, plan) is None
    (warning,) = warnings
    assert warning.startswith(
        f"teacher, seed 3 is not copied from {tmp_path / 'other'}: cannot read"
    )
