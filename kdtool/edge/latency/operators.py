"""Where the time of a model goes, operator by operator."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from kdtool.edge.latency.job import Job, warm_up
from kdtool.edge.latency.loading import session_input
from kdtool.edge.session import InferenceSession, open_session

RUNS, SECONDS = 20, 0.3
SETTLING_RUNS = 5  # left out: the first runs are slower
CONTROL_FLOW = frozenset(("If", "Loop", "Scan"))  # the nodes of their bodies are told themselves


def operator_times(job: Job, folder: str) -> list[dict[str, Any]]:
    """Run the model of `job` under the profiler of ONNX Runtime, in a session for only that.

    Args:
        job: Of the runtime `onnxruntime`.
        folder: Where the profiler may write.

    Returns:
        The fields of an `OperatorTime` each, slowest first.
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
    """Add up the profiler's events by operator.

    Args:
        events: As ONNX Runtime writes them, with `dur` in us: the nodes of a run, then the run. A
            node in the body of a loop has one for each turn, one in a branch not in every run.
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
