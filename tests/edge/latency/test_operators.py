import pytest

from kdtool.edge.latency.job import Job
from kdtool.edge.latency.runtimes import SETTLING_RUNS, operator_times, summarize


def event(op_type, name, dur, kind="_kernel_time"):
    return {"cat": "Node", "name": f"{name}{kind}", "dur": dur, "args": {"op_name": op_type}}


def run(**durations):
    """The events of a run: us of each node of `NODES`, in turn, and at last the run itself."""
    nodes = [event(NODES[name], name, us) for name, turns in durations.items() for us in turns]
    return [*nodes, {"cat": "Session", "name": "model_run", "dur": 10**6}]


NODES = {"a": "Conv", "b": "Conv", "c": "Gemm", "loop": "Loop"}
SETTLING = SETTLING_RUNS * run(a=[9999], b=[9999], c=[9999])


def test_nodes_of_one_operator_are_added_up_and_the_first_runs_left_out():
    start = [{"cat": "Session", "name": "session_initialization", "dur": 10**6}]
    runs = [*run(a=[1000], b=[300], c=[500]), event("Conv", "a", 10**6, kind="_fence_before")]
    runs += run(a=[2000], b=[500], c=[700])
    conv, gemm = summarize([*start, *SETTLING, *runs])
    assert conv == {"op_type": "Conv", "num_nodes": 2, "mean_ms": 1.9, "share": pytest.approx(0.76)}
    assert gemm == {"op_type": "Gemm", "num_nodes": 1, "mean_ms": 0.6, "share": pytest.approx(0.24)}


def test_a_body_counts_as_often_as_it_ran_in_a_run():
    # `b` is in a loop of three iterations, which includes it; `c` in a branch, in 1 of 4 runs.
    looped = {"a": [100], "b": [10, 20, 30], "loop": [70]}
    conv, gemm = summarize([*SETTLING, *run(**looped, c=[80]), *(3 * run(**looped))])
    assert (conv["op_type"], conv["num_nodes"], conv["mean_ms"]) == ("Conv", 2, pytest.approx(0.16))
    assert (gemm["op_type"], gemm["num_nodes"], gemm["mean_ms"]) == ("Gemm", 1, pytest.approx(0.02))


def test_the_profiler_of_onnxruntime_lists_the_nodes_of_a_model(tiny_onnx, tmp_path):
    times = operator_times(Job(path=str(tiny_onnx)), str(tmp_path))
    nodes = {one["op_type"]: one["num_nodes"] for one in times}
    assert (nodes["GlobalAveragePool"], nodes["Gemm"]) == (1, 1)
    assert [one["mean_ms"] for one in times] == sorted((o["mean_ms"] for o in times), reverse=True)
    assert sum(one["share"] for one in times) == pytest.approx(1)
