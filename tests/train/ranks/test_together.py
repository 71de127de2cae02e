"""Three ranks of torchrun train as one does."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rank_cases import CASES, StopError, batch_norm, digits, train

from kdtool.train.fit import state
from kdtool.train.ranks.group import ALONE

HERE = Path(__file__).parent
NUM_RANKS = 3
# What docs/scaling.md says of logits in fp32, relative to the largest one.
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def splits():
    return digits()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, splits):
    """What the ranks left, with a state of one rank that they went on from."""
    folder = tmp_path_factory.mktemp("ranks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state, "SECONDS_BETWEEN_SAVES", 0)
        with pytest.raises(StopError):
            train(ALONE, splits, "batch norm", folder / "one.pt", interrupt=True)
    shutil.copy(folder / "one.pt", folder / "kept.pt")
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    subprocess.run(
        [*launcher, "--nproc-per-node", str(NUM_RANKS), HERE.parent / "rank_script.py", folder],
        check=True,
    )
    return folder


@pytest.fixture(scope="module")
def found(folder):
    return torch.load(folder / "found.pt", weights_only=True)


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        scale = values.abs().max().item()
        difference = (found[name] - values).abs().max().item()
        assert difference <= TOLERANCE * scale, f"{name}: {difference} of {scale}"


@pytest.mark.parametrize("name", CASES)
def test_they_train_the_network_that_one_trains(found, splits, tmp_path, name):
    assert_close(found[name], train(ALONE, splits, name, tmp_path / "state.pt"))


def test_without_exchange_the_networks_would_differ_by_more_than_the_tolerance(
    found, splits, tmp_path
):
    """Half of the batch changes the logits more than the tolerance allows."""
    fewer = splits.train.only(torch.arange(len(splits.train)) % 2 == 0)
    halved = type(splits)(
        fewer, splits.validation, splits.test, splits.classes, splits.result, splits.test_names
    )
    logits = train(ALONE, halved, "batch norm", tmp_path / "state.pt")["logits"]
    expected = found["batch norm"]["logits"]
    assert (logits - expected).abs().max() > 100 * TOLERANCE * expected.abs().max()


def test_batch_norm_over_parts_is_that_of_pytorch_over_the_whole(found):
    expected = batch_norm(ALONE)
    assert len(expected) == 2 + 6 + 6
    for name, values in expected.items():
        torch.testing.assert_close(found["norm"][name], values, rtol=1e-5, atol=1e-6, msg=name)


def test_they_share_the_memory_of_the_machine(found):
    assert found["sharers"] == NUM_RANKS


def test_statistics_of_a_network_of_its_own_are_those_of_rank_0(found):
    first, *others = found["means"]
    assert others == [first, first]
    assert max(first) > 0.1


def test_they_go_on_from_the_state_of_one_rank(found, splits, tmp_path):
    expected = train(ALONE, splits, "batch norm", tmp_path / "state.pt")
    assert_close(found["from one"], expected)


def test_one_rank_goes_on_from_their_state(folder, found, splits, tmp_path):
    assert found["states"] == [True, False, False]  # rank 0 writes
    saved = state.load_state(folder / "rank0" / "three.pt")
    assert len(saved["epochs"]) == 1
    resumed = train(ALONE, splits, "batch norm", folder / "rank0" / "three.pt")
    assert_close(resumed, train(ALONE, splits, "batch norm", tmp_path / "state.pt"))


def test_files_reach_every_rank_as_they_are(found):
    assert found["files"] == [bytes(range(250)) * 10] * NUM_RANKS
    assert found["missing"] == [False] * NUM_RANKS


def test_the_order_of_images_is_the_same_and_dropout_is_not(found):
    first, *others = found["order"]
    assert others == [first, first]
    assert len({tuple(drawn) for drawn in found["dropout"]}) == NUM_RANKS


def test_a_mean_over_ranks_leaves_out_those_without_a_value(found):
    assert found["average"].tolist() == [(1 * 1 + 3 * 3) / 4]


def test_a_rank_that_sees_something_else_is_named_with_both(found):
    assert found["alike"] is None
    assert found["other data"] == (
        "rank 2 has another data than rank 0: B and A; all ranks need the same"
    )
    assert found["failed"] == "rank 1: no such folder"
