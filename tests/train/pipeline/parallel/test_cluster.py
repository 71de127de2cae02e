"""Models that a Ray cluster of two nodes trained, one of which is killed, are those of one process.

The cluster is a real one, on this machine: `ray start`, twice. Skipped where Ray is not installed.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from recorded import Recorded
from safetensors.torch import load_file
from shell import kdtool
from small_study import ROLES, train_here, tried_by

if find_spec("ray") is None:  # not by importing it: kdtool sets what Ray reads as it is imported
    pytest.skip("Ray is not installed", allow_module_level=True)

from kdtool.errors import KdtoolError
from kdtool.recipe.load import with_settings
from kdtool.results.study import load_results
from kdtool.train.pipeline.parallel.ahead import train_ahead
from kdtool.train.pipeline.parallel.cluster import connected, on_cluster, ray_module
from kdtool.train.pipeline.parallel.pieces import Piece
from kdtool.train.pipeline.parallel.reports import train_pieces
from kdtool.train.pipeline.parallel.share import Share, needed_bytes, share_of

SECONDS_TO_START = 90  # a node takes 5; more where other work keeps all cores busy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(180),
    pytest.mark.skipif(sys.platform != "linux", reason="killpg"),
]


class Shown(Recorded):
    """A reporter that acts when the nth text of a kind is shown."""

    def __init__(self, text="", times=0, act=None):
        super().__init__()
        self.text, self.left, self.act = text, times, act

    def say(self, text):
        super().say(text)
        if self.text in text:
            self.left -= 1
            if self.left == 0:
                self.act()


class Bars(Recorded):
    """A reporter that counts how many models train at a time."""

    def __init__(self):
        super().__init__()
        self.open = self.most = 0

    @contextmanager
    def progress(self, title, total):
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            yield lambda _done, _text: None
        finally:
            self.open -= 1


def free_ports(count):
    """Ports that nothing listens at."""
    with_sockets = [socket.socket() for _ in range(count)]
    for one in with_sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in with_sockets]
    for one in with_sockets:
        one.close()
    return ports


def start_node(where, *options):
    """Start a node of one CPU; return the group of its processes."""
    command = [
        str(Path(sys.executable).with_name("ray")),
        "start",
        "--num-cpus=1",
        "--num-gpus=0",
        "--object-store-memory=100000000",
        "--disable-usage-stats",
        "--min-worker-port=0",
        "--max-worker-port=0",
        *options,
    ]
    environment = os.environ | {"HOME": str(where), "TMPDIR": str(where)}
    with (where / "start.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=where, env=environment, start_new_session=True
        )
        try:
            status = process.wait(SECONDS_TO_START)
        except subprocess.TimeoutExpired:
            status = "none yet"
    if status != 0:
        kill_node(process.pid)
        pytest.fail(f"ray start: {status}\n{(where / 'start.log').read_text()[-2000:]}")
    return process.pid


def kill_node(group):
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


@pytest.fixture(scope="module")
def cluster():
    """Two nodes: addresses for drivers there and elsewhere, and what kills the second."""
    where = Path(f"/tmp/kdtool-ray-{os.getpid()}")  # short: Ray's sockets lie below it
    where.mkdir()
    port, client = free_ports(2)
    groups = []
    try:
        groups.append(
            start_node(
                where,
                "--head",
                f"--port={port}",
                f"--ray-client-server-port={client}",
                f"--temp-dir={where / 'ray'}",
                "--include-dashboard=false",
            )
        )
        groups.append(start_node(where, f"--address=127.0.0.1:{port}"))
        elsewhere = f"ray://127.0.0.1:{client}"
        yield SimpleNamespace(
            here=f"127.0.0.1:{port}", elsewhere=elsewhere, kill=lambda: kill_node(groups[1])
        )
    finally:
        for group in groups:
            kill_node(group)
        time.sleep(1)  # they write until they are gone
        shutil.rmtree(where, ignore_errors=True)


@pytest.fixture
def connect(cluster, monkeypatch):
    """A function that connects to the cluster."""
    monkeypatch.setenv("RAY_ADDRESS", cluster.here)
    return lambda run: connected("auto", run.recipe)


def save_images(path):
    """Write noise of two classes in MedMNIST's form."""
    rng, content = np.random.default_rng(0), {}
    for split in ("train", "val", "test"):
        content[f"{split}_images"] = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8)
        content[f"{split}_labels"] = np.arange(40)[:, None] % 2
    np.savez(path, **content)


