"""What is checked and reported before anything is trained."""

import pytest
import torch
from recorded import Recorded
from shell import RECIPE

from kdtool.errors import KdtoolError
from kdtool.recipe.load import load_recipe
from kdtool.study.folder import Study
from kdtool.train.models import networks
from kdtool.train.models.device import check_room
from kdtool.train.reporter import Silent
from kdtool.train.run import check_models, open_run


@pytest.fixture
def opened(tmp_path):
    """Open a run of the small recipe with some `--set`."""
    (tmp_path / "tiny.toml").write_text(RECIPE)

    def open_it(*settings, reporter=None):
        recipe = load_recipe(tmp_path / "tiny.toml", settings)
        return open_run(Study(tmp_path / "study"), recipe, "cpu", reporter or Silent())

    return open_it


def test_images_too_large_for_the_gpu_are_an_error_with_both_sizes(monkeypatch):
    images = [torch.empty(n, 3, 1024, 1024, dtype=torch.uint8, device="meta") for n in (512, 512)]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (2 * 2**30, 4 * 2**30))
    with pytest.raises(KdtoolError) as raised:
        check_room(images, torch.device("cuda"))
    assert "the images take 3.0 GiB, and of the 4.0 GiB of cuda 2.0 GiB are free" in str(
        raised.value
    )
    assert "--device cpu" in str(raised.value)
    check_room(images[:1], torch.device("cuda"))
    check_room(images, torch.device("cpu"))


def test_students_and_teacher_share_the_memory_of_their_images(opened):
    for setting in ("distill.exclude_classes=[]", "distill.exclude_classes=[3]"):
        run = opened(setting)
        assert run.transfer.test.images is run.splits.test.images
        assert len(run.splits.train) == 1294
        assert (run.transfer.train.labels == 3).any().item() == (setting[-2] == "[")


def test_few_validation_images_are_a_warning(opened):
    reporter = Recorded()
    opened("data.validation=20", reporter=reporter)
    (warning,) = reporter.warned
    assert warning.startswith("20 validation images choose epochs and settings, and one of them is")
    assert "5.0 points: set a larger data.validation" in warning
    reporter = Recorded()
    opened("data.validation=50", reporter=reporter)
    assert reporter.warned == []


def test_the_sizes_of_the_splits_are_reported(opened):
    reporter = Recorded()
    opened("distill.exclude_classes=[3]", reporter=reporter)
    all_images, without = reporter.said
    assert "1,294 training, 144 validation and 359 test images; 10 classes; on cpu" in all_images
    assert without.endswith("of the training images, without 3")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("student.train=haed", r"\[student\]: got train = .* did you mean \"head\""),
        ("teacher.input_size=4", r"\[teacher\]: got input_size = 4 for images of 8x8"),
        (
            "teacher.normalize={ mean = [0.1, 0.2], std = [1.0] }",
            r"\[teacher\]: got normalize with 2 means",
        ),
    ],
)
def test_an_error_about_a_model_names_its_table(opened, setting, message):
    with pytest.raises(KdtoolError, match=message):
        check_models(opened(setting))


def test_a_network_is_built_once_and_shared_by_the_roles_of_a_table(opened, monkeypatch):
    built, build = [], networks.BUILT_IN["mnist-mlp"]

    def counted(*arguments):
        built.append(arguments)
        return build(*arguments)

    monkeypatch.setitem(networks.BUILT_IN, "mnist-mlp", counted)
    run = opened()
    check_models(run)
    student = run.network("student")
    assert run.network("control") is student
    assert len(built) == 1
    assert run.network("subclass-student") is not student  # more logits
    assert len(built) == 2
    # a model to train is its own, with the weights of its seed
    first, again, other = (run.build("student", seed) for seed in (3, 3, 5))
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert not torch.equal(first.classifier.weight, other.classifier.weight)
    assert not student.training
