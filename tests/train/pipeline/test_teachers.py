"""A study whose teacher is no better than the control stops before its students are trained."""

from dataclasses import replace
from pathlib import Path

import pytest
from shell import RECIPE
from typer.testing import CliRunner

from kdtool.cli.app import app
from kdtool.errors import GateError
from kdtool.results.study import load_results
from kdtool.study.stages import read_record, write_record

WEAK = ["--set", "teacher.epochs=1", "--set", "teacher.learning_rate=1e-6"]


def run(*arguments):
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.mark.parametrize(
    "options",
    [
        ["--jobs", 1],
        ["--jobs", 1, "--sweep", "distill.temperature=2,4"],
        pytest.param(["--jobs", 4], marks=pytest.mark.slow),  # as many as there are students
    ],
)
def test_it_stops_after_the_controls_and_goes_on_with_anyway(tmp_path, options):
    (tmp_path / "weak.toml").write_text(RECIPE)
    command = ["distill", tmp_path / "weak.toml", "--out", tmp_path, *WEAK, *options]
    stopped = run(*command)
    assert isinstance(stopped.exception, GateError)
    assert stopped.exception.exit_code == 3
    text = str(stopped.exception)
    assert text.startswith("the teacher is no better than the control, ")
    assert "train it longer (teacher.epochs) or use a larger one (teacher.model)" in text
    assert text.endswith("--anyway trains the students all the same")
    stages = tmp_path / "tiny" / "stages"
    trained = sorted(path.stem[:7] for path in stages.glob("*-seed*"))
    # With more processes than controls students begin at once, and may end before the controls do.
    may_be_there = "student" if 4 in options else None
    assert [one for one in trained if one != may_be_there] == ["control", "control", "teacher"]
    if options != ["--jobs", 1]:
        return
    told = run("status", tmp_path / "tiny")
    assert "the teacher is no better than the control on validation, so no student" in told.output
    assert told.output.rstrip().endswith("--anyway")
    better = better_teacher(stages)
    told = run("status", tmp_path / "tiny")
    assert "no better than" not in told.output
    assert "--anyway" not in told.output
    better.unlink()
    written = {path: path.stat().st_mtime_ns for path in stages.iterdir()}
    assert run(*command, "--anyway").exit_code == 0
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    decided = load_results(Path(tmp_path / "tiny" / "results.json")).decision
    assert decided.ship is None
    assert any("no better than the control" in alarm for alarm in decided.alarms)
    # nothing is left to train: the files may be made again without --anyway
    assert run(*command, "--set", "explain.images=2").exit_code == 0


def better_teacher(stages):
    """Record a teacher of other settings that is always right, later than the one that is there."""
    (path,) = stages.glob("teacher-seed*")
    record = read_record(path)
    epochs = [
        epoch | {"validation_accuracy": 1.0, "validation_score": 1.0}
        for epoch in record.result["epochs"]
    ]
    later = path.with_name(f"{path.stem.rpartition('-')[0]}-0.json")
    write_record(later, replace(record, result=record.result | {"epochs": epochs}))
    return later


def test_each_student_may_learn_from_a_teacher_of_its_own(tmp_path):
    """The student of a seed equals, to the bit, that of a study with this teacher alone."""
    (tmp_path / "tiny.toml").write_text(RECIPE)
    several = ["--set", "seeds=[3, 5]", "--set", "teacher_seeds=[7, 8]", "--set", "name=several"]
    command = ["distill", tmp_path / "tiny.toml", "--out", tmp_path, "--anyway"]
    assert run(*command, *several, "--jobs", 1).exit_code == 0
    results = load_results(tmp_path / "several" / "results.json")
    teachers, students = results.models["teacher"], results.models["student"]
    assert [one.seed for one in teachers.seeds] == [7, 8]
    assert teachers.seeds[0].test != teachers.seeds[1].test
    place = results.recipe["seeds"].index(students.exported_seed)
    assert teachers.exported_seed == [7, 8][place]  # the teacher of the student that ships
    # alone in a folder with no neighbour to copy from: seed 5, taught by teacher 8
    (tmp_path / "alone").mkdir()
    pair = ["--set", "seeds=[5]", "--set", "teacher_seeds=[8]", "--out", tmp_path / "alone"]
    assert run(*command, *pair).exit_code == 0
    alone = load_results(tmp_path / "alone" / "tiny" / "results.json").models["student"].seeds
    (one,), again = alone, students.seeds[1]
    losses = [[epoch.train_loss for epoch in run.epochs] for run in (one, again)]
    assert losses[0] == losses[1]
    assert one.test == again.test
    told = run("status", tmp_path / "several")
    assert told.exit_code == 0
    assert ["teacher", "2", "2"] in [line.split() for line in told.output.splitlines()]
    assert "Nothing is left to do." in told.output


def test_a_pretrained_teacher_has_no_seeds(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    settings = ["seeds=[3, 5]", "teacher_seeds=[7, 8]", "teacher.epochs=0", "teacher.weights=x.pt"]
    told = run(
        "distill", tmp_path / "tiny.toml", *[part for one in settings for part in ("--set", one)]
    )
    assert "a pretrained teacher is the same for each of teacher_seeds" in str(told.exception)
