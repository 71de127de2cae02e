"""What is looked at before anything is trained."""

import pytest
import torch
from shell import RECIPE

from kdtool.errors import KdtoolError
from kdtool.recipe.load import load_recipe
from kdtool.study.folder import Study
from kdtool.terminal.progress import Terminal
from kdtool.train.models.device import check_room
from kdtool.train.run import open_run


def test_images_that_do_not_fit_the_gpu_are_told_with_both_sizes(monkeypatch):
    images = [torch.empty(n, 3, 1024, 1024, dtype=torch.uint8, device="meta") for n in (512, 512)]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _device: (2 * 2**30, 4 * 2**30))
    with pytest.raises(KdtoolError) as raised:
        check_room(images, torch.device("cuda"))
    assert str(raised.value) == (
        "the images take 3.0 GiB, and of the 4.0 GiB of cuda 2.0 GiB are free; make them smaller "
        "with data.size, end what else runs there, or use --device cpu"
    )
    check_room(images[:1], torch.device("cuda"))
    check_room(images, torch.device("cpu"))


def test_what_students_learn_from_shares_its_images_with_the_rest(tmp_path):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    for setting in ("distill.exclude_classes=[]", "distill.exclude_classes=[3]"):
        recipe = load_recipe(tmp_path / "tiny.toml", [setting])
        run = open_run(Study(tmp_path), recipe, "cpu", Terminal(quiet=True))
        assert run.transfer.test.images is run.splits.test.images
        assert len(run.splits.train) == 1294
        assert (run.transfer.train.labels == 3).any().item() == (setting[-2] == "[")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("student.train=haed", r"\[student\]: got train = .* did you mean \"head\""),
        ("teacher.input_size=4", r"\[teacher\]: got input_size = 4 for images of 8x8"),
        (
            "teacher.normalize={ mean = [0.1, 0.2], std = [1.0] }",
            r"\[teacher\]: normalize has a mean of 2",
        ),
    ],
)
def test_what_cannot_be_is_told_with_the_table_that_it_stands_in(tmp_path, setting, message):
    (tmp_path / "tiny.toml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "tiny.toml", [setting])
    with pytest.raises(KdtoolError, match=message):
        open_run(Study(tmp_path), recipe, "cpu", Terminal(quiet=True))
