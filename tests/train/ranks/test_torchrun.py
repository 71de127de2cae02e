"""A study under torchrun: the models of one process, and one message where a rank ends."""

import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from processes import in_group
from safetensors.torch import load_file
from shell import kdtool

from kdtool.train.ranks.group import Ranks

pytestmark = pytest.mark.slow

RECIPE = """
name = "tiny"
seeds = [3, 5]
[data]
source = "digits"
augment = ["shift:0.1", "rotate:10"]
[teacher]
model = "own_nets:normed"
epochs = 2
batch_size = 96
min_steps = 0
precision = "fp32"
[student]
model = "own_nets:small"
epochs = 2
batch_size = 96
min_steps = 0
precision = "fp32"
[distill]
method = "dist"
[export]
precisions = ["fp32"]
[profile]
seconds = 0.02
[explain]
images = 4
"""
# Rank 1 is killed, once, in the second control: each has 28 steps. Networks as in rank_cases.py.
OWN_NETS = """
import os, signal
from pathlib import Path
from torch import nn

rank = int(os.environ.get("RANK", "0"))

class Small(nn.Sequential):
    steps = 0

    def forward(self, x):
        if not self.training and rank:
            with Path(f"answered-{os.environ['WORLD_SIZE']}-{rank}").open("a") as file:
                file.write(f"{len(x)} ")
        if self.training and rank == 1:
            Small.steps += 1
            if Small.steps == 40 and not Path("killed").exists():
                Path("killed").touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(x)

def small(image_shape, num_classes):
    return Small(nn.Flatten(), nn.Linear(64, 32), nn.GELU(), nn.Linear(32, num_classes))

def normed(image_shape, num_classes):
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(72, 32), nn.BatchNorm1d(32), nn.GELU(), nn.Linear(32, num_classes),
    )
"""
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "400"}
TOLERANCE = 1e-5  # of the largest logit, as docs/scaling.md says


def command(num_ranks, *arguments):
    launched = (sys.executable, "-m", "torch.distributed.run", "--standalone")
    return [*launched, "--nproc-per-node", str(num_ranks), "-m", "kdtool", *arguments]


def torchrun(folder, num_ranks, *arguments):
    """Run a command on some ranks; return exit status, output and errors."""
    done = subprocess.run(
        command(num_ranks, *arguments),
        cwd=folder,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    (folder / "tiny.toml").write_text(RECIPE)
    (folder / "own_nets.py").write_text(OWN_NETS)
    return folder


@pytest.fixture(scope="module")
def killed(folder):
    """What the first command said, of whose two ranks one is killed."""
    return torchrun(folder, 2, "distill", "tiny.toml", "--anyway", "--device", "cpu")


@pytest.fixture(scope="module")
def finished(folder, killed):
    """What the same command says on three ranks, which goes on."""
    del killed
    return torchrun(folder, 3, "distill", "tiny.toml", "--anyway", "--device", "cpu", "--json")


def lines_of(errors, start):
    return [line for line in errors.splitlines() if line.startswith(start)]


def test_a_killed_rank_ends_all_with_one_message(killed, folder):
    status, output, errors = killed
    assert status == 1
    assert not output
    (message,) = lines_of(errors, "error: ")
    assert message.startswith(
        "error: a rank is gone or does not answer, or torchrun ended this one"
    )
    assert "run the same command again to resume" in message
    assert "kdtool/train" not in errors  # no traceback of ours
    assert list((folder / "runs/tiny/checkpoints").glob("teacher-*.safetensors"))
    assert not (folder / "runs/tiny/results.json").exists()


def test_the_same_command_goes_on_with_another_number_of_ranks(finished):
    status, output, errors = finished
    assert status == 0, errors
    results = json.loads(output)
    num_ranks = {
        role: [seed["num_ranks"] for seed in model["seeds"]]
        for role, model in results["models"].items()
    }
    # The first control was done when the rank was killed in the second.
    assert num_ranks == {"teacher": [2], "control": [2, 3], "student": [3, 3]}
    assert len(lines_of(errors, "3 ranks share each batch, with 1 thread each")) == 1
    assert len(lines_of(errors, "student, seed 5: ")) == 1


def test_its_models_are_those_of_one_process(finished, folder, monkeypatch):
    assert finished[0] == 0
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)  # that of another test
    kdtool("distill", "tiny.toml", "--device", "cpu", "--jobs", "1", "--out", "alone")
    paths = sorted((folder / "alone/tiny/predictions").glob("*-seed*.npz"))
    assert len(paths) == 5
    for path in paths:
        expected = np.load(path)["test_logits"]
        found = np.load(folder / "runs/tiny/predictions" / path.name)["test_logits"]
        atol = TOLERANCE * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=path.name)
    names = {path.name for path in (folder / "alone/tiny/checkpoints").glob("*.safetensors")}
    assert len(names) == 5
    assert names == {path.name for path in (folder / "runs/tiny/checkpoints").glob("*")}
    for name in names:  # of a bias in front of BatchNorm nothing depends on, and its gradient is 0
        if not name.startswith("teacher"):
            expected = load_file(folder / "alone/tiny/checkpoints" / name)
            found = load_file(folder / "runs/tiny/checkpoints" / name)
            for part, values in expected.items():
                torch.testing.assert_close(found[part], values, rtol=0, atol=1e-4)


