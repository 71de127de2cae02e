from pathlib import Path

import pytest
import torch
from torch import nn

from kdtool.recipe.load import load_recipe
from kdtool.recipe.training import PhaseTable, TrainTable
from kdtool.train.fit import optimizer as schedule
from kdtool.train.fit.optimizer import phases_of, rates

TABLE = TrainTable(model="mnist-mlp", epochs=3, min_steps=0, learning_rate=4e-3, batch_size=100)
PHASES = [
    PhaseTable(epochs=10, train="head"),
    PhaseTable(epochs=25, train="layer4+head", learning_rate=1e-4, schedule="cosine"),
]


def changed(**changes):
    return TABLE.model_copy(update=changes)


@pytest.mark.parametrize(
    ("num_images", "min_steps", "expected"),
    [(1000, 0, 3), (1000, 30, 3), (1000, 31, 4), (10, 31, 31), (101, 2, 3)],
)
def test_few_images_are_trained_for_more_epochs(num_images, min_steps, expected):
    assert schedule.epochs_to_train(changed(min_steps=min_steps), num_images) == expected


def test_the_epochs_of_a_recipe_are_exact_unless_it_sets_min_steps():
    table = TrainTable(model="mnist-mlp", epochs=3, batch_size=64)
    assert schedule.epochs_to_train(table, 264) == 3
    assert schedule.epochs_warning("teacher", table, 264) is None


def test_raised_epochs_are_a_warning():
    table = changed(min_steps=31)
    assert schedule.epochs_warning("student", table, 3100) is None
    assert schedule.epochs_warning("student", table, 1000) == (
        "student: 4 epochs instead of 3, to reach student.min_steps = 31; "
        "--set student.min_steps=0 trains 3"
    )
    phases = changed(phase=PHASES, min_steps=36)
    assert "teacher: 37 epochs instead of 35," in schedule.epochs_warning("teacher", phases, 100)


def test_a_table_without_phases_is_one():
    (phase,) = phases_of(changed(train="head", warmup=0.5), 1000)
    assert (phase.epochs, phase.train, phase.learning_rate, phase.warmup) == (3, "head", 4e-3, 0.5)


def test_a_phase_says_what_differs_from_its_table():
    first, second = phases_of(changed(phase=PHASES, warmup=2.0), 1000)
    assert (first.epochs, first.train, first.learning_rate) == (10, "head", 4e-3)
    assert (second.epochs, second.train, second.learning_rate) == (25, "layer4+head", 1e-4)
    assert (first.schedule, second.schedule, second.warmup) == ("constant", "cosine", 2.0)


def test_few_images_lengthen_all_phases_alike():
    lengths = [phase.epochs for phase in phases_of(changed(phase=PHASES, min_steps=70), 100)]
    assert lengths == [20, 50]
    assert schedule.epochs_to_train(changed(phase=PHASES, min_steps=36), 100) == 11 + 26


def test_the_cosine_schedule_is_that_of_pytorch():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], TABLE.learning_rate)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=12)
    (phase,) = phases_of(changed(schedule="cosine"), 1000)
    rate = rates(phase, 5, 4)
    for step in range(12):
        expected = optimizer.param_groups[0]["lr"]
        assert TABLE.learning_rate * rate(5 + step) == pytest.approx(expected)
        optimizer.step()
        reference.step()
    (constant,) = phases_of(TABLE, 1000)
    assert rates(constant, 0, 4)(7) == 1


def test_the_learning_rate_warms_up_in_a_line():
    (phase,) = phases_of(changed(warmup=1.5, schedule="cosine"), 1000)
    rate = rates(phase, 0, 4)
    assert [rate(step) for step in range(7)] == [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1]
    assert rate(9) == pytest.approx(0.5)
    assert all(rate(step) > 0 for step in range(12))


def test_a_warmup_may_be_longer_than_its_phase():
    (phase,) = phases_of(changed(warmup=6), 1000)
    assert rates(phase, 0, 4)(11) == 12 / 24


@pytest.mark.parametrize("warmup", [3, 6])
def test_steps_beyond_a_phase_that_is_all_warmup_have_a_rate(warmup):
    """Whoever times steps may take more of them than there are."""
    (phase,) = phases_of(changed(warmup=warmup, schedule="cosine"), 1000)
    assert phase.epochs == 3
    assert all(0 <= rates(phase, 0, 4)(step) <= 1 for step in range(50))


@pytest.mark.parametrize(
    ("name", "num_images", "expected"),
    [
        ("mnist", 3600, 27),  # 5,000 digits: 15 steps in an epoch, at least 400 steps
        ("mnist", 54_000, 12),
        ("mnist-2x5", 3600, 27),
    ],
)
def test_recipes_of_small_datasets_train_as_long_as_ever(name, num_images, expected):
    recipe = load_recipe(Path(__file__).parents[3] / "recipes" / f"{name}.toml")
    assert schedule.epochs_to_train(recipe.teacher, num_images) == expected
    assert schedule.epochs_to_train(recipe.student, num_images) == expected
