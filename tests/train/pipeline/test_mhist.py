"""The course report's second half: recipes/mhist.toml on a folder laid out as MHIST."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from loading import load_splits
from pictures import save_mhist
from shell import kdtool

from kdtool.edge.session import open_session
from kdtool.recipe.load import load_recipe
from kdtool.results.study import load_results

pytestmark = pytest.mark.slow

MHIST = Path(__file__).parents[3] / "recipes" / "mhist.toml"
# Smaller networks of the same build as the recipe's, fewer epochs, and weights that lie here.
SMALL = {
    "seeds": "[0]",
    "data.size": 32,
    "teacher.model": "torchvision:resnet18",
    "teacher.phase": '[{epochs=1, train="head"}, {epochs=3, train="layer4+head"}]',
    "student.model": "torchvision:squeezenet1_1",
    "student.phase": '[{epochs=1, train="head"}, {epochs=3, learning_rate=1e-3}]',
    "teacher.min_steps": 0,
    "student.min_steps": 0,
    "export.precisions": '["fp32", "int8"]',
    "export.operating_point": "sensitivity:0.9",
    "export.max_drop": 0.9,
    "profile.seconds": 0.02,
    "explain.images": 1,
}
ROLES = {"teacher", "control", "student", "subclass-teacher", "subclass-student"}


@pytest.fixture(scope="module")
def mhist_folder(tmp_path_factory):
    """The study, with the sweep of figure 8."""
    folder = tmp_path_factory.mktemp("mhist")
    save_mhist(folder / "data", 60, 24, 40)
    settings = {**SMALL, "data.root": folder / "data"}
    for role, name in (("teacher", "resnet18"), ("student", "squeezenet1_1")):
        weights = folder / f"{name}.pth"
        torch.save(torchvision.models.get_model(name).state_dict(), weights)
        settings[f"{role}.weights"] = weights
    given = [text for key, value in settings.items() for text in ("--set", f"{key}={value}")]
    sweep = ("--sweep", "distill.temperature=1,4")
    kdtool("subclass-distill", MHIST, *given, *sweep, "--out", folder, "--jobs", 1)
    return folder / "mhist"


@pytest.fixture
def mhist(mhist_folder):
    return load_results(mhist_folder / "results.json")


def test_tables_i_to_iii_come_out_of_one_study(mhist):
    assert set(mhist.models) == ROLES
    for model in mhist.models.values():
        assert [(one.name, one.support) for one in model.per_class] == [("HP", 16), ("SSA", 8)]
        for seed in model.seeds:
            by_class = [one.accuracy for one in seed.test.per_class]
            assert seed.test.accuracy == pytest.approx((2 * by_class[0] + by_class[1]) / 3)
        for each in [model.test["weighted_f1"], *(one.f1 for one in model.per_class)]:
            low, high = each.ci95
            assert 0 <= low <= each.mean <= high <= 1


def test_verdicts_are_on_the_metric_of_the_report(mhist):
    assert mhist.metric == "weighted_f1"
    assert [verdict.metric for verdict in mhist.verdicts] == ["weighted_f1"] * 3


def test_the_temperature_curve_is_of_fresh_students(mhist):
    assert [point.settings for point in mhist.sweep] == [
        {"distill.temperature": 1},
        {"distill.temperature": 4},
    ]
    assert sum(point.selected for point in mhist.sweep) == 1


def test_a_threshold_decides_what_int8_loses(mhist, mhist_folder):
    test = load_splits(load_recipe(mhist_folder / "recipe.toml").data, print).test
    pixels = np.ascontiguousarray(test.images.numpy().transpose(0, 2, 3, 1))
    model = mhist.models[mhist.shipped]
    point = model.operating_point
    positive = mhist.data.classes.index(point.positive)
    accuracy = {}
    for precision, file in model.files.items():
        session = open_session(mhist_folder / file.path)
        (probabilities,) = session.run(["probabilities"], {"image": pixels})
        is_called = probabilities[:, positive] >= point.threshold
        accuracy[precision] = (is_called == (test.labels.numpy() == positive)).mean()
        assert file.accuracy == accuracy[precision]
    assert accuracy["fp32"] == pytest.approx(point.test.accuracy)
    gate = model.files["int8"].gate
    assert gate.difference == pytest.approx(accuracy["int8"] - accuracy["fp32"])


def test_the_recipe_is_that_of_the_report():
    recipe = load_recipe(MHIST)
    teacher, student = recipe.teacher, recipe.student
    assert (teacher.model, student.model) == ("torchvision:resnet50", "torchvision:mobilenet_v2")
    assert teacher.weights == student.weights == "imagenet"
    assert teacher.batch_size == student.batch_size == 32
    assert [(one.epochs, one.learning_rate) for one in teacher.phase] == [(10, 1e-4), (25, 1e-5)]
    assert [(one.epochs, one.learning_rate) for one in student.phase] == [(10, 1e-3), (25, 1e-4)]
    assert [one.train for one in teacher.phase] == ["head", "layer4+head"]
    assert teacher.class_weights == student.class_weights == "none"
    assert (recipe.distill.temperature, recipe.distill.soft_weight) == (2, 0.4)
    assert (recipe.subclass.per_class, recipe.subclass.temperature) == (5, 4)
    assert recipe.data.augment == ["crop:0.8", "flip", "rotate:20"]


def test_the_last_stage_of_the_student_is_what_the_recipe_names():
    names = load_recipe(MHIST).student.phase[1].train.split("+")[:-1]
    features = torchvision.models.mobilenet_v2().features.eval()
    image, sides = torch.zeros(1, 3, 224, 224), {}
    with torch.no_grad():
        for place, layer in enumerate(features):
            image = layer(image)
            sides[f"features.{place}"] = image.shape[-1]
    assert names == [name for name, side in sides.items() if side == 7]
