"""A head that learns from cached features ends as one whose images pass the network each time."""

import errno
import os
from dataclasses import replace

import pytest
import torch
from answers import splits_of
from torch import nn
from torch.nn import functional as F

from kdtool.recipe.training import PhaseTable, TrainTable
from kdtool.train.data.splits import Split
from kdtool.train.fit import loop
from kdtool.train.fit.batches import Training, batch_maker, batches
from kdtool.train.fit.cut import cut_of
from kdtool.train.fit.features import has_cut
from kdtool.train.fit.optimizer import freeze, make_optimizer, phases_of
from kdtool.train.models.networks import build_model
from kdtool.train.models.preprocess import Enlarge, Prepared

SHAPE, NUM_CLASSES, NUM_IMAGES = (3, 32, 32), 4, 22


class Trunk(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=4)
        self.fc = nn.Linear(8, NUM_CLASSES)

    def features(self, x):
        return self.conv(x).relu().mean((2, 3))

    def forward(self, x):
        return self.fc(self.features(x))


class FunctionalDropout(Trunk):
    def forward(self, x):
        return self.fc(F.dropout(self.features(x), 0.3, self.training)) * 2 + 1


class TwoHeads(Trunk):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, NUM_CLASSES)
        self.second = nn.Linear(8, NUM_CLASSES)

    def forward(self, x):
        x = self.features(x)
        return self.first(x) + self.second(x)


class Branching(Trunk):
    def forward(self, x):
        x = self.features(x)
        return self.fc(x if x.mean() > 0 else -x)


class Centred(Trunk):
    """Its images depend on each other."""

    def forward(self, x):
        x = self.features(x)
        return self.fc(x - x.mean(0))


class DrawsFirst(Trunk):
    def forward(self, x):
        return super().forward(x + 0.1 * torch.rand_like(x))


class OwnDraws(Trunk):
    def forward(self, x):
        return super().forward(x * (1 + next(self.draws)))

    draws = iter(range(1000))


USERS = (FunctionalDropout, TwoHeads, Branching, Centred, DrawsFirst, OwnDraws)


def network(name):
    """A network, with weights of seed 0."""
    for kind in USERS:
        if kind.__name__ == name:
            torch.manual_seed(0)
            return kind()
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    model = build_model(name, SHAPE, NUM_CLASSES, 0)
    return Prepared(Enlarge(40, 40), model) if name == "resnet8" else model


def splits():
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (NUM_IMAGES, *SHAPE), generator=generator, dtype=torch.uint8)
    labels = [number % NUM_CLASSES for number in range(NUM_IMAGES)]
    made, split = splits_of(labels, "abcd"), Split(images, torch.tensor(labels))
    result = made.result.model_copy(update={"image_shape": SHAPE})
    return replace(made, train=split, validation=split, test=split, result=result)


def training_of(num_epochs=3, *, train="head", views=None, memory=None, **keys):
    keys = {"batch_size": 8, "optimizer": "sgd", "learning_rate": 0.1, "precision": "fp32"} | keys
    table = TrainTable(model="any", phase=[PhaseTable(epochs=num_epochs, train=train)], **keys)
    augment = ("crop:0.5", "flip") if views else ()
    return Training(table, seed=5, augment=augment, views=views, memory=memory)


def batch_loss(logits, batch):
    return F.cross_entropy(logits, batch.targets)


def fitted(model, training, folder, warned=None):
    warn = ([] if warned is None else warned).append
    state = folder / "a.state.pt"
    return loop.fit(model, splits(), training, batch_loss, state, lambda _done, _text: None, warn)


def trained_whole(model, training):
    """Weights and loss after each epoch, of a loop in which all images pass the whole network."""
    data, (phase,) = splits(), phases_of(training.table, NUM_IMAGES)
    model.to(memory_format=torch.channels_last)
    frozen = freeze(model, phase.train, NUM_CLASSES)
    optimizer = make_optimizer(model, training.table, phase, NUM_CLASSES)
    make = batch_maker(data.train, training, NUM_CLASSES)
    step = loop.training_step(
        model, optimizer, make, batch_loss, lambda _: 1.0, loop.Passes("fp32")
    )
    found = []
    for epoch in range(phase.epochs):
        torch.manual_seed(training.seed * 1_000_003 + epoch + 1)
        loop.set_modes(model, frozen)
        order = batches(data.train, training.table.batch_size)
        losses = [
            float(step(epoch * len(order) + number, index)) * len(index)
            for number, index in enumerate(order)
        ]
        weights = {name: value.clone() for name, value in model.state_dict().items()}
        found.append((weights, sum(losses) / NUM_IMAGES))
    return found


def assert_same(found, expected):
    """The losses of all epochs, and the weights of the best.

    float32 sums batches of another size in another order: 22 images make two batches of 8, and one
    of 6, and an image may be in either.
    """
    result, weights = found
    losses = [epoch.train_loss for epoch in result.epochs]
    assert losses == pytest.approx([loss for _, loss in expected], rel=1e-5)
    for name, value in expected[result.best_epoch - 1][0].items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-6)


def cut_for_head(model):
    loop.set_modes(model, freeze(model, "head", NUM_CLASSES))
    return cut_of(model, SHAPE, torch.device("cpu"))


