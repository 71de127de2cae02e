"""Start worker processes, one for each model, and time the models in them in turn.

Design: the latency of one file differs by up to 5 % from process to process, because of where its
weights are in memory, and the machine's speed drifts within seconds. So a measurement has rounds.
In each round every model gets a fresh process; then the models take turns with short blocks of
runs, so that drift affects all of them alike. `statistics.py` treats the rounds as the samples.
"""

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
from kdtool.files import scratch_folder

# A worker never uses NumPy's threads, and a process should fork without threads.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
TEMPORARY = ("TMPDIR", "TEMP", "TMP")  # that name the folder for temporary files


class Worker:
    """A process that times one model at a time (`worker.py`)."""

    def __init__(self, scratch: Path) -> None:
        self._path, self._scratch = "", scratch
        self._start()

    def _start(self) -> None:
        self._last_words = tempfile.TemporaryFile()  # noqa: SIM115  closed in `end`
        # -P: do not import a numpy.py or onnx.py of the user in the current folder.
        # New session: Ctrl-C reaches only this process, which then ends its workers.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "kdtool.edge.latency.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._last_words,
            encoding="utf-8",
            errors="replace",
            env=os.environ | ENVIRONMENT | dict.fromkeys(TEMPORARY, str(self._scratch)),
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
        """Send a request about the open model and return the answer.

        Args:
            request: A name and its arguments, see `kdtool.edge.latency.worker`.

        Raises:
            KdtoolError: The model cannot be run, or the worker died.
        """
        return self._ask(request)

    def end(self) -> None:
        """End the process and its forks."""
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # it has already ended
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.communicate()
        self._last_words.close()

    def _ask(self, request: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it died; the reason is reported below
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:  # libraries may print there, too
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
            raise KdtoolError(describe_death(self._path, answer["died"], words))
        return answer


@contextmanager
def started_workers(count: int) -> Iterator[list[Worker]]:
    """Start workers; they end when the `with` block ends."""
    with ExitStack() as stack:
        # What a worker that is ended leaves behind goes with this folder.
        scratch = stack.enter_context(scratch_folder())
        workers = []
        for _ in range(count):
            workers.append(Worker(scratch))
            stack.callback(workers[-1].end)
        yield workers


def describe_death(path: str, returncode: int, stderr: str) -> str:
    """Explain why a worker ended; a negative return code is the signal that ended it."""
    if returncode == -9:
        how = "was killed, most likely out of memory: try a smaller batch or fewer files"
    elif returncode < 0:
        how = f"was ended by signal {-returncode}"
    else:
        how = f"ended with exit code {returncode}"
    last_lines = "\n".join(f"  {line}" for line in stderr.strip().splitlines()[-5:])
    return f"the process that times {path} {how}; its last output:\n{last_lines or '  (none)'}"


# Our choice: copies of one file differed by up to 5 % between processes, so processes are the
# samples, and an interval needs about 10.
NUM_ROUNDS = 10
BLOCK_SECONDS = 0.3  # at most; longer measurements get more blocks
# Least runs and seconds of the first process: until the processor has raised its clock; runs as in
# Olive and optimum-benchmark.
WARM_UP = (10, 0.5)
WARM_UP_AGAIN = (2, 0.05)  # of the others: until the memory of the new process is mapped


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelRound:
    """What one process measured for one model."""

    blocks: Blocks
    cpu_seconds: float  # of all threads of the process, during the blocks
    load_ms: float
    first_run_ms: float
    peak_memory_bytes: int | None
    runtime_memory_bytes: int | None
    provider: str
    provider_share: float | None
    arithmetic: str | None


def run_rounds(
    workers: Sequence[Worker],
    jobs: Sequence[Job],
    seconds: float,
    num_rounds: int = NUM_ROUNDS,
    first_warm_up: tuple[int, float] = WARM_UP,
) -> tuple[list[list[ModelRound]], float | None]:
    """Time models in turn, each in a worker of its own.

    Args:
        workers: At least as many as jobs.
        jobs: At least one.
        seconds: Measuring time for each model.
        num_rounds: Fresh processes for each model.
        first_warm_up: Least runs and seconds of the first process; not longer than `seconds`.

    Returns:
        The rounds of each job, and the number of cores that other processes used meanwhile (None:
        unknown).

    Raises:
        KdtoolError: A model cannot be loaded or run as asked, or a worker died.

    Source: single stream scenario of MLPerf Inference, arXiv:1911.02549. Taking turns is our answer
    to drift: two copies of a file, timed one after the other, differed by up to 60 %.
    """
    rounds: list[list[ModelRound]] = [[] for _ in jobs]
    num_blocks = 2 * max(1, round(seconds / num_rounds / BLOCK_SECONDS / 2))
    wall = others = 0.0
    known = _busy_seconds() is not None
    for index in range(num_rounds):
        # A fork inherits the memory layout of its worker, so the models swap workers each round.
        used = [workers[(model + index) % len(jobs)] for model in range(len(jobs))]
        opened = [worker.open(job) for worker, job in zip(used, jobs, strict=True)]
        for model, worker in enumerate(used):
            runs, limit = WARM_UP_AGAIN if index or model else first_warm_up
            worker.ask("warm up", runs, min(limit, seconds))
        timed: list[list[dict[str, Any]]] = [[] for _ in jobs]
        started, own, busy = time.perf_counter(), time.process_time(), _busy_seconds()
        for model in turns(len(jobs), num_blocks, first=index):
            timed[model].append(used[model].ask("block", seconds / num_rounds / num_blocks))
            own -= timed[model][-1]["cpu_seconds"]
        wall += time.perf_counter() - started
        others += (_busy_seconds() or 0.0) - (busy or 0.0) - (time.process_time() - own)
        for model, worker in enumerate(used):
            closed = worker.ask("close")
            rounds[model].append(_model_round(opened[model], timed[model], closed))
    return rounds, max(0.0, others) / wall if known else None


def turns(num_models: int, num_blocks: int, first: int = 0) -> Iterator[int]:
    """Yield the index of the model with the next block; the order is reversed after each turn.

    Args:
        num_models: Number of models that take turns.
        num_blocks: Blocks of each model.
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
    """Return the CPU time that all processes used since boot; None where /proc is missing."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    # user nice system idle iowait irq softirq steal; guests are part of user.
    ticks = [int(ticks) for ticks in stat.read_text(encoding="ascii").split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / os.sysconf("SC_CLK_TCK")
