import subprocess
import sys
from pathlib import Path

import pytest

from kdtool.edge.latency.driver import run_rounds, started_workers, turns
from kdtool.edge.latency.job import Job


def test_models_take_turns_in_alternating_order():
    assert list(turns(num_models=3, num_blocks=2)) == [0, 1, 2, 2, 1, 0]
    assert list(turns(num_models=2, num_blocks=2, first=1)) == [1, 0, 0, 1]


def test_every_model_gets_every_block_in_every_round(tiny_onnx):
    jobs = [Job(path=str(tiny_onnx))] * 2
    with started_workers(2) as workers:
        rounds, _ = run_rounds(workers, jobs, seconds=1e-6, num_rounds=3, first_warm_up=(0, 0))
        assert [[len(one.blocks) for one in own] for own in rounds] == [[2, 2, 2]] * 2
        assert all(min(block) > 0 for own in rounds for one in own for block in one.blocks)
        (long,), _ = run_rounds(workers, jobs[:1], seconds=1.2, num_rounds=1, first_warm_up=(0, 0))
    assert [len(one.blocks) for one in long] == [4]


@pytest.mark.skipif(not Path("/proc/stat").is_file(), reason="needs /proc/stat")
def test_a_busy_neighbour_is_detected(tiny_onnx):
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        with started_workers(1) as workers:
            jobs = [Job(path=str(tiny_onnx))]
            _, other_cores = run_rounds(workers, jobs, seconds=0.5, num_rounds=1)
    finally:
        neighbour.kill()
        neighbour.wait()
    assert other_cores > 0.3
