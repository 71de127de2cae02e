"""A pretrained teacher, through the commands: kdtool's own ONNX file, and another's."""

import json
import shutil

import numpy as np
import pytest
import torch
from loading import load_splits
from safetensors.torch import load_file, save_file
from shell import RECIPE, kdtool
from torch import nn

from kdtool.errors import KdtoolError
from kdtool.recipe.data import DigitsTable
from kdtool.recipe.load import load_recipe
from kdtool.results.study import load_results
from kdtool.study.folder import Study
from kdtool.terminal.progress import Terminal
from kdtool.train.models.networks import as_input
from kdtool.train.pipeline.roles import train_role
from kdtool.train.run import open_run

TEACHER, STUDENT = RECIPE.index("[teacher]"), RECIPE.index("[student]")
SMALL = RECIPE[STUDENT:].replace('["fp32", "int8"]', '["fp32"]').replace("epochs = 3", "epochs = 2")


def write_recipe(folder, name, teacher, seeds="[3]"):
    path = folder / f"{name}.toml"
    text = f'name = "{name}"\nseeds = {seeds}\n[data]\nsource = "digits"\n[teacher]\n{teacher}\n'
    path.write_text(text + SMALL)
    return path


@pytest.fixture(scope="module")
def taught(finished, tmp_path_factory):
    """The folder of a study whose teacher is a file of another study; not to be changed."""
    folder = tmp_path_factory.mktemp("taught")
    shutil.copy(finished / "teacher.onnx", folder / "big.onnx")
    recipe = write_recipe(folder, "taught", 'model = "big.onnx"')
    kdtool("distill", recipe, "--out", folder / "runs")
    return folder / "runs" / "taught"


def test_a_file_that_kdtool_exported_teaches_a_student_of_a_new_study(finished, taught):
    before, results = (load_results(each / "results.json") for each in (finished, taught))
    teacher, student = results.models["teacher"], results.models["student"]
    assert teacher.model == "big.onnx"
    there = before.models["teacher"].seeds[0]
    assert teacher.seeds[0].test.confusion == there.test.confusion
    assert (teacher.num_params, teacher.num_macs) == (
        before.models["teacher"].num_params,
        before.models["teacher"].num_macs,
    )
    (seed,) = teacher.seeds
    assert (seed.best_epoch, seed.num_steps, len(seed.epochs)) == (0, 0, 1)
    assert seed.best.validation_loss == pytest.approx(there.best.validation_loss, rel=1e-4)
    assert student.test["accuracy"].mean > 0.6
    assert student.files["fp32"].parity.passed
    assert [verdict.of for verdict in results.verdicts] == ["student"]


def test_the_students_targets_are_the_files_answers(finished, taught):
    targets = [
        np.load(path, allow_pickle=False)
        for folder in (finished, taught)
        for path in (folder / "predictions").glob("teacher-logits-*.npy")
    ]
    np.testing.assert_allclose(*targets, atol=1e-3)


def test_the_study_keeps_no_copy_of_the_file_and_no_path_to_it(taught):
    results = load_results(taught / "results.json")
    assert results.models["teacher"].files == {}
    assert not (taught / "teacher.onnx").exists()
    assert not list((taught / "checkpoints").glob("teacher*"))
    for name in ("results.json", "report.html", "report.md"):
        assert str(taught.parents[1]) not in (taught / name).read_text()
    assert (taught / "student.onnx").exists()


def test_without_gradients_there_are_maps_of_the_others_only(taught):
    explain = load_results(taught / "results.json").explain
    assert explain.mean_agreement == {}
    assert "teacher" in explain.images[0].predictions
    with np.load(taught / explain.path) as arrays:
        assert set(arrays) == {"images", "control", "student"}


def test_the_study_lives_on_when_the_file_moves_and_not_when_it_changes(taught, finished, tmp_path):
    folder = shutil.copytree(taught.parents[1], tmp_path / "taught")
    study = folder / "runs" / "taught"
    before = load_results(study / "results.json")
    assert "an ONNX file without gradients" in kdtool("explain", study, "--images", "2").stderr
    (folder / "elsewhere").mkdir()
    moved = (folder / "big.onnx").rename(folder / "elsewhere" / "big.onnx")
    there = ["--out", study.parent, "--set", f"teacher.model={moved}"]
    kdtool("distill", study / "recipe.toml", *there)
    after = load_results(study / "results.json")
    assert {role: model.seeds for role, model in after.models.items()} == {
        role: model.seeds for role, model in before.models.items()
    }
    shutil.copy(finished / "student.onnx", moved)  # another file of that name
    with pytest.raises(KdtoolError, match=r"big\.onnx is not the file that taught the students"):
        kdtool("export", study)
    kdtool("finetune", study / "recipe.toml", *there)
    assert list(load_results(study / "results.json").models) == ["teacher"]


