"""A folder of pictures made by a stranger goes through with one short recipe."""

import shutil

import numpy as np
import pytest
from pictures import draw, save, save_classes
from shell import kdtool

from kdtool.edge.predict import predict_files
from kdtool.errors import DataError
from kdtool.results import load_results

RECIPE = """
name = "shapes"
seeds = [0]
[data]
source = "folder"
root = "pictures"
size = 28
[teacher]
model = "mnist-cnn"
epochs = 6
batch_size = 32
min_steps = 0
[student]
model = "mnist-mlp"
epochs = 6
batch_size = 32
min_steps = 0
[profile]
seconds = 0.1
[explain]
images = 1
"""


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """The folder of a finished study of 200 pictures."""
    folder = tmp_path_factory.mktemp("shapes")
    save_classes(folder / "pictures", 100)
    (folder / "shapes.toml").write_text(RECIPE)
    kdtool("distill", folder / "shapes.toml", "--out", folder / "runs")
    return folder / "runs" / "shapes"


def test_the_study_tells_what_it_was_made_from(shapes):
    results = load_results(shapes / "results.json")
    assert results.data.classes == ["cross", "disc"]
    assert results.data.class_counts == {"train": [72, 72], "validation": [8, 8], "test": [20, 20]}
    assert results.data.warnings == []
    assert results.models["teacher"].test["accuracy"].mean > 0.8


def test_new_pictures_are_read_as_the_training_ones_were(shapes, tmp_path):
    paths = [
        save(draw(kind, 1000 + seed), tmp_path, f"{kind}{seed}", seed)
        for seed in range(12)
        for kind in ("cross", "disc")
    ]
    predictions = predict_files(shapes / "teacher.onnx", paths).predictions  # as the kit does
    right = [
        each.classes[0].name in path.name for path, each in zip(paths, predictions, strict=True)
    ]
    assert np.mean(right) > 0.8


def test_a_broken_picture_stops_the_run_before_training(shapes, tmp_path):
    shutil.copytree(shapes.parents[1] / "pictures", tmp_path / "pictures")
    (tmp_path / "shapes.toml").write_text(RECIPE)
    (tmp_path / "pictures" / "disc" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=r"disc/broken\.jpg: "):
        kdtool("distill", tmp_path / "shapes.toml", "--out", tmp_path / "runs")
    assert not list((tmp_path / "runs").rglob("*.safetensors"))
