from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from loading import load_splits
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from kdtool.errors import KdtoolError
from kdtool.recipe.data import DigitsTable
from kdtool.recipe.training import PhaseTable, TrainTable
from kdtool.train.data.splits import Split
from kdtool.train.fit import loop
from kdtool.train.fit.batches import Training, batch_maker
from kdtool.train.fit.losses import distillation_loss
from kdtool.train.fit.optimizer import make_optimizer, phases_of
from kdtool.train.models.device import choose_device, choose_precision, has_bf16
from kdtool.train.models.networks import build_model
from kdtool.train.models.predict import validate


@pytest.fixture(scope="module")
def splits():
    return load_splits(DigitsTable(source="digits"), print)


TABLE = TrainTable(
    model="mnist-cnn", epochs=3, batch_size=200, min_steps=0, learning_rate=4e-3, precision="fp32"
)


def label_loss(logits, batch):
    return F.cross_entropy(logits, batch.targets)


def train(splits, tmp_path, *, seed=0, table=TABLE, batch_loss=label_loss, name="a.state.pt"):
    model = build_model(table.model, splits.result.image_shape, len(splits.classes), seed)
    return loop.fit(
        model,
        splits,
        Training(table, seed),
        batch_loss,
        tmp_path / name,
        lambda _done, _text: None,
        print,
    )


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_training_learns_and_keeps_the_best_epoch(splits, tmp_path):
    result, weights = train(splits, tmp_path)
    assert [epoch.epoch for epoch in result.epochs] == [1, 2, 3]
    assert result.num_steps == 3 * 7  # 1,293 images in batches of 200
    assert result.best.validation_accuracy == max(e.validation_accuracy for e in result.epochs)
    assert result.best.validation_accuracy > 0.5
    model = build_model("mnist-cnn", (1, 8, 8), 10, seed=9)
    model.load_state_dict(weights)
    again = validate(model, splits.validation, 10)
    assert again.loss == pytest.approx(result.best.validation_loss)
    assert again.accuracy == again.score == result.best.validation_accuracy


def test_one_seed_gives_the_same_bits_and_another_does_not(splits, tmp_path):
    _, first = train(splits, tmp_path)
    torch.rand(3)  # a draw in between changes nothing
    _, again = train(splits, tmp_path, name="b.state.pt")
    _, other = train(splits, tmp_path, seed=1, name="c.state.pt")
    assert same(first, again)
    assert not same(first, other)


class StoppedError(Exception):
    pass


@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_a_run_that_was_cut_off_ends_in_the_same_bits(splits, tmp_path, optimizer, precision):
    table = TABLE.model_copy(
        update={"optimizer": optimizer, "schedule": "cosine", "precision": precision}
    )
    whole, expected = train(splits, tmp_path, table=table)
    steps = 0

    def cut_off(logits, batch):
        nonlocal steps
        steps += 1
        if steps == 7 + 3:  # in the middle of the second epoch
            raise StoppedError
        return label_loss(logits, batch)

    with pytest.raises(StoppedError):
        train(splits, tmp_path, table=table, batch_loss=cut_off, name="b.state.pt")
    resumed, weights = train(splits, tmp_path, table=table, name="b.state.pt")
    assert same(weights, expected)
    assert [e.validation_loss for e in resumed.epochs] == [e.validation_loss for e in whole.epochs]


def test_control_and_student_see_the_same_batches(splits, tmp_path):
    seen = {"control": [], "student": []}

    def watch(name):
        def batch_loss(logits, batch):
            seen[name].append(batch.index.clone())
            return label_loss(logits, batch) * (1 if name == "control" else 2)

        return batch_loss

    for name in seen:
        train(splits, tmp_path, batch_loss=watch(name), name=f"{name}.state.pt")
    assert len(seen["control"]) == 21
    assert all(torch.equal(a, b) for a, b in zip(*seen.values(), strict=True))
    for epoch in range(3):
        images = torch.cat(seen["control"][7 * epoch : 7 * epoch + 7])
        assert torch.equal(images.sort().values, torch.arange(len(splits.train)))
    assert not torch.equal(seen["control"][0], seen["control"][7])


