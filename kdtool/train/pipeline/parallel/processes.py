"""Training processes of this machine.

A process returns messages only: it writes every model into the study, where the main process finds
it.
"""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from multiprocessing import (
    active_children,
    forkserver,
    get_context,
    parent_process,
    resource_tracker,
)
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.synchronize import Lock
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Any

import torch

from kdtool.environment import descriptors, share_memory
from kdtool.errors import KdtoolError, reason
from kdtool.files import signals_wait
from kdtool.recipe.schema import Recipe
from kdtool.study.folder import Study
from kdtool.train.fit.memory import free_memory, give_back_memory, limit_memory
from kdtool.train.pipeline.parallel.pieces import Piece
from kdtool.train.pipeline.parallel.reports import Event, Remote, Workers
from kdtool.train.pipeline.parallel.share import Share
from kdtool.train.reporter import Silent
from kdtool.train.run import Run, open_run


@dataclass(frozen=True)
class Start:
    """What a process needs to begin; each opens the study itself."""

    folder: Path  # of the study
    recipe: Recipe
    devices: list[str]  # one for each process
    threads: int  # of PyTorch
    memory: int | None  # bytes that it may take; None: not limited
    events: Connection  # to the main process
    lock: Lock  # of `events`: all processes write to it


@contextmanager
def in_processes(run: Run, share: Share) -> Iterator[Workers]:
    """Start processes that train models of a study; they end with the block.

    Args:
        run: The study, with its lock held.
        share: How many there are, and their threads.
    """
    check_descriptors(share.jobs)
    context = start_method()
    lock = lock_of(context)
    warm_up(context)
    incoming, outgoing = context.Pipe(duplex=False)
    give_back_memory()
    free = free_memory() if run.device.type == "cpu" else None
    start = Start(
        run.study.folder,
        run.recipe,
        [device_of(run, number) for number in range(share.jobs)],
        share.threads,
        None if free is None else free // share.jobs,
        outgoing,
        lock,
    )
    before = set(active_children())
    pool = ProcessPoolExecutor(share.jobs, context, begin, (start, context.Value("i", 0)))

    def submit(number: int, piece: Piece) -> Future[None]:
        with signals_wait():  # a process that is only half started is not ended below
            return pool.submit(train_here, number, piece)

    workers = Workers(submit, collect)
    Thread(target=forward, args=(incoming, workers.events), daemon=True).start()
    try:
        yield workers
    finally:
        for process in set(active_children()) - before:
            process.terminate()
        pool.shutdown(cancel_futures=True)
        outgoing.close()  # the last end of the pipe for writing, and so `forward` ends


def check_descriptors(jobs: int) -> None:
    """Check that enough files may be open: the server of the processes says so by a traceback.

    Raises:
        KdtoolError: The limit is too low. Four processes begin with 32, and not with 24.
    """
    limit, needed = descriptors(), 24 + 2 * jobs
    if limit is not None and limit < needed:
        raise KdtoolError(
            f"training in {jobs} processes needs {needed} open files, and the limit of open files "
            f"is {limit}; raise it with `ulimit -n 1024`, or use --jobs 1"
        )


def lock_of(context: SpawnContext | ForkServerContext) -> Lock:
    """Return a lock for several processes.

    Raises:
        KdtoolError: The system has no room for one.
    """
    try:
        return context.Lock()
    except OSError as error:
        raise KdtoolError(
            f"training processes need locks, on Linux in /dev/shm: {reason(error)}; use --jobs 1, "
            "or let it be written (docker run --shm-size=1g)"
        ) from error


def start_method() -> SpawnContext | ForkServerContext:
    """Return how processes are started: not as forks of this one, whose threads a fork would lack.

    On Linux they are forks of a server process, which has imported PyTorch and started no thread.
    """
    if sys.platform != "linux":
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch._dynamo"])  # an optimizer imports it
    return context


def warm_up(context: SpawnContext | ForkServerContext) -> None:
    """Start the server of which the processes are forks, and wait until it has imported PyTorch."""
    if isinstance(context, ForkServerContext):
        with signals_wait():
            resource_tracker.ensure_running()  # first, as it unblocks Ctrl-C
            # A server that Ctrl-C reaches prints a traceback; it inherits that it is blocked.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                forkserver.ensure_running()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
        first = context.Process(target=print, args=("",), kwargs={"end": ""})
        first.start()  # seconds, in which a signal may end the command
        first.join()


def device_of(run: Run, number: int) -> str:
    """Return the device of a process: each GPU in turn, unless the user named one."""
    if run.device.type == "cuda" and run.device.index is None:
        return f"cuda:{number % torch.cuda.device_count()}"
    return str(run.device)


def collect(_piece: Piece, future: Future[None]) -> None:
    """Wait for a model.

    Raises:
        KdtoolError: It cannot be trained, or a process was killed.
    """
    try:
        future.result()
    except BrokenProcessPool as error:
        raise KdtoolError(
            "a training process was killed, perhaps for lack of memory; run the same command "
            "again to resume, with --jobs 1 to use one process"
        ) from error


def forward(incoming: Connection, events: "SimpleQueue[Event]") -> None:
    """Pass the events of all processes on, until the pipe is closed."""
    with incoming, suppress(EOFError, OSError):
        while True:
            events.put(incoming.recv())


_start: Start | None = None  # of this process, if it is one that trains
_device = ""


def begin(start: Start, number: Any) -> None:
    """Set up a process.

    Args:
        start: What it needs.
        number: Shared counter of the processes that have begun.
    """
    global _start, _device
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it through the main process
    Thread(target=end_with_the_main_process, daemon=True).start()
    sys.stdout = sys.stderr  # standard output is for results, and a user's model may print
    share_memory(len(start.devices))
    torch.set_num_threads(start.threads)
    if start.memory is not None:
        limit_memory(start.memory)
    with number.get_lock():
        _device = start.devices[number.value % len(start.devices)]
        number.value += 1
    _start = start


def end_with_the_main_process() -> None:
    """Wait until the main process ends, and end this one.

    A main process that is killed cannot end its pool, whose processes would wait for the next piece
    for ever: each of them holds the other end of the queue.
    """
    main = parent_process()
    assert main is not None
    main.join()
    os._exit(1)


@cache
def opened_run() -> Run:
    """Open the study, once in a process."""
    assert _start is not None
    # The main process has reported everything about the study and its data.
    study = Study(_start.folder, Silent().warn)
    return open_run(study, _start.recipe, _device, Silent())


def train_here(number: int, piece: Piece) -> None:
    """Train a model in a training process; it is a stage of the study then.

    Raises:
        KdtoolError: It cannot be trained.
    """

    def send(*event: Any) -> None:
        assert _start is not None
        with _start.lock:
            _start.events.send((number, *event))

    try:
        piece.train(replace(opened_run(), reporter=Remote(send)))
        send("over")
    except KdtoolError:
        raise
    except Exception as error:  # PyTorch's, or anything that a user's network raises
        text = f"{type(error).__name__}: {error}; --jobs 1 trains in one process, with a traceback"
        raise KdtoolError(text) from error
