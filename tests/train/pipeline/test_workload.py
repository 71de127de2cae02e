"""What a study is expected to take, and what is left while it trains."""

from contextlib import contextmanager

import pytest
from shell import RECIPE

from kdtool.recipe.load import load_recipe, with_settings
from kdtool.study.folder import Study
from kdtool.train.pipeline import workload
from kdtool.train.pipeline.roles import train_role
from kdtool.train.pipeline.sweep import grid, settings_of
from kdtool.train.pipeline.workload import Workload, missing_models, numbered
from kdtool.train.reporter import Silent
from kdtool.train.run import open_run


class Recorded(Silent):
    def __init__(self):
        self.said, self.titles, self.texts = [], [], []

    def say(self, text):
        self.said.append(text)

    @contextmanager
    def progress(self, title, total):
        self.titles.append(title)
        yield lambda done, text: self.texts.append(text)


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(workload.time, "perf_counter", lambda: now[0])
    return now


def test_models_are_numbered_and_the_time_left_follows_the_time_taken(clock):
    shown = Recorded()
    work = Workload(shown, [30.0, 10.0], jobs=1)
    assert work.left() == 40
    clock[0] = 1000.0  # before the first model begins, a teacher answered
    with work.progress("teacher, seed 0", 300) as update:
        update(0, "begins")  # as each training does
        assert work.left() == 40
        clock[0] = 1020.0
        update(100, "epoch 1")
        assert work.left() == pytest.approx(60)  # a quarter is done, in 20 s
    with work.progress("student, seed 0", 300) as update:
        update(0, "begins")
        clock[0] = 1090.0
        update(300, "epoch 3")
    assert work.left() == 0
    assert shown.titles == ["model 1 of 2: teacher, seed 0", "model 2 of 2: student, seed 0"]
    assert shown.texts[0].startswith("begins; all models: 40 s left")
    assert shown.texts[-1] == "epoch 3; all models: 10 s or less left"


def test_what_an_interrupted_run_had_done_took_no_time_of_this_one(clock):
    work = Workload(Recorded(), [100.0, 100.0], jobs=1)
    with work.progress("teacher, seed 0", 100) as update:
        update(50, "begins")  # half of it was on the disk
        clock[0] = 20.0
        update(60, "epoch 7")
        assert work.left() == pytest.approx(20 / 10 * 140)


def test_models_side_by_side_share_the_time(clock):
    work = Workload(Recorded(), [10.0, 10.0, 10.0, 10.0], jobs=2)
    assert work.left() == 20
    with work.progress("a", 10) as first, work.progress("b", 10) as second:
        first(0, "")
        second(0, "")
        clock[0] = 5.0
        first(5, "")
        second(5, "")
        assert work.left() == pytest.approx(15)


def test_the_models_to_train_and_their_time_are_announced(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    recipe = with_settings(load_recipe(tmp_path / "tiny.toml"), {"teacher.epochs": 1})
    shown = Recorded()
    run = open_run(Study(tmp_path / "tiny"), recipe, "cpu", shown)
    roles = ["teacher", "control", "student"]
    sweep = {"distill.temperature": [1.0, 2.0]}
    tried = settings_of(roles, grid(recipe, sweep, subclasses=False))
    missing = missing_models(run, tried)
    assert [role for role, _ in missing] == ["teacher", *["control"] * 2, *["student"] * 4]
    assert {one.distill.temperature for role, one in missing if role == "student"} == {1.0, 2.0}
    shown.said.clear()
    counted = numbered(run, tried, missing, 1)
    assert shown.said[0].startswith("to train: 1 teacher, 2 controls and 4 students; expected: ")
    assert "on cpu" in shown.said[0]
    assert shown.said[1].startswith("359 test images and 2 seeds can detect differences of about")
    train_role(counted, "teacher", {})
    assert shown.titles == ["model 1 of 7: teacher, seed 3"]
    assert [role for role, _ in missing_models(run, tried)] == ["control"] * 2 + ["student"] * 4


def test_a_step_that_is_timed_changes_nothing(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    recipe = with_settings(load_recipe(tmp_path / "tiny.toml"), {"teacher.epochs": 1})
    with_estimate, without = (
        open_run(Study(tmp_path / name / "tiny"), recipe, "cpu", Silent()) for name in "ab"
    )
    tried = settings_of(["teacher", "control"], [({}, recipe)])
    counted = numbered(with_estimate, tried, missing_models(with_estimate, tried), 1)
    (one,), (other,) = train_role(counted, "teacher", {}), train_role(without, "teacher", {})
    assert one.checkpoint.read_bytes() == other.checkpoint.read_bytes()


def test_a_teacher_that_is_not_trained_here_is_no_model_to_train(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    recipe = with_settings(load_recipe(tmp_path / "tiny.toml"), {"teacher.epochs": 1})
    first = open_run(Study(tmp_path / "first" / "tiny"), recipe, "cpu", Silent())
    (teacher,) = train_role(first, "teacher", {})
    settings = {"teacher.weights": str(teacher.checkpoint), "teacher.epochs": 0}
    given = with_settings(recipe, settings)
    shown = Recorded()
    run = open_run(Study(tmp_path / "second" / "tiny"), given, "cpu", shown)
    tried = settings_of(["teacher", "control", "student"], [({}, given)])
    assert [role for role, _ in missing_models(run, tried)] == ["control"] * 2 + ["student"] * 2
    counted = numbered(run, tried, missing_models(run, tried), 1)
    train_role(counted, "teacher", {})
    train_role(counted, "control", {})
    assert shown.titles == ["model 1 of 4: control, seed 3", "model 2 of 4: control, seed 5"]