def test_targets_are_found_by_image_whatever_the_order(splits, tmp_path):
    """A student that is given the label as soft target learns only if the rows fit."""
    targets = 10 * F.one_hot(splits.train.labels, 10).float()

    def batch_loss(logits, batch):
        soft = targets[batch.index]
        assert torch.equal(soft.argmax(dim=1), batch.targets)
        return distillation_loss(logits, soft, batch.targets, 10, 4.0, 1.0)

    table = TABLE.model_copy(update={"model": "mnist-mlp"})
    result, _ = train(splits, tmp_path, table=table, batch_loss=batch_loss)
    assert result.best.validation_accuracy > 0.9


def test_a_loss_that_is_not_finite_stops_with_epoch_and_step(splits, tmp_path):
    steps = 0

    def batch_loss(logits, batch):
        nonlocal steps
        steps += 1
        return label_loss(logits, batch) * (float("nan") if steps == 9 else 1)

    with pytest.raises(KdtoolError, match=r"the loss is nan in epoch 2, step 2 of 7; lower"):
        train(splits, tmp_path, batch_loss=batch_loss)


def test_a_state_that_would_run_code_or_is_torn_is_refused(splits, tmp_path):
    (tmp_path / "a.state.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(KdtoolError, match="cannot resume from"):
        train(splits, tmp_path)


def test_a_device_that_is_absent():
    absent = "cuda" if not torch.cuda.is_available() else "mps"
    with pytest.raises(KdtoolError, match=f"got --device {absent}, but PyTorch finds only"):
        choose_device(absent)
    with pytest.raises(KdtoolError, match="got --device gpu, expected auto, cpu, cuda or mps"):
        choose_device("gpu")
    assert choose_device("cpu").type == "cpu"


def test_one_of_several_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    for name in ("cuda", "auto"):
        assert choose_device(name) == torch.device("cuda")
    for absent in ("cuda:2", "cuda:7", "cuda:", "cuda:-1", "cpu:0", "mps"):
        with pytest.raises(
            KdtoolError, match=f"^got --device {absent}, but PyTorch finds only cuda and cpu on"
        ):
            choose_device(absent)


def test_fp32_is_what_is_asked_for():
    assert choose_precision("fp32", torch.device("cpu"), nn.Linear(1, 1)) == "fp32"
    with pytest.raises(KdtoolError, match="no bf16 instructions"):
        choose_precision("bf16", torch.device("mps"), nn.Linear(1, 1))


def test_bf16_is_for_networks_that_it_makes_faster():
    cpu = torch.device("cpu")
    plain, depthwise = nn.Conv2d(8, 8, 3), nn.Sequential(nn.Conv2d(8, 8, 3, groups=8))
    assert choose_precision("auto", cpu, plain) == ("bf16" if has_bf16(cpu) else "fp32")
    assert choose_precision("auto", cpu, depthwise) == "fp32"


PHASED = TABLE.model_copy(
    update={
        "phase": [
            PhaseTable(epochs=2, train="head", learning_rate=1e-2),
            PhaseTable(epochs=2, schedule="cosine", warmup=0.5, backbone_learning_rate=1e-3),
        ],
        "ema": 0.9,
        "mixup": 0.2,
        "label_smoothing": 0.1,
        "sampling": "balanced",
    }
)


def test_a_run_of_phases_that_was_cut_off_ends_in_the_same_bits(splits, tmp_path):
    whole, expected = train(splits, tmp_path, table=PHASED)
    assert [epoch.phase for epoch in whole.epochs] == [1, 1, 2, 2]
    for stop in (1, 2, 3):  # within a phase, between two, and within the second
        steps = 0

        def cut_off(logits, batch, stop=stop):
            nonlocal steps
            steps += 1
            if steps == 7 * stop + 1:
                raise StoppedError
            return label_loss(logits, batch)

        name = f"{stop}.state.pt"
        with pytest.raises(StoppedError):
            train(splits, tmp_path, table=PHASED, batch_loss=cut_off, name=name)
        _, weights = train(splits, tmp_path, table=PHASED, name=name)
        assert same(weights, expected)


def fit(model, splits, tmp_path, batch_loss=label_loss, augment=(), **changes):
    training = Training(TABLE.model_copy(update=changes), seed=0, augment=augment)
    return loop.fit(model, splits, training, batch_loss, tmp_path / "b.pt", lambda *_: None, print)


def small_network():
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2)]
    return nn.Sequential(nn.Sequential(*body), nn.Flatten(), nn.Linear(32, 10))


