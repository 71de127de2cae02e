"""What the teacher is asked while a student learns."""

import pytest
import torch
from shell import RECIPE

from kdtool.recipe.load import load_recipe
from kdtool.study.folder import Study
from kdtool.terminal.progress import Terminal
from kdtool.train.fit.batches import Training, batch_maker
from kdtool.train.pipeline.roles import class_weights, teacher_answers, teacher_logits, train_role
from kdtool.train.run import load_model, open_run


def opened(folder, *settings):
    (folder / "tiny.toml").write_text(RECIPE)
    recipe = load_recipe(folder / "tiny.toml", ["teacher.epochs=1", *settings])
    return open_run(Study(folder), recipe, "cpu", Terminal(quiet=True))


@pytest.mark.parametrize("setting", ["data.augment=['shift:0.3']", "student.mixup=0.5"])
def test_the_teacher_answers_to_the_very_images_that_the_student_sees(tmp_path, setting):
    run = opened(tmp_path, "student.precision='fp32'", setting)
    (teacher,) = train_role(run, "teacher", {})
    table, train = run.recipe.student, run.transfer.train
    training = Training(table, seed=3, augment=run.recipe.data.augment)
    batch = batch_maker(train, training, len(run.splits.classes))(5, torch.arange(40))
    found = teacher_answers(run, teacher, "student")(batch)
    with torch.no_grad():
        expected = load_model(run, teacher)(batch.images)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad
    assert (found - teacher_logits(run, teacher)[:40]).abs().max() > 0.01


def test_a_class_that_is_left_out_has_no_weight(tmp_path):
    balanced = [f"{role}.class_weights='balanced'" for role in ("teacher", "student")]
    run = opened(tmp_path, "distill.exclude_classes=[3]", *balanced)
    assert class_weights(run, "teacher")[3] > 0
    assert class_weights(run, "student")[3] == 0
    counts = torch.bincount(run.transfer.train.labels, minlength=10)
    shares = (class_weights(run, "student") * counts).tolist()
    assert shares == pytest.approx([len(run.transfer.train) / 10 * (k != 3) for k in range(10)])
