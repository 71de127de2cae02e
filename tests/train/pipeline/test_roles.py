"""What the teacher is asked while a student learns."""

from dataclasses import replace

import pytest
import torch
from shell import RECIPE
from torch import nn

from kdtool.errors import RecipeError
from kdtool.recipe.load import load_recipe
from kdtool.study.folder import Study
from kdtool.study.keys import ALGORITHMS
from kdtool.terminal.progress import Terminal
from kdtool.train.fit.batches import Training, batch_maker
from kdtool.train.pipeline.roles import (
    check_method,
    class_weights,
    plan_role,
    sees_fixed_images,
    teacher_answers,
    teacher_logits,
    train_role,
    warm_up_steps,
)
from kdtool.train.pipeline.train_model import plan_model, training_of
from kdtool.train.reporter import Silent
from kdtool.train.run import Trained, load_model, open_run


class Heard(Silent):
    def __init__(self):
        self.said = []

    def say(self, text):
        self.said.append(text)


def opened(folder, *settings, text=RECIPE):
    (folder / "tiny.toml").write_text(text)
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


VIEWS = ["data.augment=['shift:0.3','flip']", "data.views=2"]


def test_the_answers_to_views_are_those_to_the_very_images_that_the_student_sees(tmp_path):
    run = opened(tmp_path, "student.batch_size=600", *VIEWS)
    (teacher,) = train_role(run, "teacher", {})
    known = teacher_logits(run, teacher)
    assert known.shape == (2, len(run.transfer.train), 10)
    answers, model = teacher_answers(run, teacher, "student"), load_model(run, teacher)
    for role, number in (("student", 0), ("control", 3), ("student", 7)):  # 3 steps an epoch
        make_batch = batch_maker(run.transfer.train, training_of(run, role, seed=number), 10)
        batch = make_batch(number, torch.arange(40))
        assert batch.view == number // 3 % 2
        with torch.no_grad():
            expected = model(batch.images)
        torch.testing.assert_close(answers(batch), expected, rtol=1e-4, atol=1e-4)
    assert (known[0] - known[1]).abs().max() > 0.1
    assert not sees_fixed_images(opened(tmp_path, "student.mixup=0.5", *VIEWS), "student")


def test_the_teacher_sees_each_view_once_for_all_students(tmp_path):
    run = opened(tmp_path, "student.epochs=4", *VIEWS)
    teacher, seen = train_role(run, "teacher", {}), []
    run = replace(run, reporter=Heard())

    def watch(part, given):
        if isinstance(part, nn.Conv2d) and part.in_channels == 1:
            seen.append(len(given[0]))

    hook = nn.modules.module.register_module_forward_pre_hook(watch)
    try:
        students = train_role(run, "student", {"teacher": teacher})  # without a convolution
    finally:
        hook.remove()
    assert len(students) == 2
    assert sum(seen) == 2 * len(run.transfer.train)
    text = (
        f"teacher: computing its logits of 2 views of {len(run.transfer.train):,} training images"
    )
    assert [one for one in run.reporter.said if "logits" in one] == [text]


def test_views_are_in_the_keys_where_they_are_set_and_only_there(tmp_path):
    def keys(*settings):
        run = opened(tmp_path, "student.precision='fp32'", *settings)
        control = plan_role(run, "control", {})[0].key
        return run.fingerprint, control, student_key(run)

    # Written down before there were views.
    assert keys(VIEWS[0])[1:] == (
        "train.2:165cbfd66119ca53",
        "train.2:8734a13736f77134",
    )
    found = [keys(VIEWS[0]), keys(*VIEWS), keys(VIEWS[0], "data.views=3")]
    assert all(len(set(column)) == 3 for column in list(zip(*found, strict=True))[1:])


def test_a_class_that_is_left_out_has_no_weight(tmp_path):
    balanced = [f"{role}.class_weights='balanced'" for role in ("teacher", "student")]
    run = opened(tmp_path, "distill.exclude_classes=[3]", *balanced)
    assert class_weights(run, "teacher")[3] > 0
    assert class_weights(run, "student")[3] == 0
    counts = torch.bincount(run.transfer.train.labels, minlength=10)
    shares = (class_weights(run, "student") * counts).tolist()
    assert shares == pytest.approx([len(run.transfer.train) / 10 * (k != 3) for k in range(10)])


def trained_student(folder, *settings):
    folder.mkdir(parents=True)
    run = opened(folder, "seeds=[3]", *settings)
    teacher = train_role(run, "teacher", {})
    (student,) = train_role(run, "student", {"teacher": teacher})
    return student.result.best.validation_loss, student.checkpoint.read_bytes()


def test_one_seed_gives_the_same_bits_and_a_warm_up_others(tmp_path):
    dkd = ["distill.method=dkd", "distill.options.warm_up=2"]
    _, first = trained_student(tmp_path / "a" / "study", *dkd)
    _, again = trained_student(tmp_path / "b" / "study", *dkd)
    _, other = trained_student(tmp_path / "c" / "study", *dkd[:1])
    assert first == again
    assert first != other


TWO = "data.group=[[0,1,2,3,4],[5,6,7,8,9]]"


