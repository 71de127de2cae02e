"""The running statistics of what is validated and exported, against closed forms and torch."""

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from loading import load_splits
from torch import nn
from torch.nn import functional as F
from torch.optim.swa_utils import update_bn

from kdtool.recipe.data import DigitsTable, MnistTable
from kdtool.recipe.training import PhaseTable, TrainTable
from kdtool.train.fit import batch_norm, loop
from kdtool.train.fit.batch_norm import images_of, norm_layers, recompute_statistics, sample
from kdtool.train.fit.batches import Training
from kdtool.train.models.networks import build_model
from kdtool.train.models.predict import validate

TABLE = TrainTable(model="mnist-cnn", epochs=2, batch_size=200, min_steps=0, precision="fp32")


@pytest.fixture(scope="module")
def splits():
    return load_splits(DigitsTable(source="digits"), print)


def fit(model, splits, tmp_path, *, augment=(), name="a.state.pt", watch=None, **changes):
    training = Training(TABLE.model_copy(update=changes), seed=0, augment=augment)

    def batch_loss(logits, batch):
        if watch:
            watch()
        return F.cross_entropy(logits, batch.targets)

    return loop.fit(model, splits, training, batch_loss, tmp_path / name, lambda *_: None, print)


def network(*, momentum=0.1):
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, momentum=momentum), nn.ReLU()]
    second = [nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8, momentum=momentum), nn.ReLU()]
    return nn.Sequential(
        nn.Sequential(*body), nn.Sequential(*second), nn.Flatten(), nn.Linear(128, 10)
    )


def random_images(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * 3 + 1


def statistics(activations):
    """Mean and unbiased variance of each channel of `(B, C, ...)`."""
    by_channel = activations.transpose(0, 1).flatten(1)
    return by_channel.mean(dim=1), by_channel.var(dim=1, unbiased=True)


def test_statistics_are_mean_and_unbiased_variance_of_the_activations():
    model, images = network().train(), random_images(16, 1, 8, 8)
    recompute_statistics(model, norm_layers(model), [images])
    with torch.no_grad():
        first = model[0][0](images)
        second = model[1][0](F.relu(F.batch_norm(first, None, None, *affine(model[0][1]), True)))
    for layer, activations in ((model[0][1], first), (model[1][1], second)):
        mean, variance = statistics(activations)
        torch.testing.assert_close(layer.running_mean, mean)
        torch.testing.assert_close(layer.running_var, variance)


def affine(layer):
    return layer.weight, layer.bias


def test_several_batches_count_alike_as_with_update_bn_of_torch():
    model = network(momentum=0.01).train()
    reference = copy.deepcopy(model)
    batches = list(random_images(3, 16, 1, 8, 8))
    model[0][1].running_var.fill_(float("nan"))  # of a step that went wrong: it must not stay
    recompute_statistics(model, norm_layers(model), batches)
    update_bn(batches, reference)
    for name, value in reference.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)
    assert model[0][1].momentum == model[1][1].momentum == 0.01
    assert not any(part.training for part in model.modules())
    assert not model[0][1]._forward_pre_hooks


def test_dropout_and_layers_of_training_alone_add_nothing():
    class WithAuxiliaryHead(nn.Module):
        def __init__(self):
            super().__init__()
            self.dropout, self.norm, self.auxiliary = (
                nn.Dropout(0.5),
                nn.BatchNorm1d(4),
                nn.BatchNorm1d(4),
            )

        def forward(self, features):
            if self.training:
                self.auxiliary(features)
            return self.norm(self.dropout(features))

    model, features = WithAuxiliaryHead().train(), random_images(32, 4)
    model(features)
    before = {name: value.clone() for name, value in model.auxiliary.state_dict().items()}
    recompute_statistics(model, norm_layers(model), [features])
    mean, variance = statistics(features)
    torch.testing.assert_close(model.norm.running_mean, mean)
    torch.testing.assert_close(model.norm.running_var, variance)
    assert all(torch.equal(before[name], v) for name, v in model.auxiliary.state_dict().items())