def images_through(model, run):
    """How many images pass the first convolution of a model."""
    seen = []
    first = next(part for part in model.modules() if isinstance(part, nn.Conv2d))
    handle = first.register_forward_pre_hook(lambda _part, given: seen.append(len(given[0])))
    run(model)
    handle.remove()
    return sum(seen)


# Networks from which features can be had, and with what part learns behind them.
CUT = [
    ("torchvision:mobilenet_v2", (1280,)),
    ("torchvision:resnet18", (512,)),
    ("torchvision:squeezenet1_1", (512, 1, 1)),  # its head is a convolution, before a pool
    ("timm:mobilenetv3_small_050", (1024,)),
    ("mnist-cnn", (64 * 13 * 13,)),  # dropout, and a frozen layer, before the head
    ("resnet8", (64,)),  # behind preprocessing
    ("FunctionalDropout", (8,)),
]


@pytest.mark.parametrize(("name", "shape"), CUT)
def test_a_head_that_learns_from_features_is_the_same(name, shape, tmp_path):
    training, model = training_of(), network(name)
    assert cut_for_head(model).shape == shape
    expected = trained_whole(network(name), training)
    assert_same(fitted(network(name), training, tmp_path), expected)


@pytest.mark.parametrize("views", [None, 2])
@pytest.mark.parametrize("name", ["mnist-cnn", "resnet8"])
def test_more_epochs_send_no_more_images_through_the_trunk(name, views, tmp_path):
    few, many = (
        images_through(
            network(name),
            lambda model, n=n: fitted(model, training_of(n, views=views), tmp_path / str(n)),
        )
        for n in (2, 6)
    )
    assert few == many >= (views or 1) * NUM_IMAGES


@pytest.mark.parametrize("name", [kind.__name__ for kind in USERS[1:]])
def test_what_cannot_be_cut_is_trained_whole(name, tmp_path):
    model, training = network(name), training_of(2)
    assert cut_for_head(model) is None
    assert not has_cut(network(name), frozenset(["head"]), NUM_CLASSES, SHAPE)
    if name != "OwnDraws":  # which no seed repeats
        assert_same(
            fitted(network(name), training, tmp_path), trained_whole(network(name), training)
        )


@pytest.mark.parametrize(
    "keys",
    [{"mixup": 0.5}, {"train": "all"}, {"train": "conv"}],
    ids=lambda keys: "-".join(keys.values()) if "train" in keys else "mixup",
)
def test_only_heads_on_fixed_images_learn_from_features(keys, tmp_path):
    few, many = (
        images_through(
            network("FunctionalDropout"),
            lambda model, n=n: fitted(model, training_of(n, **keys), tmp_path / str(n)),
        )
        for n in (2, 3)
    )
    assert many >= few + 2 * NUM_IMAGES


@pytest.mark.parametrize("keys", [{"label_smoothing": 0.2}, {"views": 2}, {"ema": 0.5}])
def test_features_go_with_smoothing_views_and_averages(keys, tmp_path):
    training = training_of(4, **keys)
    expected = trained_whole(network("mnist-cnn"), training)
    if "ema" in keys:  # the averaged weights are kept; their losses are those of the others
        result, _ = fitted(network("mnist-cnn"), training, tmp_path)
        losses = [epoch.train_loss for epoch in result.epochs]
        assert losses == pytest.approx([loss for _, loss in expected], rel=1e-5)
    else:
        assert_same(fitted(network("mnist-cnn"), training, tmp_path), expected)


def test_features_beyond_the_memory_are_in_a_file_that_is_gone_afterwards(tmp_path, monkeypatch):
    training, warned = training_of(), []
    _, expected = fitted(network("resnet8"), training, tmp_path)
    _, weights = fitted(
        network("resnet8"), replace(training, memory="0 MB"), tmp_path / "b", warned
    )
    assert not warned
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
    assert not [path for path in (tmp_path / "b").rglob("*") if "features" in path.name]

    def no_room(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", no_room)
    _, weights = fitted(
        network("resnet8"), replace(training, memory="0 MB"), tmp_path / "c", warned
    )
    torch.testing.assert_close(weights, expected, rtol=1e-4, atol=1e-6)
    assert "takes 5.63 kB: neither the memory nor" in warned[0]


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="features are in no file there")
def test_a_disk_that_keeps_a_deleted_file_while_it_is_mapped_has_room(tmp_path, monkeypatch):
    """NFS renames such a file, and a folder cannot be deleted that holds it."""

    def renamed(path, *, dir_fd=None):
        os.rename(path, f"{path}.nfs", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", renamed)
    warned = []
    fitted(network("mnist-cnn"), training_of(1, memory="0 MB"), tmp_path, warned)
    assert not warned


def test_a_training_that_was_cut_off_among_features_ends_in_the_same_bits(tmp_path):
    training, steps = training_of(4), []
    _, expected = fitted(network("mnist-cnn"), training, tmp_path)

    def cut_off(logits, batch):
        steps.append(batch.step)
        if len(steps) == 8:
            raise KeyboardInterrupt
        return batch_loss(logits, batch)

    state = tmp_path / "b.state.pt"
    rest = (state, lambda _done, _text: None, print)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(network("mnist-cnn"), splits(), training, cut_off, *rest)
    _, weights = loop.fit(network("mnist-cnn"), splits(), training, batch_loss, *rest)
    assert all(torch.equal(weights[name], value) for name, value in expected.items())
