"""A study under torchrun: the models of one process, and one message where a rank ends."""

import json
import os
import re
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

from kdtool.environment import cores
from kdtool.format import plural
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
SHORT = RECIPE.replace("[3, 5]", "[3]").replace("epochs = 2", "epochs = 1")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "400", "CUDA_VISIBLE_DEVICES": ""}
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
    return torchrun(folder, 3, "distill", "tiny.toml", "--anyway", "--json")


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
    threads = plural(max(1, cores() // 3), "thread")
    assert len(lines_of(errors, f"3 ranks share each batch, with {threads} each")) == 1
    assert len(lines_of(errors, "student, seed 5: ")) == 1


def assert_same_answers(folder, count):
    """The models of a study under torchrun answer as those of the study in the folder `alone`."""
    paths = sorted((folder / "alone/tiny/predictions").glob("*-seed*.npz"))
    assert len(paths) == count
    for path in paths:
        expected = np.load(path)["test_logits"]
        found = np.load(folder / "runs/tiny/predictions" / path.name)["test_logits"]
        atol = TOLERANCE * np.abs(expected).max()
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=path.name)


def test_its_models_are_those_of_one_process(finished, folder, monkeypatch):
    assert finished[0] == 0
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)  # that of another test
    kdtool("distill", "tiny.toml", "--device", "cpu", "--jobs", "1", "--out", "alone")
    assert_same_answers(folder, 5)
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
    status, output, errors = torchrun(folder, 2, "distill", "tiny.toml", "--anyway", "--json")
    assert status == 0, errors
    assert json.loads(output) == json.loads(finished[1])
    assert "nothing left to do: runs/tiny is finished and unchanged" in errors
    assert not lines_of(errors, "loading PyTorch")


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("arguments", "count"),
    [
        (["subclass-distill", "tiny.toml", "--anyway", "--sweep", "distill.temperature=1,4"], 6),
        (["finetune", "tiny.toml"], 1),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else None,
)
def test_other_commands_and_sweeps_too(tmp_path, monkeypatch, arguments, count):
    (tmp_path / "tiny.toml").write_text(SHORT.replace('"dist"', '"kd"'))
    (tmp_path / "own_nets.py").write_text(OWN_NETS)
    (tmp_path / "killed").touch()  # nobody is
    status, _, errors = torchrun(tmp_path, 2, *arguments, "--device", "cpu")
    assert status == 0, errors
    assert len(lines_of(errors, "2 ranks share each batch")) == 1
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_nets", raising=False)  # that of another test
    kdtool(*arguments, "--device", "cpu", "--jobs", "1", "--out", "alone")
    assert_same_answers(tmp_path, count)


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


def two_machines(tmp_path, prepare, recipe=RECIPE, command="distill"):
    """Run a command as on two machines with a folder each, by two torchruns of one rank each.

    Returns:
        Exit status and errors of each.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    machines = []
    for number in range(2):
        folder = tmp_path / f"machine{number}"
        folder.mkdir()
        (folder / "tiny.toml").write_text(recipe)
        (folder / "own_nets.py").write_text(OWN_NETS)
        prepare(folder, number)
        where = ["--nnodes", "2", "--node-rank", str(number), "--nproc-per-node", "1"]
        where += ["--master-addr", "127.0.0.1", "--master-port", str(port)]
        study = ["-m", "kdtool", command, "tiny.toml", "--device", "cpu"]
        machines.append(
            subprocess.Popen(
                [sys.executable, "-m", "torch.distributed.run", *where, *study],
                stderr=subprocess.PIPE,
                text=True,
                cwd=folder,
                env=os.environ | ENVIRONMENT,
            )
        )
    errors = [machines[0].communicate(timeout=280)[1]]
    if machines[0].returncode:  # a rank that failed waits a minute for its torchrun to end it
        machines[1].terminate()
    errors.append(machines[1].communicate(timeout=60)[1])
    return list(zip((machine.returncode for machine in machines), errors, strict=True))


@pytest.mark.nightly
def test_two_machines_train_together(tmp_path):
    def prepare(folder, _number):
        (folder / "killed").touch()  # nobody is

    found = two_machines(tmp_path, prepare)
    assert [status for status, _ in found] == [0, 0], found
    first, second = (tmp_path / f"machine{number}" / "runs" for number in range(2))
    results = json.loads((first / "tiny" / "results.json").read_text())
    assert {
        seed["num_ranks"] for model in results["models"].values() for seed in model["seeds"]
    } == {2}
    assert not second.exists()  # rank 0 alone writes


OWN_IMAGES = RECIPE.replace('source = "digits"', 'source = "idx"\nroot = "."')


def save_images(write_idx_set, folder):
    """Write four classes of noise, and return the file of which each machine has its own.

    All ranks read the paths that rank 0 has. One is a link into the folder in which a process runs,
    so that each finds another file there, as on a disk of its own.
    """
    write_idx_set(folder, size=8)
    path, own = folder / "train-images-idx3-ubyte", folder / "own-images"
    path.rename(own)
    path.symlink_to("/proc/self/cwd/own-images")
    return own


def error_of(machines):
    """The message that rank 0 ends with, where no machine prints another."""
    assert all(status for status, _ in machines), machines
    (message,) = [line for _, errors in machines for line in lines_of(errors, "error: ")]
    assert message in machines[0][1]
    assert not any("kdtool/train" in errors for _, errors in machines)
    return message


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_machine_with_other_images_is_named(tmp_path, write_idx_set):
    def prepare(folder, number):
        own = save_images(write_idx_set, folder)
        pixels = own.read_bytes()
        own.write_bytes(pixels[:-1] + bytes([(pixels[-1] + number) % 256]))

    message = error_of(two_machines(tmp_path, prepare, OWN_IMAGES, "finetune"))
    images = "IDX files in machine0, 60 images, fingerprint"
    assert re.fullmatch(
        rf"error: rank 1 on \S+ has another data than rank 0: {images} (\w{{12}}) and "
        rf"{images} (?!\1)\w{{12}}; all ranks need the same",
        message,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_a_machine_without_the_images_is_named_with_what_it_lacks(tmp_path, write_idx_set):
    def prepare(folder, number):
        own = save_images(write_idx_set, folder)
        if number:
            own.unlink()

    message = error_of(two_machines(tmp_path, prepare, OWN_IMAGES, "finetune"))
    assert re.match(
        r"error: rank 1 on \S+: \S+/machine0 lacks train-images-idx3-ubyte, plain or .gz; check "
        r"data.root",
        message,
    )


def test_a_batch_that_the_ranks_cannot_share_evenly_is_one_error(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "own_nets.py").write_text(OWN_NETS)
    changes = ("--set", "teacher.batch_size=95", "--set", "teacher.epochs=1")
    status, _, errors = torchrun(tmp_path, 2, "finetune", "tiny.toml", *changes, "--device", "cpu")
    assert status == 1
    assert lines_of(errors, "error: ") == [
        "error: got teacher.batch_size = 95, which 2 ranks cannot share evenly; the nearest sizes "
        "that they can: --set teacher.batch_size=94 or --set teacher.batch_size=96"
    ]
