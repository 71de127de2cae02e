import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kdtool.recipe.training import TrainTable
from kdtool.train.data.splits import Split
from kdtool.train.fit.augment import VIEW_SEED, augment, view_maker
from kdtool.train.fit.batches import Training, batch_maker, batches, steps_per_epoch
from kdtool.train.models.networks import as_input

TABLE = TrainTable(model="mnist-mlp")


def split_of(labels):
    count = len(labels)
    images = torch.arange(count * 3 * 4 * 4).reshape(count, 3, 4, 4) % 256
    return Split(images.to(torch.uint8), torch.tensor(labels))


def made(split, augment=(), number=0, seed=0, views=None, **changes):
    training = Training(TABLE.model_copy(update=changes), seed, augment=augment, views=views)
    return batch_maker(split, training, 3)(number, torch.arange(len(split)))


def test_a_last_batch_of_one_image_is_left_out():
    split = split_of([0] * 9)
    assert [len(batch) for batch in batches(split, 4)] == [4, 4]
    assert [len(batch) for batch in batches(split, 7)] == [7, 2]
    assert [len(batch) for batch in batches(split, 100)] == [9]
    for batch_size in (1, 4, 7, 8, 9, 100):
        assert steps_per_epoch(9, batch_size) == len(batches(split, batch_size))


def test_balanced_sampling_draws_each_class_as_often():
    split = split_of([0] * 900 + [1] * 90 + [2] * 10)
    torch.manual_seed(0)
    drawn = torch.cat([torch.cat(batches(split, 100, "balanced")) for _ in range(10)])
    assert len(drawn) == 10_000
    shares = torch.bincount(split.labels[drawn], minlength=3) / len(drawn)
    assert shares.tolist() == pytest.approx([1 / 3] * 3, abs=0.02)
    assert len(set(drawn[split.labels[drawn] == 2].tolist())) == 10


def test_plain_batches_are_the_images_and_their_labels():
    split = split_of([0, 2, 1])
    batch = made(split)
    assert torch.equal(batch.images, split.images / 255)
    assert torch.equal(batch.targets, split.labels)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def test_label_smoothing_is_that_of_pytorch():
    batch = made(split_of([0, 2, 1]), label_smoothing=0.3)
    assert batch.targets.sum(dim=1).tolist() == pytest.approx([1.0] * 3)
    logits = torch.randn(3, 3)
    expected = F.cross_entropy(logits, torch.tensor([0, 2, 1]), label_smoothing=0.3)
    torch.testing.assert_close(F.cross_entropy(logits, batch.targets), expected)


def test_mixup_mixes_images_and_targets_by_one_share():
    split = split_of([0, 1, 2, 0, 1, 2])
    batch, plain = made(split, mixup=1.0), made(split)
    rng = np.random.default_rng([0, 0])
    share, partner = rng.beta(1, 1), rng.permutation(6)
    mixed = share * plain.images + (1 - share) * plain.images[partner]
    torch.testing.assert_close(batch.images, mixed, check_dtype=False)
    one_hot = F.one_hot(split.labels, 3).float()
    torch.testing.assert_close(batch.targets, share * one_hot + (1 - share) * one_hot[partner])


def test_what_is_drawn_depends_on_seed_and_step_alone():
    split, asked = split_of([0, 1, 2] * 20), ("crop:0.5", "flip", "rotate:20")
    first = made(split, asked, number=7, mixup=0.4)
    torch.rand(3)  # what a model draws changes nothing
    assert torch.equal(first.images, made(split, asked, number=7, mixup=0.4).images)
    assert not torch.equal(first.images, made(split, asked, number=8, mixup=0.4).images)
    assert not torch.equal(first.images, made(split, asked, number=7, seed=1, mixup=0.4).images)


ASKED = ("crop:0.5", "flip", "rotate:20", "contrast")


def test_a_view_is_what_one_augmentation_of_all_images_draws():
    split = split_of([0, 1, 2] * 20)
    view = view_maker(split, ASKED)
    index = torch.tensor([7, 3, 59, 7])
    for number in (0, 1):
        rng = np.random.default_rng([VIEW_SEED, number])
        expected = augment(as_input(split.images), ASKED, rng)[index]
        assert torch.equal(view(split.images[index], index, number), expected)


def test_views_are_the_same_for_every_seed_and_come_again_after_as_many_epochs():
    split, keys = split_of([0, 1, 2] * 20), {"views": 3, "batch_size": 25}  # 3 steps an epoch
    of_epoch = [made(split, ASKED, number=3 * epoch + 1, seed=epoch, **keys) for epoch in range(7)]
    assert [batch.view for batch in of_epoch] == [0, 1, 2, 0, 1, 2, 0]
    for epoch in range(1, 7):
        same = torch.equal(of_epoch[epoch].images, of_epoch[0].images)
        assert same == (epoch % 3 == 0)
    assert torch.equal(made(split, ASKED, number=0, **keys).images, of_epoch[0].images)
    assert made(split, ASKED, number=3).view == 0  # without views there is one


def test_mixup_mixes_views_by_the_draws_of_the_step():
    split, keys = split_of([0, 1, 2] * 2), {"views": 2, "batch_size": 6}
    batch, plain = made(split, ASKED, 1, mixup=1.0, **keys), made(split, ASKED, 1, **keys)
    rng = np.random.default_rng([0, 1])
    share, partner = rng.beta(1, 1), rng.permutation(6)
    mixed = share * plain.images + (1 - share) * plain.images[partner]
    torch.testing.assert_close(batch.images, mixed, check_dtype=False)
