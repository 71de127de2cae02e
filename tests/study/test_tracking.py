"""What `--log` writes, read back by the tools themselves where they are installed."""

import json
import subprocess
import sys

import pytest

from kdtool.cli.app import main
from kdtool.errors import StudyError
from kdtool.results.base import to_json
from kdtool.study.tracked import tracked_study
from kdtool.study.tracking import log_study

RECIPE = """
name = "mnist"
data.source = "digits"
teacher = { model = "mnist-cnn", epochs = 1, batch_size = 32, learning_rate = 1e-3 }
student = { model = "mnist-mlp", epochs = 1, batch_size = 32, learning_rate = 1e-3 }
"""


@pytest.fixture
def study(build, tmp_path):
    """A finished study: its results and its folder."""
    results = build(int8=True, seeds=(0, 1))
    folder = tmp_path / "mnist"
    folder.mkdir()
    (folder / "results.json").write_text(to_json(results))
    (folder / "recipe.toml").write_text(RECIPE)
    (folder / "report.html").write_text("<p>a report</p>")
    (folder / "student.onnx").write_bytes(b"a model")
    return results, folder


def said(study, *tools):
    lines = []
    log_study(*study, tools, lines.append)
    return lines


def test_recipe_curves_and_figures_are_those_of_the_results(study):
    results, folder = study
    tracked = tracked_study(results, folder)
    assert tracked.parameters["distill.temperature"] == 20.0
    assert tracked.parameters["seeds"] == "[0, 1]"
    assert "data.root" not in tracked.parameters  # it has no value
    assert {curve.name for curve in tracked.curves} == {
        f"{role}/seed{seed}" for role in results.models for seed in (0, 1)
    }
    student = results.models["student"]
    curve = next(one for one in tracked.curves if one.name == "student/seed1")
    epochs = student.seeds[1].epochs
    assert [point.epoch for point in curve.points] == [one.epoch for one in epochs]
    assert [point.values for point in curve.points] == [
        {
            "train_loss": one.train_loss,
            "validation_loss": one.validation_loss,
            "validation_accuracy": one.validation_accuracy,
        }
        for one in epochs
    ]
    assert curve.points[-1].seconds == pytest.approx(sum(one.seconds for one in epochs))
    int8, (verdict,) = student.files["int8"], results.verdicts
    for name, value in {
        "student/test_accuracy": student.test["accuracy"].mean,
        "student/seed1/test_accuracy": student.seeds[1].test.accuracy,
        "student/int8/accuracy": int8.accuracy,
        "student/int8/size_bytes": int8.size_bytes,
        "student/int8/p50_ms": int8.latency.p50_ms,
        "verdict/student-control/accuracy_difference": verdict.difference,
        "verdict/student-control/accuracy_low": verdict.interval[0],
    }.items():
        assert tracked.figures[name] == value
    assert [path.name for path in tracked.files] == ["report.html", "student.onnx"]


def test_tensorboard_reads_the_curves(study):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", exc_type=ImportError
    )
    results, folder = study
    stale = folder / "tensorboard" / "student-seed7" / "events.out.tfevents.0.kdtool"
    stale.parent.mkdir(parents=True)
    stale.touch()
    for _ in range(2):  # the second log replaces the first
        (line,) = said(study, "tensorboard")
    assert line.endswith(f"tensorboard --logdir {folder / 'tensorboard'}")
    assert not stale.exists()
    read = accumulator.EventAccumulator(str(folder / "tensorboard" / "student-seed1"))
    read.Reload()
    epochs = results.models["student"].seeds[1].epochs
    for name in ("train_loss", "validation_loss", "validation_accuracy"):
        points = [(one.step, one.value) for one in read.Scalars(name)]
        assert points == [(one.epoch, pytest.approx(getattr(one, name))) for one in epochs]
    read = accumulator.EventAccumulator(str(folder / "tensorboard" / "study"))
    read.Reload()
    (size,) = read.Scalars("student/int8/size_bytes")
    assert size.value == results.models["student"].files["int8"].size_bytes
    assert "_hparams_/session_start_info" in read.Tags()["tensors"]


