"""The processes that time models, as seen from the process that drives them."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kdtool.edge.latency.job import ANSWER, FORKS, Job
from kdtool.edge.latency.statistics import Blocks
from kdtool.errors import KdtoolError

# NumPy's own threads are never used in a child, and a fork should have none.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Child:
    """One process that times one model at a time."""

    def __init__(self) -> None:
        self._path = ""
        self._start()

    def _start(self) -> None:
        self._last_words = tempfile.TemporaryFile()  # noqa: SIM115  closed in `end`
        # -P: a user's own numpy.py or onnx.py in the current folder must not be imported.
        # A session of its own: Ctrl-C reaches the parent alone, which then ends its children.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "kdtool.edge.latency.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._last_words,
            encoding="utf-8",
            errors="replace",
            env=os.environ | ENVIRONMENT,
            start_new_session=True,
        )

    def open(self, job: Job) -> dict[str, Any]:
        """Load a model in a fresh process and run it once."""
        if self._path and not FORKS:
            self.end()
            self._start()
        self._path = job.path
        return self._ask(asdict(job))

    def ask(self, *request: object) -> dict[str, Any]:
        """Let the child do something with its model.

        Args:
            request: See `kdtool.edge.latency.worker`.

        Raises:
            KdtoolError: The model cannot be run, or the child died.
        """
        return self._ask(request)

    def end(self) -> None:
        """End the process and whatever it forked."""
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # it is gone already
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.communicate()
        self._last_words.close()

    def _ask(self, request: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it died; why, is told below
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:  # libraries may write there, too
            if line.startswith(ANSWER):
                answer: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
                break
        else:
            answer = {"died": self._process.wait()}
        if "error" in answer:
            raise KdtoolError(answer["error"])
        if "died" in answer:
            self._last_words.seek(0)
            words = self._last_words.read().decode("utf-8", errors="replace")
            raise KdtoolError(obituary(self._path, answer["died"], words))
        return answer


@contextmanager
def started_children(count: int) -> Iterator[list[Child]]:
    """Start processes; they end with the block, whatever happens in it."""
    with ExitStack() as stack:
        children = []
        for _ in range(count):
            children.append(Child())
            stack.callback(children[-1].end)
        yield children


def obituary(path: str, returncode: int, stderr: str) -> str:
    """Say how a child died; below zero, the code is the signal that ended it."""
    if returncode == -9:
        how = "was killed, most likely for want of memory: try a smaller batch or fewer files"
    elif returncode < 0:
        how = f"was ended by signal {-returncode}"
    else:
        how = f"ended with exit code {returncode}"
    last_lines = "\n".join(f"  {line}" for line in stderr.strip().splitlines()[-5:])
    return f"the process that times {path} {how}; its last words:\n{last_lines or '  (none)'}"


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
