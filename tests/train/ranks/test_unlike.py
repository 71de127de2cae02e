"""What torchrun's ranks do that are not alike, and what a signal leaves of them."""

import os
import signal
import subprocess
import sys
import time

import pytest
from processes import in_group

RECIPE = """
name = "unlike"
seeds = [0]
[data]
source = "digits"
[teacher]
model = "own_nets:uneven"
epochs = 5000
batch_size = 96
min_steps = 0
[student]
model = "own_nets:even"
epochs = 5000
batch_size = 96
min_steps = 0
"""
OWN_NETS = """
import os
from torch import nn

def net(width, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Linear(width, num_classes))

def even(image_shape, num_classes):
    return net(32, num_classes)

def uneven(image_shape, num_classes):
    return net(32 + int(os.environ["RANK"]), num_classes)
"""


@pytest.fixture
def begin(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "own_nets.py").write_text(OWN_NETS)
    (tmp_path / "temporary").mkdir()
    launcher = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    own = {"OMP_NUM_THREADS": "1", "COLUMNS": "400", "TMPDIR": str(tmp_path / "temporary")}

    def finetune(role):
        command = ("-m", "kdtool", "finetune", "recipe.toml", "--role", role, "--device", "cpu")
        return subprocess.Popen(
            [*launcher, *command],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=os.environ | own,
            start_new_session=True,
        )

    return finetune


def test_a_rank_with_another_network_ends_all_before_training(begin):
    process = begin("teacher")
    errors = process.communicate(timeout=100)[1]
    assert process.returncode == 1
    (message,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert message.startswith("error: rank 1 on ")
    assert message.endswith(
        ": the network of the teacher is not that of rank 0: its source, its ONNX file or a "
        "package that defines it differs; all ranks need the same"
    )


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.nightly), signal.SIGTERM]
)
def test_a_signal_leaves_no_temporary_folder_of_a_rank(begin, tmp_path, number):
    process = begin("student")
    for line in process.stderr:
        if line.startswith("2 ranks share each batch"):
            break
    folders = [*(tmp_path / "temporary").glob("kdtool-*")]
    assert folders
    os.killpg(process.pid, number)
    process.stderr.read()
    assert process.wait(60) == 1
    while in_group(process.pid):
        time.sleep(0.1)
    assert [*(tmp_path / "temporary").glob("kdtool-*")] == []
