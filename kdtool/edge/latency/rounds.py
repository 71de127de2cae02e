"""Drive the children: rounds of fresh processes, and in each round blocks of runs in turn."""

import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdtool.edge.latency.blocks import Blocks
from kdtool.edge.latency.children import Child
from kdtool.edge.latency.job import Job

# Ours. A file against its own copy differed by up to 5 % from one process to another, so fresh
# processes are the samples, and 10 are the least for an interval.
NUM_ROUNDS = 10
BLOCK_SECONDS = 0.3  # at most; longer measurements get more blocks
# At least so many runs and seconds. Until the processor's clock has risen; runs as Olive and
# optimum-benchmark.
WARM_UP = (10, 0.5)
WARM_UP_AGAIN = (2, 0.05)  # in further rounds: until the memory of a new process is in place


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRound:
    """What one process measured of one model."""

    blocks: Blocks
    cpu_seconds: float  # of all its threads, during the blocks
    load_ms: float
    first_run_ms: float
    peak_memory_bytes: int | None
    runtime_memory_bytes: int | None
    provider: str
    provider_share: float | None
    arithmetic: str | None


def run_rounds(
    children: Sequence[Child],
    jobs: Sequence[Job],
    seconds: float,
    num_rounds: int = NUM_ROUNDS,
    first_warm_up: tuple[int, float] = WARM_UP,
) -> tuple[list[list[ModelRound]], float | None]:
    """Time models, in turn, each in a child of its own.

    Args:
        children: At least as many as jobs.
        jobs: At least one.
        seconds: Of measuring, for each model.
        num_rounds: Fresh processes for each model.
        first_warm_up: Least runs and seconds, in the first round; not longer than `seconds`.

    Returns:
        The rounds of each job, and how many cores other processes kept busy meanwhile, None where
        that cannot be known.

    Raises:
        KdtoolError: A model cannot be loaded or run as asked, or a child died.

    Source: single stream of MLPerf Inference, arXiv:1911.02549; blocks in turn are our own answer
    to drift, which made two equal files differ by 60 % when timed one after the other.
    """
    rounds: list[list[ModelRound]] = [[] for _ in jobs]
    num_blocks = 2 * max(1, round(seconds / num_rounds / BLOCK_SECONDS / 2))
    wall = others = 0.0
    known = _busy_seconds() is not None
    for index in range(num_rounds):
        # What a fork inherits of its child's place in memory goes to each model in turn.
        workers = [children[(model + index) % len(jobs)] for model in range(len(jobs))]
        opened = [worker.open(job) for worker, job in zip(workers, jobs, strict=True)]
        for worker in workers:
            runs, limit = WARM_UP_AGAIN if index else first_warm_up
            worker.ask("warm up", runs, min(limit, seconds))
        timed: list[list[dict[str, Any]]] = [[] for _ in jobs]
        started, own, busy = time.perf_counter(), time.process_time(), _busy_seconds()
        for model in turns(len(jobs), num_blocks, first=index):
            timed[model].append(workers[model].ask("block", seconds / num_rounds / num_blocks))
            own -= timed[model][-1]["cpu_seconds"]
        wall += time.perf_counter() - started
        others += (_busy_seconds() or 0.0) - (busy or 0.0) - (time.process_time() - own)
        for model, worker in enumerate(workers):
            closed = worker.ask("close")
            rounds[model].append(_model_round(opened[model], timed[model], closed))
    return rounds, max(0.0, others) / wall if known else None


def turns(num_models: int, num_blocks: int, first: int = 0) -> Iterator[int]:
    """Yield whose block is next; the order alternates, so that nobody is always last.

    Args:
        num_models: Take turns.
        num_blocks: Of each model.
        first: If odd, the last model begins.
    """
    for block in range(first, first + num_blocks):
        order = range(num_models)
        yield from order if block % 2 == 0 else reversed(order)


def _model_round(
    first: dict[str, Any], blocks: list[dict[str, Any]], last: dict[str, Any]
) -> ModelRound:
    return ModelRound(
        blocks=[np.array(block["runs_ns"]) / 1e6 for block in blocks],
        cpu_seconds=sum(block["cpu_seconds"] for block in blocks),
        load_ms=first["load_ns"] / 1e6,
        first_run_ms=first["first_run_ns"] / 1e6,
        peak_memory_bytes=last["peak_memory_bytes"],
        runtime_memory_bytes=first["runtime_memory_bytes"],
        provider=first["provider"],
        provider_share=first["provider_share"],
        arithmetic=first["arithmetic"],
    )


def _busy_seconds() -> float | None:
    """Processor time that all processes have used since the start; None where /proc is missing."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    # user nice system idle iowait irq softirq steal; guests are part of user.
    ticks = [int(ticks) for ticks in stat.read_text(encoding="ascii").split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