@pytest.fixture
def mlflow(tmp_path, monkeypatch):
    """A client of the folder to which MLflow logs."""
    tracking = pytest.importorskip("mlflow.tracking", exc_type=ImportError)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    return tracking.MlflowClient(tracking_uri=(tmp_path / "mlruns").as_uri())


def test_mlflow_has_a_run_for_each_results_json(study, mlflow, capsys):
    results, folder = study
    (line,) = said(study, "mlflow")
    assert "experiment kdtool, run mnist" in line
    (again,) = said(study, "mlflow")
    assert "has these results already" in again
    number = mlflow.get_experiment_by_name("kdtool").experiment_id
    (run,) = mlflow.search_runs([number])
    assert (run.info.status, run.info.run_name) == ("FINISHED", "mnist")
    assert run.data.params["distill.temperature"] == "20.0"
    assert run.data.metrics["student/int8/accuracy"] == pytest.approx(
        results.models["student"].files["int8"].accuracy
    )
    history = mlflow.get_metric_history(run.info.run_id, "student/seed1/train_loss")
    epochs = results.models["student"].seeds[1].epochs
    assert sorted((one.step, one.value) for one in history) == [
        (one.epoch, pytest.approx(one.train_loss)) for one in epochs
    ]
    files = {one.path for one in mlflow.list_artifacts(run.info.run_id)}
    assert files == {"report.html", "student.onnx"}
    (folder / "results.json").write_text(to_json(results.model_copy(update={"name": "other"})))
    said(study, "mlflow")
    assert len(mlflow.search_runs([number])) == 2
    assert capsys.readouterr().out == ""


def test_a_tool_that_fails_does_not_stop_the_others(study, mlflow, monkeypatch):
    pytest.importorskip("tensorboard.summary", exc_type=ImportError)
    _, folder = study
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(StudyError) as error:
        said(study, "mlflow", "tensorboard")
    text = str(error.value)
    assert text.startswith(f"the study in {folder} is complete, but could not be logged to mlflow:")
    assert text.endswith(f"To try again: kdtool report {folder} --log mlflow,tensorboard")
    assert (folder / "tensorboard" / "study").is_dir()


def failed(capsys, monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["kdtool", *map(str, arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code, capsys.readouterr().err


@pytest.mark.parametrize("tool", ["mlflow", "tensorboard"])
@pytest.mark.parametrize("command", ["distill", "finetune", "subclass-distill", "report"])
def test_a_missing_tool_is_an_error_before_the_work(
    study, tmp_path, capsys, monkeypatch, command, tool
):
    monkeypatch.setitem(sys.modules, tool, None)
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, error = failed(capsys, monkeypatch, command, study[1], "--log", tool)
    assert code == 1
    assert f"--log {tool} needs {tool}: " in error
    assert "pip install" in error
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--log", "mlfow"], "expected mlflow or tensorboard; did you mean mlflow?"),
        (["--log", ""], "got --log (nothing); expected mlflow or tensorboard"),
        (["--log", "wandb"], "got --log wandb; expected mlflow or tensorboard"),
    ],
)
def test_a_wrong_tool_is_wrong_usage(study, capsys, monkeypatch, arguments, message):
    code, error = failed(capsys, monkeypatch, "report", study[1], *arguments)
    assert (code, message in " ".join(error.split())) == (2, True), error


def test_nothing_of_the_tools_is_imported_without_the_option(study):
    pytest.importorskip("matplotlib")
    pytest.importorskip("jinja2")
    code = (
        "import sys, json, contextlib, io\n"
        "from kdtool.cli.app import main\n"
        f"sys.argv = ['kdtool', 'report', {str(study[1])!r}]\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "print(json.dumps([m for m in sys.modules if m.split('.')[0] in ('mlflow', 'tensorboard')"
        " or m.startswith('kdtool.study.track')]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
    assert (study[1] / "report.md").exists(), done.stderr
