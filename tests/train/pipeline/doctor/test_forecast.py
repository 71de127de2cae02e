"""What a study is expected to take: sums in closed form, and a finished study as the reference."""

from dataclasses import replace

import pytest
from shell import RECIPE

from kdtool.errors import KdtoolError
from kdtool.recipe.load import load_recipe, with_settings
from kdtool.stats.power import TYPICAL, expected_visible
from kdtool.study.folder import Study
from kdtool.train.fit.optimizer import phases_of
from kdtool.train.pipeline.doctor.examine import SHARES, detectable_by, judge_training_memory
from kdtool.train.pipeline.doctor.forecast import (
    check_losses,
    finished_after,
    training_cost,
)
from kdtool.train.pipeline.steps import QUICK, THOROUGH, Timed, time_steps
from kdtool.train.reporter import Silent
from kdtool.train.run import open_run

GB = 10**9


def timed(image=0.0, forward=0.0, refresh=0.0, losses=(1.0,)):
    return Timed(20, 8 * image, image, forward, refresh, list(losses))


@pytest.mark.parametrize(
    ("lengths", "jobs", "expected"),
    [
        ([3, 1, 1, 1], 1, 6),
        ([3, 1, 1, 1], 2, 3),
        ([1, 1, 1, 3], 2, 4),
        ([5], 4, 5),
        ([2] * 5, 3, 4),
    ],
)
def test_workers_take_the_next_model_when_they_are_free(lengths, jobs, expected):
    assert finished_after(lengths, jobs) == expected


def test_an_epoch_is_its_images_its_validation_and_its_statistics():
    cost = training_cost([(3, timed(0.01, 0.002, 0.5))], 3, 100, 50, batch_size=8)
    assert cost.seconds == pytest.approx(3 * (100 * 0.01 + 50 * 0.002 + 0.5))
    assert (cost.num_steps, cost.num_timed) == (3 * 13, 20)


def test_phases_count_each_by_its_own_speed_and_a_head_alone_takes_nothing():
    phases = [(1, timed(0.01)), (4, timed(0.03))]  # of ten epochs of the head, one sees images
    cost = training_cost(phases, 14, 100, 0, batch_size=10)
    assert cost.seconds == pytest.approx(100 * (0.01 + 4 * 0.03))
    assert cost.num_steps == 140
    assert cost.step_seconds == pytest.approx(8 * (0.01 + 4 * 0.03) / 5)


def test_a_loss_that_is_not_finite_is_an_error():
    check_losses(timed(losses=[1.0, 2.0]), "student")
    with pytest.raises(KdtoolError, match=r"loss of the student is inf in step 2; lower learning"):
        check_losses(timed(losses=[1.0, float("inf")]), "student")


@pytest.mark.parametrize(
    ("needed", "total", "free", "jobs", "mark", "fix"),
    [
        (GB, 8 * GB, 4 * GB, 1, "ok", None),
        (GB, None, None, 1, "ok", None),
        (5 * GB, 8 * GB, 4 * GB, 1, "warning", "end other programs, or smaller batch_size"),
        (9 * GB, 8 * GB, 8 * GB, 1, "fails", "smaller batch_size or data.size"),
        (9 * GB, 8 * GB, 8 * GB, 4, "fails", "--jobs 3, smaller batch_size"),
    ],
)
def test_memory_is_compared_with_what_there_is(needed, total, free, jobs, mark, fix):
    found = judge_training_memory(needed, total, free, jobs)
    assert found.mark == mark
    assert found.fix is None if fix is None else found.fix.startswith(fix)


def test_what_can_be_detected_follows_the_share_of_images_that_differ():
    found = detectable_by(5, 1000)
    assert [one.share for one in found] == list(SHARES)
    assert found[0].visible == expected_visible(5, 1000)  # as on MNIST
    assert round(100 * found[0].visible, 1) == 1.1
    visible = [one.visible for one in found]
    assert visible == sorted(visible)
    assert expected_visible(1, 1000, SHARES[0]) == pytest.approx(expected_visible(1, 1000))
    assert SHARES[0] == TYPICAL.image + TYPICAL.rest
    # Where the difference is small beside the share, errors grow with its square root.
    wide, narrow = expected_visible(10, 10**6, 0.2), expected_visible(10, 10**6, 0.05)
    assert wide / narrow == pytest.approx(2, rel=0.02)


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    folder = tmp_path_factory.mktemp("forecast")
    (folder / "tiny.toml").write_text(RECIPE)
    recipe = load_recipe(folder / "tiny.toml")
    return open_run(Study(folder / "tiny"), recipe, "cpu", Silent())


LEARNS = [
    {},
    {"data.augment": ["shift"]},
    {"data.augment": ["shift"], "data.views": 2},
    {"distill.method": "dkd"},
    {"student.class_weights": "balanced", "student.sampling": "balanced"},
    {"student.mixup": 0.2, "student.label_smoothing": 0.1},
    {"student.optimizer": "sgd", "student.batch_size": 1000},
]


def test_a_step_that_takes_long_is_taken_once(opened):
    (phase,) = phases_of(opened.recipe.student, len(opened.splits.train))
    quick = time_steps(opened, "student", phase, QUICK)
    assert (quick.num_steps, len(quick.losses)) == (3, 4)
    once = time_steps(opened, "student", phase, replace(QUICK, most_seconds=0.0))
    assert (once.num_steps, len(once.losses)) == (1, 1)
    batch_size = opened.recipe.student.batch_size
    assert once.image_seconds == pytest.approx(once.step_seconds / batch_size)
    assert once.forward_seconds == pytest.approx(once.image_seconds / 3)


@pytest.mark.parametrize("settings", LEARNS, ids=str)
def test_steps_of_every_kind_are_timed(opened, settings):
    recipe = with_settings(opened.recipe, settings)
    run = open_run(opened.study, recipe, "cpu", Silent())
    (phase,) = phases_of(recipe.student, len(run.splits.train))
    found = time_steps(run, "student", phase)
    assert len(found.losses) == THOROUGH.num_warm + THOROUGH.num_steps
    assert all(loss > 0 for loss in found.losses)
    assert 0 < found.image_seconds < found.step_seconds
    assert found.forward_seconds > 0