@pytest.mark.parametrize(
    ("command", "teacher", "message"),
    [
        (
            "subclass-distill",
            "big.onnx",
            r"big\.onnx is pretrained, but a subclass teacher",
        ),
        ("distill", "gone.onnx", r"teacher\.model: there is no file .*gone\.onnx"),
        (
            "distill",
            "runs/bad/teacher.onnx",
            r"is in .*bad, which this study writes its own files to",
        ),
    ],
)
def test_a_file_that_cannot_teach_is_an_error_before_training(
    taught, tmp_path, command, teacher, message
):
    shutil.copy(taught.parents[1] / "big.onnx", tmp_path)
    if teacher.startswith("runs/"):
        (tmp_path / teacher).parent.mkdir(parents=True)
        shutil.copy(tmp_path / "big.onnx", tmp_path / teacher)
    recipe = write_recipe(tmp_path, "bad", f'model = "{teacher}"')
    with pytest.raises(KdtoolError, match=message):
        kdtool(command, recipe, "--out", tmp_path / "runs")
    assert not list((tmp_path / "runs").rglob("*.safetensors"))


def test_a_network_with_weights_of_more_classes_teaches_those_of_the_data(finished, tmp_path):
    (checkpoint,) = (finished / "checkpoints").glob("teacher-*.safetensors")
    weights = load_file(checkpoint)
    for name, more in (("weight", torch.randn(2, 128)), ("bias", torch.full((2,), -50.0))):
        weights[f"head.classifier.{name}"] = torch.cat([more, weights[f"head.classifier.{name}"]])
    save_file(weights, tmp_path / "twelve.safetensors")
    teacher = 'model = "mnist-cnn"\nepochs = 0\nweights = "twelve.safetensors"'
    arguments = ["--out", tmp_path / "runs"]
    names = json.dumps(["cat", "dog", *"0123456789"])
    recipe = write_recipe(tmp_path, "more", f"{teacher}\nclasses = {names}")
    kdtool("finetune", recipe, *arguments)
    results, before = (
        load_results(each / "results.json") for each in (tmp_path / "runs" / "more", finished)
    )
    (there,), (here,) = (each.models["teacher"].seeds for each in (before, results))
    assert here.test.confusion == there.test.confusion
    assert here.num_steps == 0
    assert str(tmp_path) not in (tmp_path / "runs" / "more" / "results.json").read_text()
    with pytest.raises(KdtoolError, match=r"12 outputs, expected 10 .* teacher\.classes"):
        kdtool("finetune", write_recipe(tmp_path, "fewer", teacher), *arguments)


MEAN, STD = 0.3, 0.4


class Someones(nn.Module):
    """A network as anyone may export it: normalized float images, probabilities, its own order."""

    def __init__(self, net, order):
        super().__init__()
        self.net, self.order = net, order

    def forward(self, images):
        return self.net(images)[:, self.order].softmax(dim=1)


@pytest.fixture(scope="module")
def someones(tmp_path_factory):
    """A file that PyTorch's own exporter wrote, with the classes 9 to 0 in this order."""
    train = load_splits(DigitsTable(source="digits"), print).train
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    images = (as_input(train.images) - MEAN) / STD
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(images), train.labels).backward()
        optimizer.step()
    path = tmp_path_factory.mktemp("someones") / "net.onnx"
    model = Someones(net, list(range(9, -1, -1))).eval()
    batch = torch.export.Dim("n")
    torch.onnx.export(
        model, (images[:2],), path, dynamo=True, dynamic_shapes=({0: batch},), verbose=False
    )
    return path


def test_a_file_of_pytorchs_exporter_teaches_once_the_recipe_says_what_it_takes(someones, tmp_path):
    shutil.copytree(someones.parent, tmp_path, dirs_exist_ok=True)
    teacher = f'model = "{someones.name}"'
    arguments = ["--out", tmp_path / "runs"]
    with pytest.raises(
        KdtoolError, match=r"its metadata has no pixel range; set teacher\.normalize"
    ):
        kdtool("finetune", write_recipe(tmp_path, "one", teacher), *arguments)
    teacher += f"\nnormalize = {{ mean = [{MEAN}], std = [{STD}] }}"
    with pytest.raises(KdtoolError, match="outputs are in a different class order") as raised:
        kdtool("finetune", write_recipe(tmp_path, "one", teacher), *arguments)
    line = str(raised.value).partition("set teacher.")[2]
    assert json.loads(line.partition(" = ")[2]) == list("9876543210")
    recipe = write_recipe(tmp_path, "one", f"{teacher}\n{line}")
    assert "contains probabilities" in kdtool("finetune", recipe, *arguments).stderr
    (teacher,) = load_results(tmp_path / "runs" / "one" / "results.json").models.values()
    assert teacher.test["accuracy"].mean > 0.9
    assert teacher.seeds[0].test.nll < 0.5
    study = Study(tmp_path / "runs" / "one")
    run = open_run(study, load_recipe(recipe), "cpu", Terminal(quiet=True))
    (student,) = train_role(run, "student", {"teacher": train_role(run, "teacher", {})})
    assert student.result.best.validation_accuracy > 0.6
