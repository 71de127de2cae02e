"""The commands from the shell to the report, on real digits."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from loading import load_splits
from safetensors.torch import load_file
from shell import kdtool

from kdtool.edge.metadata import read_metadata
from kdtool.edge.session import open_session
from kdtool.errors import KdtoolError
from kdtool.recipe.data import DigitsTable
from kdtool.recipe.load import load_recipe
from kdtool.results.study import load_results
from kdtool.terminal.progress import Terminal
from kdtool.train.pipeline.teachers import (
    check_teachers,
    warn_of_perfect_control,
    weak_teachers,
)
from kdtool.train.run import Trained

FP32 = ["--set", "export.precisions=['fp32']"]  # int8 takes seconds, and is not asked for


def test_distill_goes_from_the_recipe_to_the_report(finished):
    results = load_results(finished / "results.json")
    assert list(results.models) == ["teacher", "control", "student"]
    assert [seed.seed for seed in results.models["student"].seeds] == [3, 5]
    assert results.models["teacher"].test["accuracy"].mean > 0.7
    control, student = (results.models[role] for role in ("control", "student"))
    assert student.test["accuracy"].mean > 0.7  # the targets were those of the images
    (verdict,) = results.verdicts
    gap = student.test["accuracy"].mean - control.test["accuracy"].mean
    assert verdict.difference == pytest.approx(gap)
    assert verdict.ci95[0] < verdict.difference < verdict.ci95[1]
    steps = [[seed.num_steps for seed in model.seeds] for model in (control, student)]
    assert steps == [[18, 18], [18, 18]]
    assert results.explain is not None
    assert len(results.explain.images) == 4
    html = (finished / "report.html").read_text()
    assert verdict.verdict in html
    assert "https://" not in html.replace("http://www.w3.org", "")


def test_the_shipped_files_give_the_reported_accuracy_from_raw_pixels(finished):
    results = load_results(finished / "results.json")
    test = load_splits(DigitsTable(source="digits"), print).test
    pixels = np.ascontiguousarray(test.images.numpy().transpose(0, 2, 3, 1))
    for role, model in results.models.items():
        file = model.files["fp32"]
        session = open_session(finished / file.path)
        _, probabilities = session.run(None, {"image": pixels})
        right = probabilities.argmax(axis=1) == test.labels.numpy()
        exported = next(one for one in model.seeds if one.seed == model.exported_seed)
        assert right.mean() == file.accuracy == exported.test.accuracy
        assert file.parity.passed
        assert file.latency is not None
        metadata = read_metadata(session)
        assert metadata["classes"] == list("0123456789")
        assert metadata["provenance"]["role"] == role


def test_every_test_image_has_its_probabilities_on_file(finished):
    results = load_results(finished / "results.json")
    saved = sorted((finished / "predictions").glob("student-seed3-*.npz"))
    with np.load(saved[0], allow_pickle=False) as answers:
        right = answers["test_probabilities"].argmax(axis=1) == answers["test_labels"]
    assert right.mean() == results.models["student"].seeds[0].test.accuracy


def test_the_teachers_targets_are_its_answers_to_each_training_image(finished):
    (path,) = (finished / "predictions").glob("teacher-logits-*.npy")
    train = load_splits(DigitsTable(source="digits"), print).train
    pixels = np.ascontiguousarray(train.images.numpy().transpose(0, 2, 3, 1))
    logits, _ = open_session(finished / "teacher.onnx").run(None, {"image": pixels})
    np.testing.assert_allclose(np.load(path, allow_pickle=False), logits, atol=1e-4)


def test_another_teacher_has_other_targets(study):
    before = set((study / "predictions").glob("teacher-logits-*.npy"))
    settings = ["--set", "teacher.epochs=2", *FP32, "--force"]
    kdtool("distill", study / "recipe.toml", "--out", study.parent, *settings)
    after = set((study / "predictions").glob("teacher-logits-*.npy"))
    assert before < after
    assert len(after) == 2
    results = load_results(study / "results.json")
    assert len(results.models["teacher"].seeds[0].epochs) == 2


def test_without_the_teachers_weight_the_student_is_the_control_to_the_bit(study):
    """So nothing but the teacher differs: initial weights, order of the images, dropout, steps."""
    settings = ["--set", "distill.soft_weight=0", *FP32, "--force"]
    kdtool("distill", study / "recipe.toml", "--out", study.parent, *settings)
    results = load_results(study / "results.json")
    student, control = results.models["student"], results.models["control"]
    assert [seed.test for seed in student.seeds] == [seed.test for seed in control.seeds]
    weights = {
        (role, load_file(path)["classifier.weight"].numpy().tobytes())
        for role in ("student", "control")
        for path in (study / "checkpoints").glob(f"{role}-*.safetensors")
    }
    controls = {content for role, content in weights if role == "control"}
    students = {content for role, content in weights if role == "student"}
    assert len(controls) == 2
    assert controls < students


def test_a_finished_study_is_not_run_again(study):
    before = {path: path.stat().st_mtime_ns for path in (study / "checkpoints").iterdir()}
    old = (study / "results.json").read_text()
    kdtool("distill", study / "recipe.toml", "--out", study.parent)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert (study / "results.json").read_text() == old


def test_a_sweep_trains_fresh_students_and_chooses_on_validation(study):
    sweep = ["--sweep", "distill.temperature=1,3", "--sweep", "distill.method=kd,dist"]
    with pytest.raises(KdtoolError, match=r"sweep: was none, now over distill\.temperature"):
        kdtool("distill", study / "recipe.toml", "--out", study.parent, *sweep)
    given = (*sweep, "--set", "distill.options.dist.soft_weight=2", *FP32)
    kdtool("distill", study / "recipe.toml", "--out", study.parent, *given, "--force")
    results = load_results(study / "results.json")
    assert len(results.sweep) == 4
    (chosen,) = [point for point in results.sweep if point.selected]
    best = max(point.validation_accuracy.mean for point in results.sweep)
    assert chosen.validation_accuracy.mean == best
    assert results.models["student"].test["accuracy"].mean == chosen.test_accuracy.mean
    for key, value in chosen.settings.items():
        assert results.recipe["distill"][key.removeprefix("distill.")] == value
    assert results.recipe["distill"]["options"]["dist"]["soft_weight"] == 2
    assert min(point.validation_accuracy.mean for point in results.sweep) > 0.7
    # the students of the recipe's own setting were there already; teacher and control too; those
    # of dist, which has no use for kd's temperature, are trained once
    assert len(list((study / "checkpoints").glob("student-*.safetensors"))) == 6
    assert len(list((study / "checkpoints").glob("control-*.safetensors"))) == 2
    report = (study / "report.md").read_text()
    assert "Sweep over distill.temperature and distill.method" in report
    assert "Which method to use" in report
    found = {one.method: one for one in results.methods}
    assert list(found) == ["kd", "dist"]
    assert [one.num_settings for one in found.values()] == [2, 2]
    (used,) = [one for one in found.values() if one.selected]
    assert used.test_score.mean == chosen.test_accuracy.mean
    verdict = next(
        one for one in results.verdicts if (one.of, one.against) == ("student", "control")
    )
    assert used.against_control.difference == verdict.difference
    assert used.against_control.p_holm >= verdict.p_holm
    # the choice stays with the study
    kdtool("explain", study, "--images", "2")
    again = load_results(study / "results.json")
    assert (again.sweep, again.methods) == (results.sweep, results.methods)
    assert len(again.explain.images) == 2


def test_a_teacher_no_better_than_the_control_is_a_warning(finished, recipe, capsys):
    models = load_results(finished / "results.json").models
    trained = {
        role: [Trained(role, seed.seed, "", finished, seed) for seed in models[role].seeds]
        for role in ("teacher", "control")
    }
    chosen = load_recipe(recipe, ["metric=macro_f1"])
    run = SimpleNamespace(reporter=Terminal(quiet=True), recipe=chosen)
    weaker, better = sorted(trained, key=lambda role: models[role].seeds[0].best.worth)
    assert weak_teachers(run, {"teacher": trained[better], "control": trained[weaker]}) == {}
    models_given = {"teacher": trained[weaker], "control": trained[better]}
    check_teachers(run, models_given, ["student"], anyway=True)
    shown = capsys.readouterr().err
    score = models[weaker].seeds[0].best.score
    assert f"the teacher is no better than the control, {score:.3f} macro F1 against" in shown
    assert (
        "on validation: students can learn little from it, and none would be shipped; train it"
        in shown
    )


def test_a_control_without_mistakes_is_a_warning(finished, recipe, capsys):
    (seed, *_) = load_results(finished / "results.json").models["control"].seeds
    perfect = [
        one.model_copy(update={"validation_accuracy": 1.0, "validation_score": 1.0})
        for one in seed.epochs
    ]
    faultless = Trained("control", 3, "", finished, seed.model_copy(update={"epochs": perfect}))
    run = SimpleNamespace(
        reporter=Terminal(quiet=True), recipe=load_recipe(recipe), splits=SimpleNamespace()
    )
    run.splits.validation = range(20)
    given = {"teacher": [faultless], "control": [faultless]}
    warn_of_perfect_control(run, given)
    check_teachers(run, given, ["student"], anyway=False)
    shown = capsys.readouterr().err
    assert "on the 20 validation images: distillation cannot improve it" in shown
    assert "learn little" not in shown


def test_export_writes_the_same_bytes_again(study):
    before = {path.name: path.read_bytes() for path in study.glob("*.onnx")}
    assert len(before) == 4
    (study / "student.onnx").write_bytes(b"changed")
    kdtool("export", study)
    assert {path.name: path.read_bytes() for path in study.glob("*.onnx")} == before


def test_finetune_trains_one_side_and_leaves_a_finished_study_whole(recipe, tmp_path, study):
    shown = kdtool("finetune", recipe, "--out", tmp_path / "other", "--device", "cpu").stdout
    # on a GPU, which `--device auto` takes, the teacher would be trained again
    assert shown.rstrip().endswith(f"--out {tmp_path / 'other'} --device cpu")
    results = load_results(tmp_path / "other" / "tiny" / "results.json")
    assert list(results.models) == ["teacher"]
    assert (tmp_path / "other" / "tiny" / "report.html").exists()
    kdtool("finetune", recipe, "--role", "student", "--out", tmp_path / "other")
    results = load_results(tmp_path / "other" / "tiny" / "results.json")
    assert list(results.models) == ["teacher", "control"]
    before = (study / "results.json").read_text()
    kdtool("finetune", recipe, "--out", study.parent)
    assert (study / "results.json").read_text() == before


def test_export_does_not_train(study):
    next((study / "checkpoints").glob("student-seed3-*.safetensors")).unlink()
    before = (study / "results.json").read_text()
    with pytest.raises(KdtoolError, match=r"student-seed3-.*missing or was changed"):
        kdtool("export", study)
    assert (study / "results.json").read_text() == before


# Runs the command again and again, each time killed, as by kill -9, at another place. A fork of
# a process that has imported everything and started no thread saves the seconds of the imports.
KILLER = """
import json, os, signal, sys
from pathlib import Path
import onnxscript, torch._dynamo
from kdtool.cli import app as cli
from kdtool.study import folder as study
from kdtool.train.fit import state as kept

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def in_stage(place):  # the work is done, and not yet on record
    run_stage = study.Study.stage

    def stage(self, name, key, kind, make):
        def making():
            make()
            die()
        return run_stage(self, name, key, kind, making if name.startswith(place) else make)

    study.Study.stage = stage