def test_every_rank_answers_its_part_of_the_test_images(finished, folder):
    data = json.loads(finished[1])["data"]
    for rank in (1, 2):
        rows = Ranks(rank, 3).rows
        test, validation = (
            len(range(data[name])[rows(data[name])]) for name in ("num_test", "num_validation")
        )
        seen = (folder / f"answered-3-{rank}").read_text().split()
        assert [int(num) for num in seen[-8:]] == [test, validation] * 4  # controls and students


def test_a_finished_study_ends_at_once_on_all_ranks(finished, folder):
    assert finished[0] == 0
    status, output, errors = torchrun(
        folder, 2, "distill", "tiny.toml", "--anyway", "--device", "cpu", "--json"
    )
    assert status == 0, errors
    assert json.loads(output) == json.loads(finished[1])
    assert "nothing left to do: runs/tiny is finished and unchanged" in errors
    assert not lines_of(errors, "loading PyTorch")


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("number", "to_all", "says"),
    [
        (signal.SIGTERM, False, "a rank is gone or does not answer, or torchrun ended this one"),
        (signal.SIGINT, True, "interrupted; run the same command again to resume"),
    ],
)
def test_a_signal_ends_all_ranks_with_one_message(tmp_path, number, to_all, says):
    """As a scheduler's time limit and a terminal's Ctrl-C do."""
    (tmp_path / "tiny.toml").write_text(RECIPE.replace("epochs = 2", "epochs = 5000"))
    (tmp_path / "own_nets.py").write_text(OWN_NETS)
    process = subprocess.Popen(
        command(2, "distill", "tiny.toml", "--anyway", "--device", "cpu"),
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env=os.environ | ENVIRONMENT,
        start_new_session=True,
    )
    for line in process.stderr:
        if "model 1 of 5" in line:  # it trains
            break
    (os.killpg if to_all else os.kill)(process.pid, number)
    errors = process.stderr.read()
    assert process.wait(60) == 1
    (message,) = lines_of(errors, "error: ")
    assert message.startswith(f"error: {says}")
    assert "kdtool/train" not in errors
    assert in_group(process.pid) == []
    assert [*tmp_path.rglob("*unfinished*")] == []


@pytest.mark.nightly
def test_two_machines_train_together(tmp_path):
    """As two machines do it, with a folder each: two torchruns of one rank find each other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = []
    for number in range(2):
        folder = tmp_path / f"machine{number}"
        folder.mkdir()
        (folder / "tiny.toml").write_text(RECIPE)
        (folder / "own_nets.py").write_text(OWN_NETS)
        (folder / "killed").touch()  # nobody is
        where = ["--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "1"]
        where += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
        study = ["-m", "kdtool", "distill", "tiny.toml", "--anyway", "--device", "cpu"]
        machines.append(
            subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", *where, *study],
                stderr=subprocess.PIPE,
                text=True,
                cwd=folder,
                env=os.environ | ENVIRONMENT,
            )
        )
    errors = [machine.communicate(timeout=280)[1] for machine in machines]
    assert [machine.returncode for machine in machines] == [0, 0], errors
    first, second = (tmp_path / f"machine{number}" / "runs" for number in range(2))
    results = json.loads((first / "tiny" / "results.json").read_text())
    assert {
        seed["num_ranks"] for model in results["models"].values() for seed in model["seeds"]
    } == {2}
    assert not second.exists()  # rank 0 alone writes