def student_key(run):
    teacher = Trained("teacher", 3, "the teacher's key", run.study.folder, None)
    return plan_role(run, "student", {"teacher": [teacher]})[0].key


def test_the_key_of_kd_is_as_before_there_were_methods(tmp_path):
    run = opened(tmp_path, "distill.options.dkd.beta=2")
    depends_on = [3.0, 0.9, "the teacher's key"]
    assert student_key(run) == plan_model(run, "student", 3, depends_on, lambda: None).key


WHOLE, HEAD_FIRST = ("epochs=3", "phase=[{epochs=1,train='head'},{epochs=1}]")


@pytest.mark.parametrize(
    ("training", "settings", "device", "algorithms"),
    [
        (WHOLE, ["student.model='mnist-mlp'"], "cpu", {"train"}),
        (WHOLE, ["student.model='resnet8'"], "cpu", {"train", "batch-norm"}),
        (WHOLE, ["student.model='mnist-cnn'"], "cpu", {"train", "dropout"}),
        (WHOLE, ["student.model='mnist-cnn'"], "cuda", {"train"}),
        (HEAD_FIRST, ["student.model='mnist-mlp'"], "cpu", {"train", "features"}),
        (HEAD_FIRST, ["student.model='mnist-cnn'"], "cpu", {"train", "dropout", "features"}),
        (HEAD_FIRST, ["data.augment=['flip']"], "cpu", {"train"}),
        (HEAD_FIRST, ["data.augment=['flip']", "data.views=2"], "cpu", {"train", "features"}),
        ("phase=[{epochs=1},{epochs=1}]", [], "cpu", {"train"}),
    ],
)
def test_a_key_has_the_algorithms_that_its_model_needs_and_no_others(
    tmp_path, training, settings, device, algorithms
):
    text = RECIPE.replace("epochs = 3\nmin_steps = 0", training)
    run = opened(tmp_path, "student.precision='fp32'", *settings, text=text)
    run = replace(run, device=torch.device(device))
    key = plan_model(run, "control", 3, [], lambda: None).key
    numbered = key.rpartition(":")[0].split("+")
    assert numbered[0] == f"train.{ALGORITHMS['train']}"
    assert set(numbered) == {f"{name}.{ALGORITHMS[name]}" for name in algorithms}


def test_the_key_of_a_student_has_its_method_and_the_options_of_that_alone(tmp_path):
    method = "distill.method=dkd"
    changes = [
        [],
        [method],
        ["distill.method=rld"],
        [method, "distill.options.beta=2"],
        [method, "distill.options.warm_up=1"],
        [method, "student.epochs=4"],
    ]
    keys = [student_key(opened(tmp_path, *one)) for one in changes]
    assert len(set(keys)) == len(changes)
    same = [
        [method, "distill.options.rld.beta=2", "distill.temperature=9", "distill.soft_weight=0.1"],
        [method, "distill.options.dkd.beta=8", "distill.options.alpha=1"],
    ]
    assert {student_key(opened(tmp_path, *one)) for one in same} == {keys[1]}


@pytest.mark.parametrize(
    ("settings", "steps"),
    [
        (["distill.method=dkd"], 7),  # a twelfth of 14 epochs of 6 steps
        (["distill.method=rld", "distill.options.warm_up=2.5"], 15),
        (["distill.method=dkd", "distill.options.warm_up=0"], 0),
        (["distill.method=ls"], 0),
    ],
)
def test_the_warm_up_is_counted_in_steps(tmp_path, settings, steps):
    run = opened(tmp_path, "student.epochs=14", "student.batch_size=220", *settings)
    assert warm_up_steps(run, "student", run.recipe.distill.chosen) == steps


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["distill.method=ls"], r"ls.*always \+-0.7071.*`kdtool subclass-distill`"),
        (["distill.method=dkd"], r"one class is left.*`kdtool subclass-distill`"),
        (["distill.method=nkd"], "one class is left"),
        (["distill.method=rld"], "one class is left"),
        (["distill.method=dist", "distill.options.gamma=0"], "gamma = 0 turns off its term over"),
    ],
)
def test_two_classes_refuse_methods_that_have_nothing_to_teach_them(tmp_path, settings, message):
    with pytest.raises(RecipeError, match=message):
        check_method(opened(tmp_path, TWO, *settings))


def test_a_method_says_how_its_loss_is_made_and_warns_where_a_part_of_it_is_idle(tmp_path, capsys):
    for settings in ([TWO, "distill.method=dist"], ["distill.method=dkd"], []):
        check_method(opened(tmp_path, *settings))
    shown = " ".join(capsys.readouterr().err.split())
    assert shown.count("of its terms only that over the batch is left") == 1


def test_a_warm_up_is_not_longer_than_the_training_that_min_steps_makes(tmp_path):
    settings = ["distill.method=rld", "distill.options.warm_up=8", "student.min_steps=48"]
    check_method(opened(tmp_path, *settings))  # 6 steps an epoch
    with pytest.raises(RecipeError, match=r"warm_up = 8 epochs for method rld.*at most the 3 of"):
        check_method(opened(tmp_path, *settings, "student.min_steps=12"))
