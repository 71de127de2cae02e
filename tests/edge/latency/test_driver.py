import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from kdtool.edge.latency.driver import started_workers
from kdtool.edge.latency.job import Job
from kdtool.edge.latency.measure import measure
from kdtool.errors import KdtoolError

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def children_of(pid):
    """All descendants of a process."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    own = [int(child) for task in tasks for child in task.read_text().split()]
    return own + [grandchild for child in own for grandchild in children_of(child)]


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def cpu_ticks(pid):
    """Clock ticks that a process has spent in user mode. Source: proc(5), field 14 of stat."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])


def wait_for(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "the condition was not reached"
        time.sleep(0.02)


@linux
def test_every_model_is_opened_in_a_fresh_process(tiny_onnx):
    with started_workers(1) as (worker,):
        before, forks = set(children_of(os.getpid())), set()
        for _ in range(3):
            worker.open(Job(path=str(tiny_onnx)))
            forks |= set(children_of(os.getpid())) - before
            worker.ask("close")
        assert len(forks) == 3
    wait_for(lambda: not any(map(alive, forks)))


@linux
def test_a_model_that_kills_its_process_is_named(tiny_onnx):
    before = set(children_of(os.getpid()))
    with started_workers(1) as (worker,):
        worker.open(Job(path=str(tiny_onnx)))
        os.kill(max(set(children_of(os.getpid())) - before), signal.SIGKILL)
        with pytest.raises(KdtoolError, match="was killed, most likely out of mem") as error:
            worker.ask("block", 0.01)
    assert str(tiny_onnx) in str(error.value)


@linux
@pytest.mark.parametrize("end_it_by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("is_stuck", [False, True])
def test_nothing_outlives_a_measurement_that_is_ended(tiny_onnx, end_it_by, is_stuck):
    code = f"""
from pathlib import Path
from kdtool.edge.latency.measure import measure
measure([Path({str(tiny_onnx)!r})] * 2, seconds=600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: len(children_of(parent.pid)) == 4)  # two workers, a fork of each
        started = children_of(parent.pid)
        if is_stuck:  # as in a run that takes minutes: they do not see that their input ended
            forks = [process for process in started if not children_of(process)]
            wait_for(lambda: all(cpu_ticks(fork) >= 5 for fork in forks))  # both run the model
            for process in started:
                os.kill(process, signal.SIGSTOP)
        parent.send_signal(end_it_by)
        assert parent.wait(20) != 0
        wait_for(lambda: not any(map(alive, started)))
    finally:
        parent.kill()
        parent.wait()


def test_the_output_of_a_worker_that_dies_is_in_the_message(tiny_onnx, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("raise SystemError('the runtime is broken')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(KdtoolError, match=r"exit code 1; its last output:[^$]*runtime is broken"):
        measure([tiny_onnx])


def test_a_killed_worker_is_reported(tiny_onnx, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(KdtoolError, match="was killed, most likely out of memory"):
        measure([tiny_onnx])


def test_module_of_the_same_name_in_the_users_folder_is_not_imported(
    tiny_onnx, tmp_path, monkeypatch
):
    (tmp_path / "onnxruntime.py").write_text("raise SystemError('not this one')")
    monkeypatch.chdir(tmp_path)
    with started_workers(1) as (worker,):
        assert worker.open(Job(path=str(tiny_onnx)))["provider"] == "cpu"


def test_library_that_writes_to_standard_output_does_no_harm(tiny_onnx, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("print('hello from a library', end='')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with started_workers(1) as (worker,):
        assert worker.open(Job(path=str(tiny_onnx)))["provider"] == "cpu"


def test_a_non_ascii_path_reaches_the_worker(tiny_onnx):
    path = tiny_onnx.rename(tiny_onnx.with_name("café 犬.onnx"))
    with started_workers(1) as (worker,):
        assert worker.open(Job(path=str(path)))["first_run_ns"] > 0


def test_a_worker_writes_no_file_to_the_users_home(tiny_onnx, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    with started_workers(1) as (worker,):
        worker.open(Job(path=str(tiny_onnx)))
    assert list(home.iterdir()) == []


def test_a_worker_does_not_import_what_it_does_not_need():
    code = (
        "import sys, kdtool.edge.latency.worker; "
        "print([m for m in ('onnx', 'google.protobuf', 'pydantic', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
