import numpy as np
import pytest
import torch
from answers import splits_of
from PIL import Image

from kdtool.recipe.schema import Recipe
from kdtool.study.folder import Study
from kdtool.terminal.progress import Terminal
from kdtool.train.data.splits import Split, Splits
from kdtool.train.evaluation.images import with_duplicate_images
from kdtool.train.run import Run

EXACT = [("validation", 2, "train", 5), ("test", 1, "validation", 0)]
NEAR = [("test", 4, "train", 3)]


@pytest.fixture
def run_of(tmp_path):
    def make(shape, duplicates, near_duplicates):
        generator = torch.Generator().manual_seed(0)
        labels = torch.arange(6) % 2
        train, validation, test = (
            Split(
                torch.randint(0, 256, (6, *shape), dtype=torch.uint8, generator=generator), labels
            )
            for _ in range(3)
        )
        listed = {"duplicates": duplicates, "near_duplicates": near_duplicates}
        result = splits_of(labels.numpy(), "ab").result.model_copy(update=listed)
        splits = Splits(train, validation, test, ("a", "b"), result)
        table = {"model": "mnist-student"}
        recipe = Recipe.model_validate(
            {"name": "tiny", "data": {"source": "digits"}, "teacher": table, "student": table}
        )
        quiet, cpu = Terminal(quiet=True), torch.device("cpu")
        return Run(Study(tmp_path), recipe, splits, splits, cpu, quiet)

    return make


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_is_next_to_its_duplicate_in_the_order_of_the_lists(run_of, tmp_path, channels):
    run = run_of((channels, 5, 4), EXACT, NEAR)
    result = with_duplicate_images(run)
    with np.load(tmp_path / result.duplicate_images) as file:
        assert file["exact"].shape == (2, 2, 5, 4, channels)
        assert file["near"].shape == (1, 2, 5, 4, channels)
        for name, listed in (("exact", EXACT), ("near", NEAR)):
            for pair, (split, index, other, twin) in zip(file[name], listed, strict=True):
                image = getattr(run.splits, split).images[index]
                like = getattr(run.splits, other).images[twin]
                assert (pair[0] == image.permute(1, 2, 0).numpy()).all()
                assert (pair[1] == like.permute(1, 2, 0).numpy()).all()
    assert result == run.splits.result.model_copy(
        update={"duplicate_images": "predictions/duplicates.npz"}
    )


def test_large_images_are_scaled_and_keep_their_aspect_ratio(run_of, tmp_path):
    run = run_of((3, 100, 200), EXACT[:1], [])
    result = with_duplicate_images(run)
    with np.load(tmp_path / result.duplicate_images) as file:
        assert file["exact"].shape == (1, 2, 48, 96, 3)
        assert len(file["near"]) == 0
        image = Image.fromarray(run.splits.train.images[5].permute(1, 2, 0).numpy())
        difference = file["exact"][0, 1].astype(int) - np.asarray(image.resize((96, 48)))
        assert np.abs(difference).max() <= 1


def test_without_duplicates_nothing_is_written(run_of, tmp_path):
    run = run_of((1, 5, 4), [], [])
    assert with_duplicate_images(run) is run.splits.result
    assert not list(tmp_path.iterdir())


def test_the_file_is_reused_until_other_images_are_listed(run_of, tmp_path):
    result = with_duplicate_images(run_of((1, 5, 4), EXACT, NEAR))
    written = (tmp_path / result.duplicate_images).stat().st_mtime_ns
    assert with_duplicate_images(run_of((1, 5, 4), EXACT, NEAR)) == result
    assert (tmp_path / result.duplicate_images).stat().st_mtime_ns == written
    with_duplicate_images(run_of((1, 5, 4), EXACT, []))
    with np.load(tmp_path / result.duplicate_images) as file:
        assert len(file["near"]) == 0
