import numpy as np
import pytest
import torch
from answers import evaluated, softmax, splits_of

from kdtool.recipe.schema import Recipe
from kdtool.results.evidence import ClassSubclasses, Flips, SubclassUse
from kdtool.study.folder import Study
from kdtool.terminal.progress import Terminal
from kdtool.train.evaluation.images import gallery, shown_images
from kdtool.train.run import Run

FINE = np.array([0, 3, 1, 2, 0, 3, 1, 2])
LABELS, CLASSES = FINE // 2, ("ab", "cd")


@pytest.fixture
def models():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 8, 2)).astype(np.float32)
    return {
        role: evaluated(role, LABELS, CLASSES, logits[row])
        for row, role in enumerate(("teacher", "student"))
    }


def run_in(folder, **data):
    table = {"model": "mnist-student"}
    recipe = Recipe.model_validate(
        {"name": "tiny", "data": {"source": "digits"}, "teacher": table, "student": table}
    )
    splits = splits_of(LABELS, CLASSES, **data)
    return Run(Study(folder), recipe, splits, splits, torch.device("cpu"), Terminal(quiet=True))


def test_the_gallery_holds_each_wanted_image_once_in_order(tmp_path, models):
    run = run_in(tmp_path, fine_labels=FINE, groups=[["a", "b"], ["c", "d"]])
    shown = gallery(run, models, [5, 2, 5, 0])
    assert [image.index for image in shown.images] == [0, 2, 5]
    assert [image.label for image in shown.images] == ["ab", "ab", "cd"]
    assert [image.fine_label for image in shown.images] == ["a", "b", "d"]
    with np.load(tmp_path / shown.path) as file:
        assert file["images"].dtype == np.uint8
        pixels = run.splits.test.images.numpy()[[0, 2, 5]]
        assert (file["images"] == pixels.transpose(0, 2, 3, 1)).all()
    for image in shown.images:
        for role, model in models.items():
            probabilities = softmax(model.test_logits)[image.index]
            assert image.predictions[role] == CLASSES[probabilities.argmax()]
            assert image.probabilities[role] == pytest.approx(probabilities.max(), rel=1e-5)


def test_without_groups_there_is_no_fine_label(tmp_path, models):
    (image,) = gallery(run_in(tmp_path), models, {3}).images
    assert (image.label, image.fine_label) == ("cd", None)


def test_without_wanted_images_there_is_no_gallery(tmp_path, models):
    assert gallery(run_in(tmp_path), models, []) is None
    assert not list(tmp_path.iterdir())


def test_a_gallery_is_reused_until_other_images_or_models_are_shown(tmp_path, models):
    run = run_in(tmp_path)
    first = gallery(run, models, [1, 2])
    written = (tmp_path / first.path).stat().st_mtime_ns
    assert gallery(run, models, [2, 1]) == first
    assert (tmp_path / first.path).stat().st_mtime_ns == written
    student = {"student": models["student"]}
    fewer = gallery(run, student, [1, 2])
    assert fewer.images[0].predictions.keys() == {"student"}
    assert [image.index for image in gallery(run, student, [4]).images] == [4]
    with np.load(tmp_path / first.path) as file:
        assert len(file["images"]) == 1


def test_all_images_that_the_records_refer_to_are_shown():
    flips = Flips(
        of="student",
        against="control",
        both_right=9,
        gained=2,
        lost=1,
        both_wrong=0,
        gained_images=[7, 3],
        lost_images=[11],
    )
    per_class = ClassSubclasses(
        name="ab", shares=[0.5, 0.5], effective=2.0, collapsed=False, claimed=[[3, 4], [0]]
    )
    use = SubclassUse(
        role="subclass-student", seed=0, exported=True, per_class=[per_class], fine=None
    )
    assert shown_images([flips], [use]) == {0, 3, 4, 7, 11}
    assert shown_images([], []) == set()
