"""Subclass distillation from the shell to the report, on real digits."""

import shutil

import numpy as np
import pytest
from loading import load_splits
from safetensors.torch import load_file
from shell import kdtool

from kdtool.edge.session import open_session
from kdtool.recipe.data import DigitsTable
from kdtool.recipe.load import load_recipe
from kdtool.results.base import ROLES
from kdtool.results.study import load_results
from kdtool.study.folder import Study, swept_role
from kdtool.terminal.progress import Terminal
from kdtool.train.pipeline.commands import try_settings
from kdtool.train.pipeline.finish import sweep_points
from kdtool.train.pipeline.sweep import best_candidate, grid
from kdtool.train.run import open_run

pytestmark = pytest.mark.slow

SETTINGS = ["--set", "export.precisions=['fp32']", "--set", "export.calibrate=true"]


@pytest.fixture(scope="module")
def subclassed(finished, tmp_path_factory):
    """The finished study, distilled through subclasses too; not to be changed."""
    folder = shutil.copytree(finished, tmp_path_factory.mktemp("subclasses") / "tiny")
    kdtool("subclass-distill", folder / "recipe.toml", "--out", folder.parent, *SETTINGS)
    return folder


def weights(folder, role):
    return {path.name: path.read_bytes() for path in (folder / "checkpoints").glob(f"{role}-*")}


def test_all_five_roles_are_in_one_study_and_trained_models_are_reused(finished, subclassed):
    results = load_results(subclassed / "results.json")
    assert tuple(results.models) == ROLES
    for role in ("teacher", "control", "student"):
        assert weights(subclassed, role) == weights(finished, role)
    steps = {
        role: [(seed.seed, seed.num_steps) for seed in results.models[role].seeds]
        for role in ("control", "student", "subclass-student")
    }
    assert len(set(map(tuple, steps.values()))) == 1
    assert len(results.models["subclass-teacher"].seeds) == 1
    accuracy = results.models["subclass-student"].test["accuracy"].mean
    assert accuracy > 0.7  # targets and images belong together
    pairs = [(verdict.of, verdict.against) for verdict in results.verdicts]
    assert pairs == [
        ("student", "control"),
        ("subclass-student", "control"),
        ("subclass-student", "student"),
    ]
    assert all(verdict.p_holm >= verdict.p_value for verdict in results.verdicts)
    assert results.shipped in {"student", "subclass-student"}
    assert "subclass" in (subclassed / "report.html").read_text()


def test_a_model_with_subclasses_has_a_head_for_them_and_its_file_has_the_classes(subclassed):
    results = load_results(subclassed / "results.json")
    test = load_splits(DigitsTable(source="digits"), print).test
    pixels = np.ascontiguousarray(test.images.numpy().transpose(0, 2, 3, 1))
    for role in ("subclass-teacher", "subclass-student"):
        (checkpoint, *_) = sorted((subclassed / "checkpoints").glob(f"{role}-*.safetensors"))
        sizes = {name: tensor.shape[0] for name, tensor in load_file(checkpoint).items()}
        assert sizes["head.classifier.bias" if "teacher" in role else "classifier.bias"] == 50
        model = results.models[role]
        file = model.files["fp32"]
        logits, probabilities = open_session(subclassed / file.path).run(None, {"image": pixels})
        assert logits.shape == (len(test), 10)
        np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
        right = probabilities.argmax(1) == test.labels.numpy()
        exported = next(seed for seed in model.seeds if seed.seed == model.exported_seed)
        assert right.mean() == file.accuracy == exported.test.accuracy
        assert file.parity.passed
        # the file's probabilities are those after temperature scaling
        assert file.temperature == pytest.approx(exported.calibration.temperature)
        chosen = probabilities[np.arange(len(test)), test.labels.numpy()]
        assert -np.log(chosen).mean() == pytest.approx(exported.calibration.nll, rel=1e-3)


