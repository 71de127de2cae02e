"""Models that are trained in several processes are those of one."""

import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch
from recorded import Recorded
from safetensors.torch import load_file
from shell import RECIPE, kdtool
from small_study import ROLES, train_here, tried_by
from typer.testing import CliRunner

from kdtool.cli.app import app
from kdtool.errors import KdtoolError
from kdtool.recipe.load import with_settings
from kdtool.train.export import choose
from kdtool.train.pipeline.parallel import ahead, processes
from kdtool.train.pipeline.parallel.ahead import train_ahead
from kdtool.train.pipeline.parallel.pieces import Piece
from kdtool.train.pipeline.parallel.processes import in_processes
from kdtool.train.pipeline.parallel.reports import train_pieces
from kdtool.train.pipeline.parallel.share import Share
from kdtool.train.pipeline.roles import train_role
from kdtool.train.reporter import Silent


class InterruptedBy(Silent):
    """A user who types Ctrl-C when a text is shown for the nth time."""

    def __init__(self, text, times):
        self.text, self.left = text, times

    def say(self, text):
        if self.text in text:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)


class Killing(Recorded):
    """Kills the processes as soon as a model has been trained."""

    def say(self, text):
        super().say(text)
        for process in active_children():
            os.kill(process.pid, signal.SIGKILL)


@pytest.mark.slow
def test_processes_that_were_interrupted_leave_the_models_of_one(open_study):
    # By then one of two processes has reported its second model, and so has written its first.
    run = open_study(reporter=InterruptedBy("% on validation", times=3))
    train_role(replace(run, reporter=Silent()), "teacher", {})
    with pytest.raises(KeyboardInterrupt):
        train_ahead(run, tried_by(run), 2, None, lambda: True)
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
    pieces = [
        Piece("T = 4", "control", run.recipe, None),
        Piece("T = 5", "control", diverging, None),
    ]
    reporter = Recorded()
    with (
        pytest.raises(KdtoolError, match=r"^the loss is .* in epoch 1, step .*; lower learning"),
        in_processes(run, Share(jobs=1, threads=1)) as workers,
    ):
        train_pieces(pieces, reporter, workers, 1, lambda: True)
    (line,) = reporter.said
    assert line.startswith("T = 4: control, seed 3: ")
    assert active_children() == []


def test_a_killed_process_is_an_error_with_a_way_to_continue(open_study):
    run, reporter = open_study(**{"student.epochs": 40}), Killing()
    pieces = [
        Piece("", "control", run.recipe.model_copy(update={"seeds": [seed]}), None)
        for seed in (3, 5, 7)
    ]
    with (
        pytest.raises(KdtoolError, match=r"perhaps for lack of memory; .* --jobs 1"),
        in_processes(run, Share(jobs=1, threads=1)) as workers,
    ):
        train_pieces(pieces, reporter, workers, 1, lambda: True)
    assert len(reporter.said) < len(pieces)


def of_session(number):
    """The processes of a session that have not ended."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            stats.append(path.read_text().rpartition(")")[2].split())
    return [fields for fields in stats if int(fields[3]) == number and fields[0] != "Z"]


def until(holds):
    end = time.monotonic() + 60
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


@pytest.mark.skipif(sys.platform != "linux", reason="counts processes as Linux lists them")
def test_no_process_outlives_a_main_process_that_is_killed(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    command = [sys.executable, "-m", "kdtool", "distill", "tiny.toml", "--jobs", "2"]
    command += ["--set", "student.epochs=100000", "--quiet", "--anyway"]
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True) as main:
        # Beside it the two that train, their server, and what tracks the semaphores of all.
        assert until(lambda: len(of_session(main.pid)) == 5)
        main.kill()
    assert until(lambda: not of_session(main.pid))


@pytest.mark.slow
def test_processes_that_trained_are_over_when_files_are_timed(open_study, monkeypatch):
    del open_study  # which wrote the recipe
    trained, timed = [], []

    train_pieces, measure = ahead.train_pieces, choose.measure

    def train(*arguments):
        train_pieces(*arguments)
        trained.extend(active_children())

    def time_files(*arguments, **options):
        timed.append([process.is_alive() for process in trained])
        return measure(*arguments, **options)

    monkeypatch.setattr(ahead, "train_pieces", train)
    monkeypatch.setattr(choose, "measure", time_files)
    few = ("seeds=[3]", "export.precisions=['fp32']", "profile.seconds=0.02", "explain.images=4")
    settings = [word for setting in few for word in ("--set", setting)]
    kdtool("distill", "tiny.toml", "--jobs", 2, "--device", "cpu", *settings)
    assert len(trained) >= 2
    assert timed == [[False] * len(trained)]


def test_no_process_is_started_if_all_models_are_trained_or_jobs_is_1(open_study, monkeypatch):
    monkeypatch.setattr(ahead, "in_processes", None)
    run = open_study()
    train_ahead(run, tried_by(run), 1, None, lambda: True)
    train_here(run)
    train_ahead(run, tried_by(run), 2, None, lambda: True)


def test_every_gpu_has_a_process(open_study, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    run = replace(open_study(), device=torch.device("cuda"))
    assert [processes.device_of(run, number) for number in range(3)] == [
        "cuda:0",
        "cuda:1",
        "cuda:0",
    ]
    named = replace(run, device=torch.device("cuda:1"))
    assert processes.device_of(named, 0) == "cuda:1"


@pytest.mark.skipif(sys.platform != "linux", reason="a limit of Linux")
def test_too_few_open_files_are_an_error_before_a_process_starts(open_study):
    run, before = open_study(), resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (27, before[1]))
    try:
        with (
            pytest.raises(KdtoolError, match=r"2 processes needs 28 open files, .* is 27; raise"),
            in_processes(run, Share(jobs=2, threads=1)),
        ):
            pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_no_processes_are_an_error(tmp_path):
    done = CliRunner().invoke(app, ["distill", str(tmp_path / "tiny.toml"), "--jobs", "0"])
    assert done.exit_code == 2
    assert "--jobs" in done.output
