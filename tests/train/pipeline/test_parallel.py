"""Models that are trained in several processes are those of one."""

import os
import signal
import threading
from dataclasses import replace
from multiprocessing import Pipe, active_children

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from kdtool.cli.app import app
from kdtool.errors import KdtoolError
from kdtool.recipe.load import load_recipe, with_settings
from kdtool.study.folder import Study
from kdtool.train.pipeline import parallel
from kdtool.train.pipeline.parallel import Piece, train_ahead
from kdtool.train.pipeline.roles import train_role
from kdtool.train.pipeline.sweep import settings_of
from kdtool.train.reporter import Silent
from kdtool.train.run import open_run

ROLES = ["teacher", "control", "student"]
RECIPE = """
name = "tiny"
seeds = [3, 5]
[data]
source = "digits"
[teacher]
model = "mnist-mlp"
epochs = 1
min_steps = 0
[student]
model = "own_nets:small"
epochs = 2
min_steps = 0
"""
OWN_NETS = """
from torch import nn

def small(image_shape, num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, num_classes))
"""


class Recorded(Silent):
    """A reporter that keeps the messages."""

    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


class InterruptedBy(Silent):
    """A user who types Ctrl-C when a text is shown for the nth time."""

    def __init__(self, text, times):
        self.text, self.left = text, times

    def say(self, text):
        if self.text in text:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)


@pytest.fixture
def open_study(tmp_path, monkeypatch):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "own_nets.py").write_text(OWN_NETS)
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(tmp_path / "tiny.toml")

    def open_it(out="runs", reporter=None, **settings):
        changed = with_settings(recipe, settings)
        study = Study(tmp_path / out / recipe.name)
        return open_run(study, changed, "cpu", reporter or Silent())

    return open_it


def tried_by(run):
    return settings_of(list(ROLES), [({}, run.recipe)])


def train_here(run):
    models = {}
    for role in ROLES:
        models[role] = train_role(run, role, models)
    return models


@pytest.mark.slow
def test_processes_that_were_interrupted_leave_the_models_of_one(open_study):
    # By then one of two processes has reported its second model, and so has written its first.
    run = open_study(reporter=InterruptedBy("% on validation", times=3))
    train_role(replace(run, reporter=Silent()), "teacher", {})
    with pytest.raises(KeyboardInterrupt):
        train_ahead(run, tried_by(run), 2, lambda: True)
    assert active_children() == []
    written = {path: path.stat().st_mtime_ns for path in run.study.folder.glob("stages/*-seed*")}
    assert len(written) > 1  # the teacher, and what the processes had done
    ahead, here = train_here(open_study()), train_here(open_study("one-process"))
    assert {path: path.stat().st_mtime_ns for path in written} == written
    for role in ROLES:
        for one, other in zip(ahead[role], here[role], strict=True):
            assert (one.key, one.seed) == (other.key, other.seed)
            torch.testing.assert_close(load_file(one.checkpoint), load_file(other.checkpoint))


def test_messages_of_a_process_name_its_setting_and_its_error_is_raised(open_study):
    run = open_study(seeds=[3])
    diverging = with_settings(run.recipe, {"student.learning_rate": 1e30})
    pieces = iter(
        [
            ("T = 4", Piece("", "control", run.recipe, None).train),
            ("T = 5", Piece("", "control", diverging, None).train),
        ]
    )
    ours, theirs = Pipe()
    arguments = (theirs, run.study.folder, run.recipe, "cpu")
    threading.Thread(target=parallel.work, args=arguments).start()
    reporter = Recorded()
    worker = parallel.Worker(ours, reporter)

    def follow():
        while worker.take_event(pieces):
            pass

    with pytest.raises(KdtoolError, match=r"^the loss is .* in epoch 1, step .*; lower learning"):
        follow()
    (line,) = reporter.said
    assert line.startswith("T = 4: control, seed 3: ")


def test_a_killed_process_is_an_error_with_a_way_to_continue():
    ours, theirs = Pipe()
    theirs.close()
    worker = parallel.Worker(ours, Silent())
    with pytest.raises(KdtoolError, match=r"perhaps for lack of memory; .* --jobs 1"):
        worker.take_event(iter([]))


def test_no_process_is_started_if_all_models_are_trained_or_jobs_is_1(open_study, monkeypatch):
    monkeypatch.setattr(parallel, "started", None)
    run = open_study()
    train_ahead(run, tried_by(run), 1, lambda: True)
    train_here(run)
    train_ahead(run, tried_by(run), 2, lambda: True)


def test_several_processes_train_only_where_training_takes_long(open_study, monkeypatch):
    run = open_study(**{"student.model": "mnist-mlp", "student.epochs": 3})
    roles = ["control", "student", "student"]
    macs = 64 * 784 + 784 * 784 + 784 * 10
    done = 3 * 2 * macs * 3 * 3 * len(run.splits.train)  # passes, mul and add; epochs, models
    assert parallel.operations(run, roles) == done
    assert parallel.operations(run, ["teacher"]) == 0
    assert parallel.jobs_of(run, None, roles) == 1
    assert parallel.jobs_of(run, 5, roles) == 3
    monkeypatch.setattr(parallel, "WORTH_PROCESSES", done)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert parallel.jobs_of(run, None, roles) == 2
    assert parallel.jobs_of(run, 1, roles) == 1


def test_every_gpu_has_a_process(open_study, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    run = replace(open_study(), device=torch.device("cuda"))
    assert parallel.jobs_of(run, None, ["teacher", "subclass-teacher", "control"]) == 2
    assert [parallel.device_of(run, number) for number in range(3)] == [
        "cuda:0",
        "cuda:1",
        "cuda:0",
    ]
    named = replace(run, device=torch.device("cuda:1"))
    assert parallel.jobs_of(named, None, ["teacher", "control"]) == 1
    assert parallel.device_of(named, 0) == "cuda:1"


def test_no_processes_are_an_error(tmp_path):
    done = CliRunner().invoke(app, ["distill", str(tmp_path / "tiny.toml"), "--jobs", "0"])
    assert done.exit_code == 2
    assert "--jobs" in done.output