def test_an_error_names_the_node_and_is_not_tried_again(open_study, connect, tmp_path):
    images = tmp_path / "noise.npz"
    save_images(images)
    own = {"data.source": "npz", "data.root": str(tmp_path), "data.file": "noise.npz"}
    here, elsewhere = open_study(seeds=[3]), open_study(seeds=[3], **own)
    images.unlink()  # as where a node does not have them
    result = here.splits.result.model_copy(update={"fingerprint": "0" * 64})
    others = replace(here, splits=replace(here.splits, result=result))
    cases = [
        (here, {"student.learning_rate": 1e30}, r"^the loss is .* in epoch 1, .* \(on the node "),
        (others, {}, r"^the images here are not those of the study.* \(on the node "),
        (elsewhere, {}, rf"{re.escape(str(images))}.* \(on the node "),
    ]
    with connect(here) as nodes:
        for run, settings, message in cases:
            piece = Piece("", "control", with_settings(run.recipe, settings), None)
            reporter = Shown()
            with (
                pytest.raises(KdtoolError, match=message),
                on_cluster(run, Share(jobs=2, threads=1), nodes) as workers,
            ):
                train_pieces([piece], reporter, workers, 1, lambda: True)
            assert reporter.said == []


def test_no_more_models_train_at_a_time_than_there_are_processors(open_study, connect):
    reporter = Bars()
    run = open_study(seeds=list(range(4)), reporter=reporter, **{"student.epochs": 400})
    pieces = [
        Piece("", "control", with_settings(run.recipe, {"seeds": [seed]}), None)
        for seed in run.recipe.seeds
    ]
    with connect(run) as nodes, on_cluster(run, Share(jobs=2, threads=1), nodes) as workers:
        train_pieces(pieces, reporter, workers, 2, lambda: True)
    assert len(list(run.study.folder.glob("stages/control-seed*"))) == 4
    assert reporter.most <= 2


def test_the_command_trains_on_a_cluster_elsewhere_what_it_trains_here(recipe, cluster, tmp_path):
    few = ("--set", "seeds=[3]", "--set", "teacher.epochs=2", "--set", "export.precisions=['fp32']")
    studies = []
    for name, options in (("there", ["--cluster", cluster.elsewhere]), ("here", ["--jobs", 1])):
        kdtool("distill", recipe, *few, *options, "--out", tmp_path / name)
        studies.append(load_results(tmp_path / name / "tiny" / "results.json"))
    there, here = studies
    for role in ROLES:
        (one,), (other,) = there.models[role].seeds, here.models[role].seeds
        assert one.trained_on.num_nodes == 2
        assert other.trained_on is None
        assert one.test.accuracy == pytest.approx(other.test.accuracy, abs=0.03)
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"


