import pytest

from kdtool.edge.latency.job import Job
from kdtool.edge.latency.operators import SETTLING_RUNS, operator_times, summarize


def event(op_type, name, dur, kind="_kernel_time"):
    return {"cat": "Node", "name": f"{name}{kind}", "dur": dur, "args": {"op_name": op_type}}


def test_nodes_of_one_operator_are_added_up_and_the_first_runs_left_out():
    settling = [event("Conv", name, 9999) for name in "ab" for _ in range(SETTLING_RUNS)]
    settling += [event("Gemm", "c", 9999) for _ in range(SETTLING_RUNS)]
    runs = [event("Gemm", "c", dur) for dur in (500, 700)]
    runs += [event("Conv", "a", dur) for dur in (1000, 2000)]
    runs += [event("Conv", "b", dur) for dur in (300, 500)]
    others = [{"cat": "Session", "name": "model_run", "dur": 10**6}]
    others.append(event("Conv", "a", 10**6, kind="_fence_before"))
    conv, gemm = summarize([*settling, *runs, *others])
    assert conv == {"op_type": "Conv", "num_nodes": 2, "mean_ms": 1.9, "share": pytest.approx(0.76)}
    assert gemm == {"op_type": "Gemm", "num_nodes": 1, "mean_ms": 0.6, "share": pytest.approx(0.24)}


def test_profiler_of_onnxruntime_tells_the_nodes_of_a_model(tiny_onnx, tmp_path):
    times = operator_times(Job(path=str(tiny_onnx)), str(tmp_path))
    nodes = {one["op_type"]: one["num_nodes"] for one in times}
    assert (nodes["GlobalAveragePool"], nodes["Gemm"]) == (1, 1)
    assert [one["mean_ms"] for one in times] == sorted((o["mean_ms"] for o in times), reverse=True)
    assert sum(one["share"] for one in times) == pytest.approx(1)
