"""The process that times models: `python -m kdtool.edge.latency.worker`, driven by `driver.py`.

It is separate so that the threads and the memory of its caller do not disturb the runs. Where a
model's weights are in memory changes its speed by some percent for the life of the process, so
every `Job` gets a fresh process: on Linux a fork of this one, which takes a few ms and skips
Python's start. It imports neither onnx nor pydantic, which would triple the time of its start.

Requests are JSON lines on standard input, answers are lines with a prefix on standard output:
a `Job` first, then `warm up`, `block`, `answers`, `memory`, `operators` in any number, then
`close`.
"""

import ctypes
import gc
import json
import mmap
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from kdtool.edge.latency.job import ANSWER, FORKS, Job, answers, time_block, warm_up
from kdtool.edge.latency.runners import import_runner
from kdtool.edge.latency.runtimes import Loader, explained_errors, loader_of, operator_times
from kdtool.edge.session import PROBE_MODEL
from kdtool.errors import KdtoolError

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")
PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h
READ_BY_KDTOOL = ("onnxruntime", "openvino")  # any ONNX file; the others by a target's script
SLOW_IMPORTS = ("executorch",)  # seconds, of which every fork would take its own
FORGET_PEAK = "5"  # Source: proc(5), /proc/pid/clear_refs


def forget_peak() -> None:
    """Reset the peak that `peak_bytes` returns; does nothing on systems other than Linux."""
    if CLEAR_REFS.is_file():
        CLEAR_REFS.write_text(FORGET_PEAK, encoding="ascii")


def peak_bytes() -> int | None:
    """Return the peak resident memory (RSS) since `forget_peak`, or else since the start.

    None where the system does not report it (Windows).
    """
    if STATUS.is_file():
        return _status_bytes("VmHWM:")
    try:
        import resource
    except ModuleNotFoundError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _status_bytes(key: str) -> int | None:
    for line in STATUS.read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(key):  # in KiB, whatever the page size
            return int(line.split()[1]) * 1024
    return None


def resident_bytes() -> int | None:
    """Return the resident memory (RSS) of now; None where /proc is missing."""
    if not STATUS.is_file():
        return None
    return _status_bytes("VmRSS:")


def end_with_parent() -> None:
    """End this process when its parent ends, killed or not, even in the middle of a run.

    Elsewhere than on Linux it ends after the run, when it finds standard input closed.

    Source: prctl(2), PR_SET_PDEATHSIG; a fork does not inherit it.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


Answer = Callable[[dict[str, Any]], None]


def main() -> None:
    """Do one job after another until standard input ends, also because the driver died."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver ends this process
    end_with_parent()
    answer = _private_output()
    gc.collect()
    gc.disable()
    gc.freeze()
    for line in sys.stdin:
        job = Job(**json.loads(line))
        if job.runtime in SLOW_IMPORTS:
            with suppress(KdtoolError):  # the fork meets it too, and reports it
                import_runner(job.runtime)
        if FORKS and (forked := os.fork()):
            _, status = os.waitpid(forked, 0)
            if code := os.waitstatus_to_exitcode(status):
                answer({"died": code})
            continue
        end_with_parent()
        try:
            _do(job, sys.stdin, answer)
        except KdtoolError as error:
            answer({"error": str(error)})
        os._exit(0)  # skips Python's clean-up, which takes longer than a fork


def _do(job: Job, requests: Iterator[str], answer: Answer) -> None:
    """Load a model and answer requests about it, until one closes it."""
    load = loader_of(job.runtime)
    _padding = _shift_memory()
    with explained_errors(job):
        _run_probe(load, job)
        forget_peak()
        runtime_memory_bytes = peak_bytes()
        model = load(job)
        started = time.perf_counter_ns()
        model.run()
        first_run_ns = time.perf_counter_ns() - started
        answer(
            {
                "load_ns": model.load_ns,
                "first_run_ns": first_run_ns,
                "runtime_memory_bytes": runtime_memory_bytes,
                "provider": model.provider,
                "provider_share": model.provider_share,
                "arithmetic": model.arithmetic,
            }
        )
        for line in requests:
            match json.loads(line):
                case ["warm up", runs, seconds]:
                    warm_up(model.run, runs, seconds)
                    answer({})
                case ["block", seconds]:
                    cpu = time.process_time()
                    runs_ns = time_block(model.run, seconds)
                    answer({"runs_ns": runs_ns, "cpu_seconds": time.process_time() - cpu})
                case ["operators", folder]:
                    answer({"operators": operator_times(job, folder)})
                case ["answers", images, found]:
                    given = np.load(images)
                    np.save(found, answers(model, given, job.batch_size))
                    answer({})
                case ["memory"]:
                    answer({"memory_bytes": resident_bytes()})
                case ["close"]:
                    answer({"peak_memory_bytes": peak_bytes()})
                    return


def _run_probe(load: Loader, job: Job) -> None:
    """Run a tiny model with the setting of `job`, so that the runtime's own memory is mapped.

    A fork maps the pages of a library at first use; without this run, 18 MB of onnxruntime would
    count as memory of the model. A runtime that is run by a script of kdtool, which takes only
    classifiers, is imported.
    """
    if job.runtime not in READ_BY_KDTOOL:
        import_runner(job.runtime)
        return
    with TemporaryDirectory() as folder:
        path = Path(folder) / "probe.onnx"
        path.write_bytes(PROBE_MODEL)
        load(replace(job, path=str(path), batch_size=1, shapes={}, facts=None)).run()


def _shift_memory() -> list[object]:
    """Allocate random amounts of memory, so that each process loads its model elsewhere."""
    pages = [mmap.mmap(-1, mmap.PAGESIZE * (1 + secrets.randbelow(1024))) for _ in range(4)]
    return [pages, [bytearray(secrets.randbelow(100_000)) for _ in range(20)]]


def _private_output() -> Answer:
    """Reserve standard output for answers; redirect prints of libraries to standard error."""
    private = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(content: dict[str, Any]) -> None:
        private.write(f"\n{ANSWER}{json.dumps(content)}\n")
        private.flush()

    return answer


if __name__ == "__main__":
    main()