def test_the_images_of_a_step_begin_to_be_read_before_those_of_the_step_before_are_taken(
    splits, tmp_path
):
    calls = []

    class Watched(Split):
        def batch(self, index):
            calls.append(("taken", index.tolist()))
            return super().batch(index)

        def expect(self, index):
            calls.append(("expected", index.tolist()))
            super().expect(index)

    watched = replace(splits, train=Watched(splits.train.images, splits.train.labels))
    table = TABLE.model_copy(update={"model": "mnist-mlp", "epochs": 2})
    train(watched, tmp_path, table=table)
    taken = [index for what, index in calls if what == "taken"]
    assert len(taken) == 2 * 7
    for epoch in (taken[:7], taken[7:]):
        for now, later in pairwise(epoch):
            assert calls.index(("expected", later)) < calls.index(("taken", now))


def test_averaged_weights_are_tested_and_kept(splits, tmp_path):
    model, learned = small_network(), []

    def batch_loss(logits, batch):  # sees the weights before its step
        learned.append({name: value.detach().clone() for name, value in model.named_parameters()})
        return label_loss(logits, batch)

    result, found = fit(model, splits, tmp_path, batch_loss, epochs=1, ema=0.7)
    learned = [*learned[1:], dict(model.named_parameters())]
    for name in learned[0]:
        average = learned[0][name]
        for value in learned[1:]:
            average = 0.7 * average + 0.3 * value[name]
        torch.testing.assert_close(found[name], average)
    averaged = small_network()
    averaged.load_state_dict(found)
    assert validate(averaged, splits.validation, 10).loss == result.best.validation_loss
    assert validate(model, splits.validation, 10).loss != result.best.validation_loss


def test_the_loss_of_an_epoch_weighs_each_image_alike(splits, tmp_path):
    """1,294 images in batches of 200: the last batch has 94, the rest 200."""
    sums, sizes = [], []

    def batch_loss(logits, batch):
        loss = label_loss(logits, batch) * (3 if len(batch.index) == 94 else 1)
        sums.append(loss.item() * len(batch.index))
        sizes.append(len(batch.index))
        return loss

    result, weights = fit(small_network(), splits, tmp_path, batch_loss, epochs=1)
    assert sizes == [200] * 6 + [94]
    assert result.best.train_loss == pytest.approx(sum(sums) / 1294, rel=1e-6)
    assert result.best.train_loss != pytest.approx(
        sum(loss / size for loss, size in zip(sums, sizes, strict=True)) / 7, rel=1e-3
    )
    model = small_network()
    model.load_state_dict(weights)
    with torch.no_grad():
        logits = model.eval()(splits.validation.images / 255)
    each = F.cross_entropy(logits, splits.validation.labels, reduction="none")
    assert len(each) > 128  # more than one batch of validation, the last of another size
    assert result.best.validation_loss == pytest.approx(each.mean().item(), rel=1e-5)


def test_frozen_parts_keep_their_bits(splits, tmp_path):
    start = small_network().state_dict()
    _, found = fit(small_network(), splits, tmp_path, epochs=2, train="head")
    changed = {name for name, value in start.items() if not torch.equal(value, found[name])}
    assert changed == {"2.weight", "2.bias"}


def test_images_to_learn_from_are_augmented_and_others_never(splits, tmp_path):
    model, seen = small_network(), []

    def batch_loss(logits, batch):
        seen.append((batch.images, splits.train.images[batch.index] / 255))
        return label_loss(logits, batch)

    augment = ["rotate:180", "brightness:0.9"]
    result, _ = fit(model, splits, tmp_path, batch_loss, augment, epochs=1)
    assert not any(torch.equal(images, plain) for images, plain in seen)
    with torch.no_grad():
        logits = model.eval()(splits.validation.images / 255)
    loss = F.cross_entropy(logits, splits.validation.labels).item()
    assert loss == pytest.approx(result.best.validation_loss, rel=1e-5)


def test_training_stops_early_when_nothing_gets_better(splits, tmp_path):
    table = TABLE.model_copy(update={"early_stop": 2, "epochs": 20, "learning_rate": 1e-12})
    result, _ = train(splits, tmp_path, table=table)
    assert len(result.epochs) - result.best_epoch == 2
    assert result.num_steps == 7 * len(result.epochs) < 7 * 20