def test_a_layer_that_is_used_twice_averages_both_uses():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(4)

        def forward(self, features):
            return self.norm(features) + self.norm(5 * features + 2)

    model, features = Twice().train(), random_images(32, 4)
    recompute_statistics(model, norm_layers(model), [features, features + 1])
    uses = [statistics(one) for x in (features, features + 1) for one in (x, 5 * x + 2)]
    means, variances = zip(*uses, strict=True)
    torch.testing.assert_close(model.norm.running_mean, torch.stack(means).mean(dim=0))
    torch.testing.assert_close(model.norm.running_var, torch.stack(variances).mean(dim=0))


def test_instance_norm_that_tracks_statistics_is_recomputed_too():
    model = nn.Sequential(nn.InstanceNorm2d(3, momentum=0.001, track_running_stats=True)).train()
    images = random_images(6, 3, 5, 5)
    recompute_statistics(model, norm_layers(model), [images])
    torch.testing.assert_close(model[0].running_mean, images.mean(dim=(0, 2, 3)))
    variance = images.var(dim=(2, 3), unbiased=True).mean(dim=0)
    torch.testing.assert_close(model[0].running_var, variance)


def test_frozen_layers_and_layers_without_statistics_are_not_named():
    model = network().train()
    model[0].eval()
    model.add_module("without", nn.BatchNorm1d(10, track_running_stats=False))
    assert norm_layers(model) == ["1.1"]
    plain = build_model("mnist-cnn", (1, 8, 8), 10, seed=0).train()
    assert norm_layers(plain) == []


def test_a_model_without_such_layers_is_left_alone():
    def refuse(*_):
        raise AssertionError("no images are needed")

    model = build_model("mnist-cnn", (1, 8, 8), 10, seed=0).train()
    refresh = batch_norm.statistics_of([], refuse, Training(TABLE, seed=0))
    refresh(model)
    recompute_statistics(model, [], map(refuse, [0]))
    assert model.training


def recomputed(model, splits, augment=()):
    """Statistics of a model over the images of its training, by torch's own function."""
    reference = copy.deepcopy(model)
    training = Training(TABLE, seed=0, augment=augment)
    index = sample(splits.train, training)
    update_bn(images_of(splits.train, index, 128, training), reference)
    return dict(reference.named_buffers())


@pytest.mark.parametrize("augment", [(), ("rotate:20", "brightness:0.3")])
@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_weights_that_are_kept_have_their_own_statistics(splits, tmp_path, ema, augment):
    changes = {"ema": ema, "mixup": 0.4, "augment": augment}
    result, weights = fit(network(momentum=0.001), splits, tmp_path, **changes)
    kept = network()
    kept.load_state_dict(weights)
    for name, value in recomputed(kept, splits, augment).items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-5)
    # and they were validated with them
    assert validate(kept, splits.validation, 10).loss == result.best.validation_loss
    assert validate(kept, splits.validation, 10).accuracy == result.best.validation_accuracy


def test_a_frozen_layer_keeps_the_bits_of_its_statistics(splits, tmp_path):
    model = network()
    model[0][1].running_mean.uniform_(-1, 1)
    start = copy.deepcopy(model.state_dict())
    phases = [PhaseTable(epochs=1, train="3"), PhaseTable(epochs=1, train="1+3")]
    _, found = fit(model, splits, tmp_path, phase=phases, ema=0.9)
    same = {name for name, value in start.items() if torch.equal(value, found[name])}
    assert same == {name for name in start if name.startswith("0.")}


class StoppedError(Exception):
    pass


def test_a_run_that_was_cut_off_ends_in_the_same_statistics(splits, tmp_path):
    changes = {"ema": 0.8, "epochs": 3, "augment": ("rotate:10",), "momentum": 0.9}
    whole, expected = fit(network(), splits, tmp_path, **changes)
    steps = iter(range(7 * 2 + 1))  # in the third epoch

    def stop():
        if next(steps, None) is None:
            raise StoppedError

    with pytest.raises(StoppedError):
        fit(network(), splits, tmp_path, name="b.state.pt", watch=stop, **changes)
    resumed, weights = fit(network(), splits, tmp_path, name="b.state.pt", **changes)
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert [e.validation_loss for e in resumed.epochs] == [e.validation_loss for e in whole.epochs]


