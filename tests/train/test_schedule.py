import pytest
import torch
from torch import nn

from kdtool.recipe_train import TrainTable
from kdtool.train import schedule
from kdtool.train.data.splits import Split

TABLE = TrainTable(model="mnist-mlp", epochs=3, min_steps=0, learning_rate=4e-3)


def test_a_last_batch_of_one_image_is_left_out():
    split = Split(torch.zeros(9, 1, 2, 2, dtype=torch.uint8), torch.zeros(9, dtype=torch.int64))
    assert [len(batch) for batch in schedule.batches(split, 4)] == [4, 4]
    assert [len(batch) for batch in schedule.batches(split, 7)] == [7, 2]
    assert [len(batch) for batch in schedule.batches(split, 100)] == [9]
    for batch_size in (1, 4, 7, 8, 9, 100):
        assert schedule.steps_per_epoch(9, batch_size) == len(schedule.batches(split, batch_size))


@pytest.mark.parametrize(
    ("num_images", "min_steps", "expected"),
    [(1000, 0, 3), (1000, 30, 3), (1000, 31, 4), (10, 31, 31), (101, 2, 3)],
)
def test_few_images_are_trained_for_more_epochs(num_images, min_steps, expected):
    table = TABLE.model_copy(update={"epochs": 3, "batch_size": 100, "min_steps": min_steps})
    assert schedule.epochs_to_train(table, num_images) == expected


def test_the_fused_optimizers_are_those_of_pytorch():
    for name, plain in (("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)):
        table = TABLE.model_copy(update={"optimizer": name, "weight_decay": 0.01})
        models = [nn.Linear(5, 3) for _ in "ab"]
        models[1].load_state_dict(models[0].state_dict())
        extra = {"momentum": 0.9} if name == "sgd" else {}
        optimizers = [
            schedule.make_optimizer(models[0], table),
            plain(models[1].parameters(), table.learning_rate, weight_decay=0.01, **extra),
        ]
        inputs = torch.randn(3, 4, 5)
        for batch in inputs:
            for model, optimizer in zip(models, optimizers, strict=True):
                optimizer.zero_grad()
                model(batch).square().sum().backward()
                optimizer.step()
        torch.testing.assert_close(models[0].weight, models[1].weight)


def test_the_cosine_schedule_is_that_of_pytorch():
    table = TABLE.model_copy(update={"schedule": "cosine"})
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], table.learning_rate)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    for step in range(10):
        expected = optimizer.param_groups[0]["lr"]
        assert schedule.learning_rate(table, step / 10) == pytest.approx(expected)
        optimizer.step()
        reference.step()
    assert schedule.learning_rate(TABLE, 0.7) == TABLE.learning_rate
