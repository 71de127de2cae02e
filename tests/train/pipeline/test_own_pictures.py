"""A folder of pictures made by a stranger goes through with recipes/folder.toml, to a kit."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from loading import no_progress
from pictures import draw, save, save_classes
from shell import kdtool

from kdtool.edge.metadata import read_metadata
from kdtool.edge.predict import predict_files
from kdtool.errors import DataError, RecipeError
from kdtool.results.study import load_results
from kdtool.study.folder import load_study
from kdtool.train.data.files.folder import list_folder
from kdtool.train.data.labelled_files import read_files

pytestmark = pytest.mark.slow

RECIPE = Path(__file__).parents[3] / "recipes" / "folder.toml"
# What makes it small: networks that learn from so few pictures in seconds, without weights.
SMALL = {
    "seeds": "[0]",
    "data.size": 28,
    "teacher.model": "mnist-cnn",
    "teacher.weights": "none",
    "teacher.phase": "[{epochs=8}]",
    "student.model": "mnist-mlp",
    "student.weights": "none",
    "student.phase": "[{epochs=8}]",
    "teacher.min_steps": 0,
    "student.min_steps": 0,
    "profile.seconds": 0.02,
    "explain.images": 1,
}


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    """A copy of the recipe next to a folder of 200 pictures, as a user has them."""
    folder = tmp_path_factory.mktemp("stranger")
    shutil.copy(RECIPE, folder)
    pictures = folder / "pictures"
    save_classes(pictures, 100)
    (pictures / "disc" / "000.jpg").rename(pictures / "disc" / "Ein Bild ä.JPG")
    (pictures / "cross" / "more").mkdir()
    (pictures / "cross" / "003.png").rename(pictures / "cross" / "more" / "003.png")
    (pictures / "cross" / "notes.txt").write_text("taken in May")
    (pictures / ".DS_Store").touch()
    return folder


@pytest.fixture(scope="module")
def study(stranger):
    """The folder of the finished study."""
    given = [text for key, value in SMALL.items() for text in ("--set", f"{key}={value}")]
    kdtool("distill", stranger / "folder.toml", *given, "--out", stranger / "runs")
    options = ["--kit", "--precisions", "fp32", "--operating-point", "cost:20"]
    kdtool("export", stranger / "runs" / "folder", *options)
    return stranger / "runs" / "folder"


def test_the_study_records_its_images_and_settings(study):
    results = load_results(study / "results.json")
    assert results.data.classes == ["cross", "disc"]
    assert results.data.class_counts == {"train": [72, 72], "validation": [8, 8], "test": [20, 20]}
    assert results.data.warnings == [
        "left out, as they are no images in the folder of a class: cross/notes.txt",
        "left out 1 hidden or system file or folder: .DS_Store (1)",
    ]
    assert results.metric == "balanced_accuracy"
    assert results.models["teacher"].test["balanced_accuracy"].mean > 0.8


def test_a_table_lists_each_test_image_with_its_predictions(study):
    with (study / "predictions" / "test.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    _, recipe, results = load_study(study)
    assert [int(row["image"]) for row in rows] == list(range(40))
    assert all((recipe.data.root / row["file"]).is_file() for row in rows)
    assert all(Path(row["file"]).parts[0] == row["label"] for row in rows)
    for role, model in results.models.items():
        (exported,) = [one for one in model.seeds if one.seed == model.exported_seed]
        right = [row[f"{role} calls"] == row["label"] for row in rows]
        assert np.mean(right) == exported.test.accuracy
        assert all(0.5 <= float(row[f"{role} probability"]) <= 1 for row in rows)


def test_the_kit_answers_for_new_pictures_of_every_sort(study, tmp_path):
    paths = [
        save(draw(kind, 1000 + seed), tmp_path, f"{kind}{seed}", seed)
        for seed in range(12)
        for kind in ("cross", "disc")
    ]
    done = subprocess.run(
        [sys.executable, study / "kit" / "predict.py", *paths],
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == [str(path) for path in paths]
    answers = [line.partition(": ")[2] for line in lines]
    right = [one.startswith(path.name[:4]) for one, path in zip(answers, paths, strict=True)]
    assert sum(right) >= 0.8 * len(paths)


def test_the_kit_gives_each_test_file_the_class_that_the_study_gave_it(study):
    _, recipe, _ = load_study(study)
    names = read_files(list_folder(recipe.data), recipe.data, no_progress).names["test"]
    (answers,) = (study / "predictions").glob("student-seed0-*.npz")
    with np.load(answers) as arrays:
        probabilities = arrays["test_probabilities"][:, 1]
    metadata = read_metadata(onnx.load(study / "kit" / "model.onnx"))
    threshold = metadata["decision"]["threshold"]
    assert metadata["decision"] == {"rule": "cost:20", "positive": "disc", "threshold": threshold}
    pictures = [recipe.data.root / name for name in names]
    report = predict_files(study / "kit" / "model.onnx", pictures)
    expected = ["disc" if each >= threshold else "cross" for each in probabilities]
    assert [each.decided for each in report.predictions] == expected
    done = subprocess.run(
        [sys.executable, study / "kit" / "predict.py", *pictures],
        capture_output=True,
        text=True,
        check=True,
    )
    said = [line.partition(": ")[2].split()[0] for line in done.stdout.splitlines()]
    assert said == expected
    sizes = {each.resized_from for each in report.predictions}
    assert len(sizes) > 10


def test_a_broken_picture_stops_the_run_before_training(stranger, tmp_path):
    shutil.copytree(stranger / "pictures", tmp_path / "pictures")
    shutil.copy(RECIPE, tmp_path)
    (tmp_path / "pictures" / "disc" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"disc/broken\.jpg: "):
        kdtool("distill", tmp_path / "folder.toml", "--out", tmp_path / "runs")
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_missing_images_are_an_error_before_weights_are_downloaded(tmp_path):
    shutil.copy(RECIPE, tmp_path)
    with pytest.raises(RecipeError, match=r"data\.root: there is no folder .*/pictures"):
        kdtool("distill", tmp_path / "folder.toml", "--out", tmp_path / "runs")
