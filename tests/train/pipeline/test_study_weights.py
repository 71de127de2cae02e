"""A study that starts from a file of weights: it is known by content, and can do without it."""

import shutil

import pytest
from shell import RECIPE, kdtool

from kdtool.errors import KdtoolError
from kdtool.recipe.load import load_recipe
from kdtool.results.study import load_results
from kdtool.study.folder import Study
from kdtool.terminal.progress import Terminal
from kdtool.train.models.checkpoint import save_weights
from kdtool.train.models.networks import build_model
from kdtool.train.run import open_run

pytestmark = pytest.mark.slow

SETTINGS = {
    "seeds": "[3]",
    "teacher.epochs": "1",
    "student.epochs": "1",
    "teacher.normalize": "{ mean = [0.3], std = [0.4] }",
    "student.weights": "begin.safetensors",
    "export.precisions": '["fp32"]',
    "export.max_drop": "0.9",
    "profile.seconds": "0.02",
    "explain.images": "1",
}


@pytest.fixture(scope="module")
def begun(finished, tmp_path_factory):
    """A folder with a recipe, the weights that its student starts from, and its finished study."""
    folder = tmp_path_factory.mktemp("begun")
    (checkpoint,) = (finished / "checkpoints").glob("student-seed3-*.safetensors")
    shutil.copy(checkpoint, folder / "begin.safetensors")
    (folder / "tiny.toml").write_text(RECIPE)
    kdtool("distill", folder / "tiny.toml", "--out", folder, *settings(folder))
    return folder


def settings(folder, **changed):
    values = SETTINGS | {"student.weights": str(folder / "begin.safetensors")} | changed
    return [word for key, value in values.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture
def copy(begun, tmp_path):
    return shutil.copytree(begun, tmp_path / "copy")


def checkpoints(folder):
    return {path.name for path in (folder / "tiny" / "checkpoints").iterdir()}


def test_a_finished_study_is_exported_and_repeated_without_its_weights(begun, copy):
    before = load_results(copy / "tiny" / "results.json").models
    away = (begun / "begin.safetensors").rename(begun / "away")
    try:
        kdtool("export", copy / "tiny")
        again = kdtool("distill", copy / "tiny" / "recipe.toml", "--out", copy)
        next((copy / "tiny" / "checkpoints").glob("student-*")).unlink()
        with pytest.raises(KdtoolError, match=r"cannot read the weights .*begin\.safetensors"):
            kdtool("distill", copy / "tiny" / "recipe.toml", "--out", copy)
    finally:
        away.rename(begun / "begin.safetensors")
    assert "starts from" not in again.stderr
    after = load_results(copy / "tiny" / "results.json").models
    assert {role: model.seeds for role, model in after.items()} == {
        role: model.seeds for role, model in before.items()
    }


def test_weights_are_known_by_their_content_and_not_by_their_name(copy):
    before = checkpoints(copy)
    renamed = (copy / "begin.safetensors").rename(copy / "renamed.safetensors")
    recipe = [copy / "tiny.toml", "--out", copy]
    kdtool("distill", *recipe, *settings(copy, **{"student.weights": str(renamed)}))
    assert checkpoints(copy) == before
    other = next((copy / "tiny" / "checkpoints").glob("student-*"))
    shutil.copy(other, renamed)
    with pytest.raises(KdtoolError, match=r"now another file named renamed\.safetensors"):
        kdtool("distill", *recipe, *settings(copy, **{"student.weights": str(renamed)}))


def test_another_network_for_the_same_weights_is_reported_before_training(copy):
    weights = {"student.weights": str(copy / "begin.safetensors"), "student.model": "mnist-cnn"}
    before = checkpoints(copy)
    arguments = [copy / "tiny.toml", "--out", copy, "--force", *settings(copy, **weights)]
    with pytest.raises(KdtoolError, match=r"begin\.safetensors"):
        kdtool("distill", *arguments)
    assert checkpoints(copy) == before


def test_finetune_keeps_the_other_models_of_a_study_if_its_weights_were_renamed(copy):
    renamed = (copy / "begin.safetensors").rename(copy / "renamed.safetensors")
    recipe = [copy / "tiny.toml", "--out", copy]
    kdtool("finetune", *recipe, *settings(copy, **{"student.weights": str(renamed)}))
    assert set(load_results(copy / "tiny" / "results.json").models) == {
        "teacher",
        "control",
        "student",
    }


def test_a_model_of_subclasses_takes_no_head_though_one_of_classes_fits(begun, tmp_path):
    recipe = load_recipe(begun / "tiny" / "recipe.toml")
    num_logits = 10 * recipe.subclass.per_class
    given = build_model("mnist-mlp", (1, 8, 8), num_logits, seed=0)
    save_weights(tmp_path / "w.safetensors", given.state_dict(), {})
    changed = [f"student.weights={tmp_path / 'w.safetensors'}"]
    recipe = load_recipe(begun / "tiny" / "recipe.toml", changed)
    run = open_run(Study(tmp_path), recipe, "cpu", Terminal(quiet=True))
    drawn = run.build("subclass-student", 3).state_dict()
    model = run.build("subclass-student", 3, pretrained=True).state_dict()
    first, *_, last = [name for name in drawn if name.endswith("weight")]
    assert model[first].equal(given.state_dict()[first])
    assert model[last].equal(drawn[last])


def test_a_checkpoint_of_a_normalized_model_is_profiled(begun):
    (checkpoint,) = (begun / "tiny" / "checkpoints").glob("teacher-*")
    kdtool("profile", checkpoint, "--seconds", "0.02")