def test_early_phases_run_whole(splits, tmp_path):
    phase = [PhaseTable(epochs=4, learning_rate=1e-12), PhaseTable(epochs=5, learning_rate=1e-12)]
    table = TABLE.model_copy(update={"early_stop": 1, "phase": phase})
    result, _ = train(splits, tmp_path, table=table)
    assert len(result.epochs) == 5


def test_a_batch_that_does_not_fit_into_memory_is_an_error_with_sizes(splits, tmp_path):
    def batch_loss(logits, batch):
        torch.empty(2**60)
        return label_loss(logits, batch)

    with pytest.raises(KdtoolError, match=r"a batch of 200 images of 8 x 8 .*batch_size=100"):
        train(splits, tmp_path, batch_loss=batch_loss)


@pytest.mark.parametrize(("seconds", "num_saves"), [(0, 3), (3600, 0)])
def test_a_state_is_saved_after_an_epoch_if_the_last_was_saved_long_enough_ago(
    splits, tmp_path, monkeypatch, seconds, num_saves
):
    saved = []
    monkeypatch.setattr("kdtool.train.fit.state.SECONDS_BETWEEN_SAVES", seconds)
    monkeypatch.setattr("kdtool.train.fit.state.save_state", lambda path, _: saved.append(path))
    train(splits, tmp_path)
    assert saved == [tmp_path / "a.state.pt"] * num_saves


@pytest.mark.parametrize(("rate", "epochs", "num_warnings"), [(0, 4, 1), (0, 3, 0), (0.004, 4, 0)])
def test_a_model_at_chance_after_half_of_its_epochs_is_a_warning(
    splits, tmp_path, rate, epochs, num_warnings
):
    training = Training(TABLE.model_copy(update={"learning_rate": rate, "epochs": epochs}), seed=0)
    model = build_model(TABLE.model, splits.result.image_shape, len(splits.classes), 0)
    warned = []
    loop.fit(model, splits, training, label_loss, tmp_path / "c.pt", lambda *_: None, warned.append)
    assert len(warned) == num_warnings
    for text in warned:
        assert "after half of its epochs it recognizes" in text
        assert "try a learning_rate of 0 (it is 0), more epochs" in text


def test_a_loss_gets_logits_in_float32_where_the_network_computes_in_bf16(splits):
    model = build_model("mnist-mlp", splits.result.image_shape, 10, seed=0)
    seen = []

    def batch_loss(logits, batch):
        seen.append((logits.dtype, batch.step))
        return label_loss(logits, batch)

    table = TABLE.model_copy(update={"model": "mnist-mlp"})
    (phase,) = phases_of(table, len(splits.train))
    optimizer = make_optimizer(model, table, phase, 10)
    make_batch = batch_maker(splits.train, Training(table, seed=0), 10)
    step = loop.training_step(
        model, optimizer, make_batch, batch_loss, lambda _: 1.0, loop.Passes("bf16")
    )
    for number in range(2):
        step(number, torch.arange(8))
    assert seen == [(torch.float32, 0), (torch.float32, 1)]


class Recomputed(nn.Module):
    """Weights times dropped ones, which the backward pass computes again."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(10))
        self.own, self.drop, self.seen = nn.Dropout(0.5), F.dropout, []

    def forward(self, images):
        ones = images.new_ones(len(images), 10)

        def compute(weight):
            return weight * self.own(ones) + self.drop(weight * ones)

        logits = checkpoint(compute, self.weight, use_reentrant=False)
        self.seen.append(logits.detach())
        return logits


def test_what_the_backward_pass_computes_again_is_dropped_alike(splits):
    model = Recomputed().train()
    step = loop.training_step(
        model,
        torch.optim.SGD([{"params": model.parameters(), "full_lr": 0.0}]),
        batch_maker(splits.train, Training(TABLE, seed=0), 10),
        lambda logits, _batch: logits.sum(),
        lambda _: 1.0,
        loop.Passes("fp32"),
    )
    step(0, torch.arange(8))
    assert model.seen[0].unique().tolist() == [0, 2, 4]
    torch.testing.assert_close(model.weight.grad, model.seen[0].sum(dim=0))