def in_training(place):  # after the second epoch of this process
    save_state, saved = kept.save_state, []

    def save(path, state):
        save_state(path, state)
        saved.append(path.name)
        if path.name.startswith(place) and saved.count(path.name) == 2:
            die()

    kept.save_state, kept.SECONDS_BETWEEN_SAVES = save, 0

def in_writing(place):  # half of a file is on the disk
    replace = Path.replace

    def replace_or_die(self, target):
        if Path(target).name == place:
            die()
        return replace(self, target)

    Path.replace = replace_or_die

kills, sys.argv = json.loads(sys.argv[1]), ["kdtool", *sys.argv[2:]]
for where, place in kills:
    child = os.fork()
    if child == 0:
        globals()[where](place)
        cli.main()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"not killed {where} {place}: {status}"
"""
# At one place of each kind; tests/reliability/kills.py kills at any.
KILLS = [
    ("in_training", "teacher-seed3"),
    ("in_stage", "teacher-logits"),
    ("in_training", "student-seed3"),
    ("in_stage", "evaluate-student"),
    ("in_writing", "student.int8.onnx"),
    ("in_stage", "latency"),
    ("in_writing", "results.json"),
]

# Times differ from run to run, and with them nothing else.
MEASURED = {"seconds", "images_per_second", "latency", "gate", "recommended"}


def without_times(value):
    if isinstance(value, dict):
        return {key: without_times(each) for key, each in value.items() if key not in MEASURED}
    return [without_times(each) for each in value] if isinstance(value, list) else value


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_run_killed_in_each_stage_ends_as_one_that_was_not(recipe, finished, tmp_path):
    arguments = ["distill", str(recipe), "--out", str(tmp_path), "--quiet", "--anyway"]
    killer = [sys.executable, "-c", KILLER, json.dumps(KILLS), *arguments]
    subprocess.run(killer, check=True, capture_output=True)
    assert not (tmp_path / "tiny" / "report.html").exists()
    kdtool(*arguments)
    expected, given = (
        without_times(json.loads((folder / "results.json").read_text()))
        for folder in (finished, tmp_path / "tiny")
    )
    assert given.pop("sha256") != expected.pop("sha256")  # of the times too
    assert given == expected
    names = {path.relative_to(finished) for path in finished.rglob("*")}
    assert {path.relative_to(tmp_path / "tiny") for path in (tmp_path / "tiny").rglob("*")} == names


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no POSIX signals")
def test_ctrl_c_says_how_to_go_on(recipe, tmp_path):
    arguments = ["kdtool", "distill", str(recipe), "--out", str(tmp_path), "--quiet"]
    script = (
        "import os, signal, sys\n"
        "from kdtool.cli import app as cli; from kdtool.train.fit import state\n"
        "def save(path, state): os.kill(os.getpid(), signal.SIGINT)\n"
        "state.save_state, state.SECONDS_BETWEEN_SAVES = save, 0\n"
        f"sys.argv = {arguments!r}; cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert "run the same command again to resume" in done.stderr
    assert "Traceback" not in done.stderr
