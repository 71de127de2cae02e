"""Load a model in ONNX Runtime or another runtime, with one message for each failure."""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdtool.edge.latency.job import (
    PROBABILITIES,
    Declared,
    Feed,
    Job,
    LoadedModel,
    random_input,
    warm_up,
)
from kdtool.edge.providers import PROVIDERS, provider_share
from kdtool.edge.session import RUNTIME_ERRORS, InferenceSession, open_session
from kdtool.errors import ModelFileError

if TYPE_CHECKING:  # records need pydantic, which doubles the worker's imports
    from kdtool.results.profile import Runtime

TYPES = {
    "tensor(bool)": np.bool_,
    "tensor(int8)": np.int8,
    "tensor(int16)": np.int16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
    "tensor(uint16)": np.uint16,
    "tensor(uint32)": np.uint32,
    "tensor(uint64)": np.uint64,
    "tensor(double)": np.float64,
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
}
# Messages of onnxruntime, the C++ library and NumPy when memory runs out.
OUT_OF_MEMORY = ("bad_alloc", "allocate memory", "Unable to allocate", "bad allocation")

Loader = Callable[[Job], LoadedModel]


def loader_of(runtime: "Runtime") -> Loader:
    """Import a runtime and return the function that loads a job's model in it.

    Raises:
        KdtoolError: The runtime is not installed.
    """
    if runtime == "openvino":
        from kdtool.edge.latency.openvino import load_in_openvino

        return load_in_openvino
    if runtime != "onnxruntime":
        from kdtool.edge.latency.runners import load_in_runner

        return load_in_runner
    return load_in_onnxruntime


def load_in_onnxruntime(job: Job) -> LoadedModel:
    """Load the model of `job` in ONNX Runtime.

    Raises:
        KdtoolError: It cannot be loaded with this setting.
    """
    started = time.perf_counter_ns()
    session = open_session(Path(job.path), job.threads, job.provider)
    load_ns = time.perf_counter_ns() - started
    feed = session_input(session, job)
    used, name = session.get_providers()[0], session.get_inputs()[0].name
    return LoadedModel(
        run=lambda: session.run(None, feed),
        load_ns=load_ns,
        answer=(lambda images: session.run([PROBABILITIES], {name: images})[0])
        if job.facts
        else None,
        provider=next(name for name, full in PROVIDERS.items() if full == used),
        provider_share=provider_share(session),
    )


def session_input(session: InferenceSession, job: Job) -> Feed:
    """Return a batch of noise for a session.

    Raises:
        ModelFileError: An input holds no numbers, or its size is unknown.
    """
    declared: Declared = {
        entry.name: (entry.shape, TYPES.get(entry.type, entry.type))
        for entry in session.get_inputs()
    }
    return random_input(declared, job.batch_size, job.shapes)


@contextmanager
def explained_errors(job: Job) -> Iterator[None]:
    """Turn errors of a runtime into one message that names the file."""
    try:
        yield
    except MemoryError as error:
        raise ModelFileError(too_large(job)) from error
    except (ModelFileError, RuntimeError, *RUNTIME_ERRORS) as error:
        if any(text in str(error) for text in OUT_OF_MEMORY):
            raise ModelFileError(too_large(job)) from error
        if job.path in str(error):
            raise
        raise ModelFileError(f"cannot run {job.path}: {error}") from error


def too_large(job: Job) -> str:
    """Return the message for a model that needs more memory than is available."""
    smaller = " a smaller --batch," if job.batch_size > 1 else ""
    return (
        f"{job.path} needs more memory than is available, with batches of {job.batch_size}: "
        f"try{smaller} fewer files at once, or a machine with more memory"
    )


RUNS, SECONDS = 20, 0.3
SETTLING_RUNS = 5  # excluded: the first runs are slower
CONTROL_FLOW = frozenset(("If", "Loop", "Scan"))  # their subgraphs have own entries


def operator_times(job: Job, folder: str) -> list[dict[str, Any]]:
    """Run the model of `job` under the profiler of ONNX Runtime, in a session of its own.

    Args:
        job: With the runtime `onnxruntime`.
        folder: For the file of the profiler.

    Returns:
        The fields of one `OperatorTime` each, slowest first.
    """
    plain = open_session(Path(job.path), job.threads, job.provider)
    options = plain.get_session_options()
    options.enable_profiling = True
    options.profile_file_prefix = str(Path(folder) / "operators")
    session = InferenceSession(job.path, options, providers=plain.get_providers())
    feed = session_input(session, job)
    warm_up(lambda: session.run(None, feed), SETTLING_RUNS + RUNS, SECONDS)
    return summarize(json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")))


def summarize(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum the profiler's events by operator.

    Args:
        events: From ONNX Runtime, with `dur` in us: the nodes of a run, then the run. A node in a
            loop has one event for each iteration; a node in a branch has none in some runs.
    """
    nodes: dict[tuple[str, str], float] = defaultdict(float)  # operator, name -> us in all
    num_runs = 0
    for event in events:
        num_runs += event["name"] == "model_run"
        if num_runs < SETTLING_RUNS or not event["name"].endswith("_kernel_time"):
            continue
        op_type = event["args"]["op_name"]
        if op_type not in CONTROL_FLOW:
            nodes[op_type, event["name"]] += event["dur"]
    operators: dict[str, list[float]] = defaultdict(list)  # operator -> ms of each node
    for (op_type, _), micros in nodes.items():
        operators[op_type].append(micros / 1e3 / (num_runs - SETTLING_RUNS))
    total = sum(sum(times) for times in operators.values())
    return [
        {
            "op_type": op_type,
            "num_nodes": len(times),
            "mean_ms": sum(times),
            "share": sum(times) / total if total else 0.0,
        }
        for op_type, times in sorted(operators.items(), key=lambda item: -sum(item[1]))
    ]