def test_the_sample_is_bounded_and_has_the_classes_of_training(splits, monkeypatch):
    monkeypatch.setattr(batch_norm, "NUM_IMAGES", 300)
    index = sample(splits.train, Training(TABLE, seed=0))
    assert len(index) == len(set(index.tolist())) == 300
    assert torch.equal(index, sample(splits.train, Training(TABLE, seed=0)))
    assert not torch.equal(index, sample(splits.train, Training(TABLE, seed=1)))
    rare = splits.train.only((splits.train.labels > 0) | (torch.arange(len(splits.train)) < 100))
    balanced = Training(TABLE.model_copy(update={"sampling": "balanced"}), seed=0)
    share = (rare.labels[sample(rare, balanced)] == 0).float().mean().item()
    assert share == pytest.approx(0.1, abs=0.06)  # of 10 classes, though 1 % of the images


def test_no_batch_has_a_single_image(splits):
    training = Training(TABLE, seed=0)
    for num_images, size, expected in ((7, 3, [3, 2, 2]), (3, 2, [3]), (5, 1, [3, 2]), (1, 8, [1])):
        batches = images_of(splits.train, torch.arange(num_images), size, training)
        assert [len(images) for images in batches] == expected


class StaleNorm(nn.Module):
    """Normalizes by the batch in training, and in eval mode by statistics that never move."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("mean", torch.full((channels, 1, 1), 3.0))

    def forward(self, features):
        mean = features.mean(dim=(0, 2, 3), keepdim=True)[0] if self.training else self.mean
        return features - mean


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_model_far_worse_in_eval_mode_raises_an_alarm(splits, tmp_path, ema):
    model = network()
    model[1][1] = StaleNorm(8)
    result, weights = fit(model, splits, tmp_path, epochs=6, ema=ema, learning_rate=4e-3)
    (warning,) = result.warnings
    assert "of its own training images in eval mode" in warning
    assert "Try a larger batch_size or a lower learning_rate" in warning
    assert torch.equal(weights["1.1.mean"], torch.full((8, 1, 1), 3.0))


@pytest.mark.parametrize("momentum", [0.1, 0.0003])
def test_a_model_that_learns_or_does_not_raises_no_alarm(splits, tmp_path, momentum):
    for rate in (4e-3, 1e-12):
        model = network(momentum=momentum)
        result, _ = fit(model, splits, tmp_path, name=f"{rate}.pt", epochs=6, learning_rate=rate)
        assert result.warnings == []
        assert (result.best.validation_accuracy > 0.9) == (rate == 4e-3)


@pytest.mark.nightly
def test_the_student_of_the_folder_recipe_learns_a_few_hundred_digits(tmp_path):
    """With the statistics that its momentum of 0.01 leaves, it ends at the largest class."""
    digits = load_splits(MnistTable(source="mnist", offline="mnist-5k"), lambda _text: None)

    def three_classes(split, count):
        kept = torch.cat([torch.where(split.labels == c)[0][: count // (1 + c)] for c in range(3)])
        return replace(split, images=split.images[kept], labels=split.labels[kept])

    train, validation = three_classes(digits.train, 180), three_classes(digits.validation, 40)
    result = digits.result
    few = SimpleNamespace(
        train=train, validation=validation, classes=("0", "1", "2"), positive=None, result=result
    )
    model = build_model("torchvision:mobilenet_v3_small", (1, 28, 28), 3, seed=0)
    largest = 40 / len(validation)
    training, _ = fit(model, few, tmp_path, epochs=20, batch_size=32)
    assert largest > 0.5
    assert training.best.validation_accuracy > 0.9
    assert training.warnings == []
