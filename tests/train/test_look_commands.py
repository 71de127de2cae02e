"""init, check, status and predict on real digits, as a user gives them."""

import csv
import io
import json
import os
import shlex
import shutil
import sys
from collections import Counter

import pytest
from PIL import Image
from shell import kdtool
from typer.testing import CliRunner

from kdtool.cli.app import app
from kdtool.errors import KdtoolError
from kdtool.recipe.load import load_recipe
from kdtool.study.folder import Study
from kdtool.train.data.published.mnist import load_digits


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """The real digits as a user has them, a folder for each class."""
    root = tmp_path_factory.mktemp("photos") / "digits"
    data = load_digits()
    seen = Counter()
    for image, label in zip(data.train_images, data.train_labels.tolist(), strict=True):
        if seen[label] < 20:
            folder = root / f"{label}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[0]).save(folder / f"{seen[label]:02}.png")
            seen[label] += 1
    return root


def contents(folder):
    """Every file below a folder, with its bytes."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def status(folder):
    return json.loads(kdtool("status", folder, "--json").stdout)


def counts(found):
    return {one["role"]: (len(one["done"]), len(one["asked"])) for one in found["roles"]}


def test_the_recipe_that_init_writes_passes_check(digits, tmp_path, monkeypatch):
    monkeypatch.chdir(digits.parent)
    out = tmp_path / "mine.toml"
    written = kdtool("init", "digits", "--out", out)
    assert "200 images of 10 classes" in " ".join(written.stdout.split())
    assert f"kdtool check {out}" in written.stdout
    recipe = load_recipe(out)
    assert (recipe.data.source, recipe.data.root, recipe.metric) == ("folder", digits, "accuracy")
    report = json.loads(kdtool("check", out, "--out", tmp_path / "runs", "--json").stdout)
    assert not (tmp_path / "runs").exists()
    numbers = {split: sum(each) for split, each in report["data"]["class_counts"].items()}
    (comment,) = (line for line in out.read_text().splitlines() if line.startswith("# Training"))
    assert "Training {train}, validation {validation}, test {test}:".format(**numbers) in comment
    assert [(one["role"], one["num_models"]) for one in report["models"]] == [
        ("teacher", 1),
        ("control", 5),
        ("student", 5),
    ]


def test_check_reads_a_study_and_leaves_it_unchanged(study, recipe):
    (study / "stages" / "explain.json").unlink()
    before = contents(study)
    out = ["--out", study.parent]
    report = json.loads(kdtool("check", recipe, *out, "--json").stdout)
    assert {one["role"]: (one["num_trained"], one["num_models"]) for one in report["models"]} == {
        "teacher": (1, 1),
        "control": (2, 2),
        "student": (2, 2),
    }
    results = json.loads((study / "results.json").read_text())
    assert report["data"] == results["data"]
    for network in report["networks"]:
        assert network["num_params"] == results["models"][network["role"]]["num_params"]
    few = ["--set", "data.validation=20", "--set", "name=other", "--set", "export.opset=19"]
    shown = kdtool("check", recipe, *out, *few)
    assert "1 teacher, 2 controls and 2 students." in " ".join(shown.stdout.split())
    assert "20 validation images choose epochs and settings" in " ".join(shown.output.split())
    assert "The recipe can be trained; 1 warning." in shown.stdout
    with pytest.raises(KdtoolError, match=r"distill\.temperature: was 3\.0, now 5"):
        kdtool("check", recipe, *out, "--set", "distill.temperature=5")
    assert contents(study) == before
    assert [path.name for path in study.parent.iterdir()] == ["tiny"]


def test_check_counts_the_models_of_subclass_distill(recipe, tmp_path):
    out = ("--out", tmp_path / "runs")
    report = json.loads(kdtool("check", recipe, *out, "--subclasses", "--json").stdout)
    more = {"subclass-teacher": 1, "subclass-student": 2}
    models = {one["role"]: one["num_models"] for one in report["models"]}
    assert models == {"teacher": 1, "control": 2, "student": 2} | more
    assert {one["role"] for one in report["networks"]} == {"teacher", "student", *more}
    shown = " ".join(kdtool("check", recipe, *out, "--subclasses").stdout.split())
    assert "kdtool subclass-distill " in shown
    assert "--device" not in shown
    assert "--device cpu" in kdtool("check", recipe, *out, "--device", "cpu").stdout


CANNOT_BE_TRAINED = [
    ("student.model=torchvision:alexnet", "cannot be used for images of 8x8 with 1 channel"),
    ("export.opset=99", "got export.opset = 99, but the highest that PyTorch writes"),
    ("data.validation=1437", "data.validation = 1437 splits off"),
    ("export.operating_point=youden", "which is for two classes, but the data have 10"),
    ("teacher.train=hed", "[teacher]: "),
]


@pytest.mark.parametrize(("setting", "message"), CANNOT_BE_TRAINED)
def test_check_refuses_what_cannot_be_trained(recipe, tmp_path, setting, message):
    with pytest.raises(KdtoolError) as caught:
        kdtool("check", recipe, "--out", tmp_path / "runs", "--set", setting)
    assert message in str(caught.value)
    assert caught.value.exit_code == 1
    assert not (tmp_path / "runs").exists()


def test_status_follows_a_study_to_its_end(study):
    found = status(study)
    assert counts(found) == {"teacher": (1, 1), "control": (2, 2), "student": (2, 2)}
    assert (found["running"], found["results"], found["left"]) == (False, "written", [])
    results = json.loads((study / "results.json").read_text())
    assert found["decision"] == results["decision"]
    assert "Nothing is left to do." in kdtool("status", study).stdout

    for path in (study / "results.json", study / "report.html"):
        path.unlink()
    (weights,) = (study / "checkpoints").glob("student-seed5-*.safetensors")
    weights.rename(weights.with_suffix(".state.pt"))  # begun, as after an interruption
    found = status(study)
    assert counts(found)["student"] == (1, 2)
    assert found["roles"][2] | {"num_models": 1} == {
        "role": "student", "asked": [3, 5], "done": [3], "begun": [5], "num_models": 1,
    }  # fmt: skip
    assert (found["results"], found["report"], found["decision"]) == ("none", False, None)
    assert found["left"] == [
        "train 1 of 2 student models (seed 5)", "evaluate all models, export and report",
    ]  # fmt: skip
    with Study(study).locked():
        running = status(study)
        assert (running["running"], running["command"]) == (True, None)
        assert "running now" in kdtool("status", study).stdout
    weights.with_suffix(".state.pt").unlink()
    program, *arguments = shlex.split(found["command"])
    assert (program, arguments[0]) == ("kdtool", "distill")
    kdtool(*arguments, "--quiet")
    assert status(study)["left"] == []


def test_status_counts_no_model_of_earlier_settings(study):
    path = study / "recipe.toml"
    text = path.read_text()
    before, after = text.split("[student]")
    path.write_text(f"{before}[student]{after.replace('epochs = 3', 'epochs = 4', 1)}")
    found = status(study)
    assert found["results"] == "outdated"
    assert found["decision"] is None
    assert counts(found) == {"teacher": (1, 1), "control": (0, 2), "student": (0, 2)}
    path.write_text(text)
    renamed = study.rename(study.parent / "else")
    (renamed / "results.json").unlink()
    assert "rename the folder to tiny" in kdtool("status", renamed).stdout


@pytest.mark.skipif(sys.platform == "win32", reason="a script of the shell")
def test_a_study_that_the_processor_trained_goes_on_there(study, tmp_path, monkeypatch):
    (study / "results.json").unlink()
    assert "--device" not in status(study)["command"]
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho a GPU\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert status(study)["command"].endswith(" --device cpu")


def predict(*arguments):
    done = CliRunner().invoke(app, ["predict", *map(str, arguments)], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


def test_predict_scores_a_folder_of_classes(finished, digits):
    model = finished / "student.onnx"
    code, output, _ = predict(model, digits, "--json", "--min-confidence", 0.8)
    report = json.loads(output)
    answers = report["predictions"]
    assert code == 0
    assert [one["path"] for one in answers] == sorted(map(str, digits.rglob("*.png")))
    called = [one["decided"] or one["refused"] for one in answers]
    labels = [one["path"].split("/")[-2] for one in answers]
    right = [one == label for one, label in zip(called, labels, strict=True)]
    assert report["accuracy"]["num_right"] == sum(right) > 100  # it has learned something
    is_answered = [one["classes"][0]["probability"] >= 0.8 for one in answers]
    assert [one["decided"] is not None for one in answers] == is_answered
    kept = [ok for ok, given in zip(right, is_answered, strict=True) if given]
    assert 0 < len(kept) < 200
    assert report["num_answered"] == len(kept) == report["accuracy_answered"]["num_images"]
    assert report["accuracy_answered"]["accuracy"] == pytest.approx(sum(kept) / len(kept))

    _, text, _ = predict(model, digits, "--min-confidence", 0.8)
    assert f"Answered {len(kept)} of 200 images" in text
    _, table, _ = predict(model, digits, "--min-confidence", 0.8, "--csv")
    rows = list(csv.DictReader(io.StringIO(table)))
    assert [row["answer"] == "given" for row in rows] == is_answered
    assert [row["class"] for row in rows] == [one["decided"] or "" for one in answers]
    for row, answer in zip(rows, answers, strict=True):
        assert sum(float(row[f"p_{k}"]) for k in range(10)) == pytest.approx(1, abs=1e-5)
        assert float(row["probability"]) == pytest.approx(answer["classes"][0]["probability"])


def test_unreadable_images_are_listed_last_and_the_others_classified(finished, digits, tmp_path):
    folder = tmp_path / "mixed"
    shutil.copytree(digits / "3", folder / "3")
    (folder / "3" / "00.png").write_bytes(b"")
    whole = (folder / "3" / "01.png").read_bytes()
    (folder / "3" / "01.png").write_bytes(whole[:50])
    (folder / "notes.txt").write_text("left out")
    code, output, errors = predict(finished / "student.onnx", folder)
    assert code == 1
    assert output.count(f"{folder}/3/") == 18
    empty, torn, total = errors.splitlines()
    assert empty.startswith(f"error: cannot read {folder}/3/00.png: it is an empty file, of 0")
    assert torn.startswith(f"error: cannot read {folder}/3/01.png: it is damaged or truncated (")
    assert total == "error: 2 of 20 images could not be read"
