"""The process that times models: `python -m kdtool.edge.timing`, JSON in, JSON out.

On its own, so that neither the thread pools nor the memory of its caller disturb the runs.
"""

import gc
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdtool.edge.model_file import input_shape
from kdtool.edge.session import RUNTIME_ERRORS, InferenceSession, open_session
from kdtool.errors import KdtoolError, ModelFileError

WARMUP_RUNS = 10  # as Olive and optimum-benchmark
WARMUP_SECONDS = 0.5  # ours: until the processor's clock has risen
NUM_BLOCKS = 20  # ours: 10 are the least for an interval, more let models alternate more often
BLOCK_SECONDS = 0.3  # longer measurements get more blocks, not longer ones

FLOATS = {
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """What is to be timed."""

    paths: list[str]
    threads: int
    seconds: float  # of measuring, for each model
    batch_size: int
    provider: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Runs:
    """Every run of one model, in ns."""

    load_ns: int
    first_run_ns: int
    blocks_ns: list[list[int]] = field(default_factory=list)


Model = tuple[InferenceSession, dict[str, NDArray[np.generic]]]  # and its input


def time_models(job: Job) -> tuple[list[Runs], float | None]:
    """Time the models of `job` in this process, a block of runs each in turn.

    Returns:
        The runs of each model, and how many cores other processes kept busy meanwhile, None where
        that cannot be known.

    Raises:
        KdtoolError: A model cannot be loaded or run as asked.
    """
    models, results = [], []
    for path in job.paths:
        model, runs = _load(Path(path), job)
        models.append(model)
        results.append(runs)
    for model in models:
        _warm_up(model)
    num_blocks = max(NUM_BLOCKS, round(job.seconds / BLOCK_SECONDS))
    gc.collect()
    gc.disable()
    started, own, busy = time.perf_counter(), time.process_time(), _busy_seconds()
    for turn in turns(len(models), num_blocks):
        results[turn].blocks_ns.append(_time_block(models[turn], job.seconds / num_blocks))
    seconds, own = time.perf_counter() - started, time.process_time() - own
    gc.enable()
    busy_after = _busy_seconds()
    if busy is None or busy_after is None:
        return results, None
    return results, max(0.0, busy_after - busy - own) / seconds


def turns(num_models: int, num_blocks: int) -> Iterator[int]:
    """Yield whose block is next; the order alternates, so that nobody is always last."""
    for block in range(num_blocks):
        order = range(num_models)
        yield from order if block % 2 == 0 else reversed(order)


def random_input(session: InferenceSession, batch_size: int) -> dict[str, NDArray[np.generic]]:
    """Make an image batch for every input of a model: noise, always the same.

    Raises:
        ModelFileError: An input is neither uint8 nor floating, or has no fixed size.
    """
    generator = np.random.default_rng(0)
    feed: dict[str, NDArray[np.generic]] = {}
    for entry in session.get_inputs():
        shape = input_shape(entry.name, entry.shape, batch_size)
        if entry.type == "tensor(uint8)":
            feed[entry.name] = generator.integers(0, 256, shape, dtype=np.uint8)
        elif entry.type in FLOATS:
            feed[entry.name] = generator.random(shape).astype(FLOATS[entry.type])
        else:
            raise ModelFileError(
                f"input {entry.name!r} is a {entry.type}; kdtool times models of images, "
                f"which are tensor(uint8), {', '.join(FLOATS)}"
            )
    return feed


def _load(path: Path, job: Job) -> tuple[Model, Runs]:
    started = time.perf_counter_ns()
    session = open_session(path, job.threads, job.provider)
    loaded = time.perf_counter_ns()
    try:
        feed = random_input(session, job.batch_size)
        first = time.perf_counter_ns()
        session.run(None, feed)
    except (ModelFileError, *RUNTIME_ERRORS) as error:
        raise ModelFileError(f"cannot run {path}: {error}") from error
    first_run_ns = time.perf_counter_ns() - first
    return (session, feed), Runs(load_ns=loaded - started, first_run_ns=first_run_ns)


def _warm_up(model: Model) -> None:
    session, feed = model
    end = time.perf_counter() + WARMUP_SECONDS
    num_runs = 0
    while num_runs < WARMUP_RUNS or time.perf_counter() < end:
        session.run(None, feed)
        num_runs += 1


def _time_block(model: Model, seconds: float) -> list[int]:
    """Run for `seconds`, at least once, and return the time of each run in ns."""
    session, feed = model
    runs: list[int] = []
    now = time.perf_counter_ns()
    end = now + int(seconds * 1e9)
    while now < end or not runs:
        started = time.perf_counter_ns()
        session.run(None, feed)
        now = time.perf_counter_ns()
        runs.append(now - started)
    return runs


def _busy_seconds() -> float | None:
    """Processor time that all processes have used since the start; None where /proc is missing."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    # user nice system idle iowait irq softirq steal; guests are part of user.
    ticks = [int(ticks) for ticks in stat.read_text(encoding="ascii").split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Read a `Job` from standard input; write the runs, or what is wrong, as the last line."""
    job = Job(**json.load(sys.stdin))
    try:
        models, other_cores = time_models(job)
    except KdtoolError as error:
        answer: dict[str, object] = {"error": str(error)}
    else:
        answer = {"models": [asdict(runs) for runs in models], "other_cores": other_cores}
    sys.stdout.write("\n" + json.dumps(answer))


if __name__ == "__main__":
    main()