def test_finetune_trains_on_a_cluster_of_this_machine_alone(recipe, tmp_path):
    """In a process of its own, as Ray keeps the token of such a cluster."""
    settings = ["--set", "teacher.epochs=1", "--set", "seeds=[3]", "--device", "cpu"]
    command = [sys.executable, "-m", "kdtool", "finetune", recipe, *settings]
    environment = os.environ | {"HOME": str(tmp_path)}
    environment.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [*command, "--cluster", "local", "--out", tmp_path / "runs"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = load_results(tmp_path / "runs" / "tiny" / "results.json")
    (teacher,) = results.models["teacher"].seeds
    assert (teacher.trained_on.num_nodes, teacher.trained_on.num_workers) == (1, 1)
    assert not (tmp_path / ".ray").exists()  # no token, which all later clusters would want


def test_a_sweep_trains_on_a_cluster_what_it_trains_here(
    open_study, cluster, tmp_path, monkeypatch
):
    del open_study  # which wrote the recipe
    monkeypatch.setenv("RAY_ADDRESS", cluster.here)
    few = ("seeds=[3]", "export.precisions=['fp32']", "profile.seconds=0.02", "explain.images=4")
    swept = ["--sweep", "distill.temperature=1,4", "--device", "cpu"]
    swept += [word for setting in few for word in ("--set", setting)]
    for name, options in (("there", ["--cluster", "auto"]), ("here", ["--jobs", 1])):
        kdtool("distill", "tiny.toml", *swept, *options, "--out", tmp_path / name)
    there, here = (tmp_path / name / "tiny" for name in ("there", "here"))
    names = sorted(path.name for path in here.glob("checkpoints/*.safetensors"))
    assert len(names) == 4  # a teacher, a control, and a student of each temperature
    assert names == sorted(path.name for path in there.glob("checkpoints/*.safetensors"))
    for name in names:
        torch.testing.assert_close(
            load_file(there / "checkpoints" / name), load_file(here / "checkpoints" / name)
        )
    records = [json.loads(path.read_text()) for path in there.glob("stages/*-seed3-*.json")]
    trained = [one["result"]["trained_on"] for one in records if "epochs" in one["result"]]
    assert [one["num_nodes"] for one in trained] == [2] * 4


def test_a_task_asks_for_its_cores_its_gpu_and_the_memory_of_this_process(
    open_study, connect, monkeypatch
):
    ray, run, asked = ray_module(), open_study(), []
    remote = ray.remote

    def watched(*arguments, **options):
        asked.append(options)
        return remote(*arguments, **options)

    monkeypatch.setattr(ray, "remote", watched)
    for device, threads, num_gpus in (
        ("cpu", 1, 0),
        ("cpu", 3, 0),
        ("cuda", 2, 1),
        ("cuda:1", 1, 1),
    ):
        of_device = replace(run, device=torch.device(device))
        with connect(run) as nodes:
            share = replace(share_of(run, None, nodes, ["control"]), threads=threads)
            with on_cluster(of_device, share, nodes):
                options = asked[-1]
        assert 10**8 < options.pop("memory") <= needed_bytes()  # PyTorch is in it
        assert options == {"num_cpus": threads, "num_gpus": num_gpus, "max_retries": 3}


def test_a_study_goes_on_when_a_node_is_killed_and_trains_no_finished_model_again(
    open_study, connect, cluster
):
    written = {}
    folder = open_study().study.folder

    def kill():
        written.update((path, path.stat().st_mtime_ns) for path in folder.glob("stages/*-seed*"))
        cluster.kill()

    # By then the teacher and perhaps a control are in the study, and both nodes are at work.
    reporter = Shown("control, seed", times=1, act=kill)
    run = open_study(reporter=reporter, **{"student.epochs": 20})
    with connect(run) as nodes:
        assert len(nodes.nodes) == 2
        train_ahead(run, tried_by(run), None, nodes, lambda: True)
    assert written
    stages = {path: path.stat().st_mtime_ns for path in folder.glob("stages/*-seed*")}
    assert len(stages) == 5
    assert written.items() <= stages.items()
    settings = {"student.epochs": 20}
    there, here = train_here(open_study(**settings)), train_here(open_study("here", **settings))
    assert {path: path.stat().st_mtime_ns for path in stages} == stages
    for role in ROLES:
        for one, other in zip(there[role], here[role], strict=True):
            assert (one.key, one.seed) == (other.key, other.seed)
            torch.testing.assert_close(load_file(one.checkpoint), load_file(other.checkpoint))
            on = one.result.trained_on
            assert (on.num_nodes, on.num_workers, on.num_threads) == (
                2,
                min(2, len(there[role])),
                1,
            )