def test_the_students_of_a_study_that_has_subclasses_keep_them(subclassed, tmp_path):
    folder = shutil.copytree(subclassed, tmp_path / "tiny")
    before = load_results(folder / "results.json")
    kdtool("distill", folder / "recipe.toml", "--out", folder.parent)
    assert load_results(folder / "results.json") == before
    recipe = (folder / "recipe.toml").read_text()
    kdtool("finetune", folder / "recipe.toml", "--out", folder.parent, "--set", "export.opset=20")
    after = load_results(folder / "results.json")
    assert (after.models, after.verdicts) == (before.models, before.verdicts)
    assert (folder / "recipe.toml").read_text() == recipe  # it made no files, and so says none


def test_a_sweep_over_subclasses_trains_a_teacher_for_each_number(subclassed, tmp_path):
    folder = shutil.copytree(subclassed, tmp_path / "tiny")
    recipe, sweep = load_recipe(folder / "recipe.toml"), {"subclass.per_class": [2, 5]}
    run = open_run(Study(folder), recipe, "cpu", Terminal(quiet=True))
    settings = grid(recipe, sweep, subclasses=True)
    candidates = [try_settings(run, swept_role(sweep), *setting) for setting in settings]
    best = best_candidate(candidates)
    points = sweep_points(run, candidates, best)
    assert [point.role for point in points] == ["subclass-student"] * 2
    assert [point.settings for point in points] == [{"subclass.per_class": n} for n in (2, 5)]
    chosen = next(point for point in points if point.selected)
    assert chosen.settings == best.settings
    worth = [point.validation_accuracy.mean for point in points]
    assert chosen.validation_accuracy.mean == max(worth)
    assert len(weights(folder, "subclass-teacher")) == 2
    assert len(weights(folder, "subclass-student")) == 4
    five = load_results(folder / "results.json").models["subclass-student"]
    assert points[1].test_accuracy == five.test["accuracy"]  # the ones that stood already


def test_models_that_fit_are_copied_from_a_study_in_the_same_folder(subclassed, tmp_path):
    arguments = [subclassed / "recipe.toml", "--out", tmp_path, "--role", "student"]
    shutil.copytree(subclassed, tmp_path / "tiny")
    done = kdtool("finetune", *arguments, "--set", "name=other")
    assert done.stderr.count("copied from the study tiny") == 2
    assert weights(tmp_path / "other", "control") == weights(subclassed, "control")
    settings = ["--set", "name=changed", "--set", "student.epochs=1"]
    assert "copied" not in kdtool("finetune", *arguments, *settings).stderr


@pytest.mark.nightly
def test_a_study_with_a_sweep_of_each_method_has_a_table_and_a_figure_of_both(finished, tmp_path):
    """Their settings have different keys: the report took those of the first for all."""
    shutil.copytree(finished, tmp_path / "tiny")  # its teacher and control are copied
    recipe, out = tmp_path / "tiny" / "recipe.toml", ["--out", tmp_path]
    given = [*out, "--set", "name=swept", "--set", "export.precisions=['fp32']"]
    kdtool("distill", recipe, *given, "--sweep", "distill.temperature=1,3")
    results = load_results(tmp_path / "swept" / "results.json")
    (best,) = [point.settings for point in results.sweep if point.selected]
    chosen = ["--set", f"distill.temperature={best['distill.temperature']}"]
    kdtool("subclass-distill", recipe, *given, *chosen, "--sweep", "subclass.temperature=1,4")
    results = load_results(tmp_path / "swept" / "results.json")
    keys = [(point.role, *point.settings) for point in results.sweep]
    assert sorted(set(keys)) == [
        ("student", "distill.temperature"),
        ("subclass-student", "subclass.temperature"),
    ]
    for page in ("report.html", "report.md"):
        text = (tmp_path / "swept" / page).read_text()
        assert "distill.temperature" in text
        assert "subclass.temperature" in text
    for role in ("student", "subclass-student"):
        assert (tmp_path / "swept" / "figures" / f"sweep-{role}.svg").stat().st_size > 1000
