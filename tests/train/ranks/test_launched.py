"""What a rank knows before it meets the others, and what is refused then."""

import os
import subprocess
import sys

import pytest
import torch
from torch import nn

from kdtool.cli.options import check_alone
from kdtool.errors import KdtoolError
from kdtool.train.ranks.group import ALONE, Ranks
from kdtool.train.ranks.join import check_batch_size, is_lost, own_device
from kdtool.train.ranks.launched import Launched, launched

GIVEN = {
    "RANK": "5",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "4",
    "MASTER_ADDR": "10.0.0.1",
    "MASTER_PORT": "29500",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "TORCHELASTIC_RESTART_COUNT": "2",
}
PLACE = Launched(5, 8, 1, 4, ("10.0.0.1", 29500), has_store=True, attempt="2")


@pytest.fixture
def environment(monkeypatch):
    def given(**changes):
        for name, value in {**GIVEN, **changes}.items():
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return given


def test_torchrun_says_by_the_environment_which_rank_this_is(environment):
    environment()
    assert launched() == PLACE
    assert not PLACE.leads
    environment(RANK="0", LOCAL_RANK=None, LOCAL_WORLD_SIZE=None)
    assert launched() == Launched(0, 8, 0, 1, ("10.0.0.1", 29500), has_store=True, attempt="2")
    assert launched().leads


@pytest.mark.parametrize(
    "changes",
    [{"RANK": None}, {"WORLD_SIZE": "1"}, {"MASTER_PORT": ""}, {"WORLD_SIZE": "many"}],
    ids=str,
)
def test_without_others_a_process_is_alone(environment, changes):
    environment(**changes)
    assert launched() is None


@pytest.mark.parametrize(
    ("given", "threads"), [("6", 6), ("1", None), ("", None), (None, None), ("4,2", None)]
)
def test_one_thread_is_what_torchrun_sets_and_no_wish_of_the_user(environment, given, threads):
    environment(OMP_NUM_THREADS=given)
    assert launched().threads == threads


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("num", [1, 2, 6, 7, 8, 100])
def test_the_rows_of_all_ranks_are_all_rows_in_their_order(count, num):
    rows = list(range(num))
    parts = [rows[Ranks(number, count).rows(num)] for number in range(count)]
    if num < count:
        assert parts == [rows] * count
    else:
        assert [row for part in parts for row in part] == rows
        expected = torch.arange(num).tensor_split(count)  # PyTorch's own rule
        assert parts == [part.tolist() for part in expected]


def test_a_process_that_is_alone_exchanges_nothing(tmp_path):
    values, model = torch.ones(3, 2), nn.BatchNorm1d(2)
    assert ALONE.whole(values, 3) is values
    assert ALONE.gathered("a") == ["a"]
    ALONE.copy(model)
    ALONE.average([values], 0)
    ALONE.carry(tmp_path / "missing")
    ALONE.dismiss()
    assert torch.equal(values, torch.ones(3, 2))


BATCHES = [
    (256, 3, "--set teacher.batch_size=255 or --set teacher.batch_size=258"),
    (2, 4, "sizes that they can: --set teacher.batch_size=4"),
]


@pytest.mark.parametrize(("size", "num_ranks", "message"), BATCHES)
def test_a_batch_that_ranks_cannot_share_evenly(size, num_ranks, message):
    with pytest.raises(KdtoolError) as caught:
        check_batch_size("teacher.batch_size", size, num_ranks)
    assert str(caught.value).startswith(
        f"got teacher.batch_size = {size}, which {num_ranks} ranks cannot share evenly; the nearest"
    )
    assert str(caught.value).endswith(message)


def test_a_batch_that_ranks_can_share_evenly():
    check_batch_size("teacher.batch_size", 256, 64)


@pytest.mark.parametrize("name", ["mps", "cuda:1", "cpu:0"])
def test_a_device_that_several_ranks_cannot_have(name):
    with pytest.raises(KdtoolError, match=f"got --device {name} under torchrun, where each rank"):
        own_device(name, PLACE)


def test_each_rank_has_the_gpu_of_its_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert own_device("auto", PLACE) == own_device("cuda", PLACE) == "cuda:1"
    assert own_device("cpu", PLACE) == "cpu"
    with pytest.raises(KdtoolError, match="4 ranks on this machine, which has 2 GPUs: use --nproc"):
        own_device("auto", Launched(2, 4, 2, 4, ("here", 1)))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert own_device("auto", PLACE) == "cpu"


def test_jobs_or_a_cluster_and_torchrun_together(environment):
    environment(RANK="0")
    check_alone(None, None)
    with pytest.raises(KdtoolError, match="got --jobs 2 under torchrun, whose ranks train each"):
        check_alone(2, None)
    with pytest.raises(KdtoolError, match=r"got --cluster auto under torchrun, .*out --cluster"):
        check_alone(None, "auto")
    environment(WORLD_SIZE="1")
    check_alone(2, "local")


def command(*arguments, **changes):
    """Run a command as torchrun starts it; it ends before it looks for other ranks."""
    given = {name: value for name, value in {**GIVEN, **changes}.items() if value is not None}
    done = subprocess.run(
        [sys.executable, "-m", "kdtool", *arguments],
        env=os.environ | given | {"COLUMNS": "400"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("local", "says"), [("0", True), ("1", False)])
def test_other_commands_are_refused_and_one_rank_of_a_machine_says_so(local, says):
    status, text = command("export", "runs/mnist", RANK=local, LOCAL_RANK=local)
    assert status == 1
    assert text == says * (
        "error: torchrun is for kdtool finetune, distill and subclass-distill; run `kdtool export` "
        "without it\n"
    )


def test_errors_of_a_lost_rank_are_told_from_those_of_a_network():
    gloo = "[../third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer"
    assert is_lost(RuntimeError(gloo))
    assert is_lost(torch.distributed.DistNetworkError("the server is gone"))
    assert not is_lost(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_lost(KdtoolError("gloo"))
