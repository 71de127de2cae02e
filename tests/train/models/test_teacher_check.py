"""Teachers that know nothing, or have their classes in another order, are found out."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from loading import load_splits
from torch import nn

from kdtool.errors import KdtoolError
from kdtool.recipe.data import DigitsTable
from kdtool.train.data.splits import Split
from kdtool.train.models.networks import as_input
from kdtool.train.models.trained_teacher import (
    InOrder,
    better_order,
    chance_warning,
    check_trained,
    sampled,
)


@pytest.fixture(scope="module")
def digits():
    return load_splits(DigitsTable(source="digits"), print)


def make_net(num_classes=10):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, num_classes))


def learn(split, num_classes=10):
    """A network trained on all images at once: a fraction of a second."""
    net = make_net(num_classes)
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(as_input(split.images)), split.labels).backward()
        optimizer.step()
    return net


@pytest.fixture(scope="module")
def trained(digits):
    return learn(digits.validation)  # so that the train images are new to it


def test_a_good_teacher_passes(digits, trained):
    check_trained(trained, [digits.train, digits.validation], digits.classes)


@pytest.mark.parametrize(
    "outputs", ["1234567890", "0123457689", "9876543210"], ids=["rotated", "two", "reversed"]
)
def test_the_order_found_corrects_a_permuted_head(digits, trained, outputs):
    shuffled = InOrder(trained, digits.classes, list(outputs))  # output i is class outputs[i]
    with pytest.raises(
        KdtoolError, match="teacher outputs are in a different class order"
    ) as raised:
        check_trained(shuffled, [digits.train], digits.classes)
    assert "still low" not in str(raised.value)
    line = re.search(r"teacher\.classes = (\[.*\])", str(raised.value))[1]
    assert json.loads(line) == list(outputs)
    check_trained(
        InOrder(shuffled, json.loads(line), digits.classes), [digits.train], digits.classes
    )


def test_names_given_in_the_wrong_order_are_corrected_among_all_outputs(digits, trained):
    wide = nn.Sequential(trained, nn.ConstantPad1d((2, 0), -9))  # two outputs of no class before
    right = ["cat", "dog", *digits.classes]
    check_trained(InOrder(wide, right, digits.classes), [digits.train], digits.classes)
    wrong = ["cat", "dog", *"0132456789"]
    with pytest.raises(
        KdtoolError, match="output 4 is 2, expected 3, output 5 is 3, expected 2"
    ) as raised:
        check_trained(InOrder(wide, wrong, digits.classes), [digits.train], digits.classes)
    assert json.dumps(right) in str(raised.value)


class Constant(nn.Module):
    def forward(self, images):
        return torch.eye(10)[3].expand(len(images), 10)


class WrongScale(nn.Module):
    """As if pixels were taken for those of a negative."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        return self.net(50 * (0.5 - images))


def test_a_model_at_chance_is_refused_as_teacher(digits, trained):
    splits = [digits.train]
    with pytest.raises(KdtoolError, match=r"recognizes 10\.0% .* chance, 10\.0%: .*normalize"):
        check_trained(Constant(), splits, digits.classes)
    with pytest.raises(KdtoolError, match=r"teacher\.normalize"):
        check_trained(WrongScale(trained), splits, digits.classes)
    with pytest.raises(
        KdtoolError, match="still low: check that it is trained, and that its images"
    ):
        check_trained(make_net(), splits, digits.classes)


def test_a_teacher_trained_here_is_only_warned_of(digits, trained):
    assert chance_warning(trained, digits.validation, 10) is None
    assert "train it longer" in chance_warning(Constant(), digits.validation, 10)
    with_subclasses = nn.Sequential(trained, Doubled())
    assert chance_warning(with_subclasses, digits.validation, 10) is None


class OddsOfBrightness(nn.Module):
    """Gives the second of two classes 3 to 8 %, the more the brighter the image; or the fewer."""

    def __init__(self, sign=1):
        super().__init__()
        self.sign = sign

    def forward(self, images):
        odds = self.sign * images.mean(dim=(1, 2, 3)).sub(0.5) - 3
        return torch.stack([torch.zeros_like(odds), odds], dim=1)


def test_a_teacher_that_never_calls_the_rare_class_may_know_it_all_the_same():
    rng = np.random.default_rng(0)
    labels = torch.from_numpy((np.arange(400) % 10 == 0).astype(np.int64))
    pixels = rng.normal(100 + 60 * labels.numpy()[:, None, None, None], 20, (400, 1, 4, 4))
    split = Split(torch.from_numpy(pixels.clip(0, 255).astype(np.uint8)), labels)
    check_trained(OddsOfBrightness(), [split], ["a", "b"])
    assert chance_warning(OddsOfBrightness(), split, 2) is None
    with pytest.raises(KdtoolError, match=r"recognizes 50\.0%"):
        check_trained(OddsOfBrightness(sign=-1), [split], ["a", "b"])
    assert "train it longer" in chance_warning(OddsOfBrightness(sign=-1), split, 2)


class Doubled(nn.Module):
    def forward(self, logits):
        return logits.repeat_interleave(2, dim=1)


def test_two_classes_that_are_swapped_are_found_although_one_is_rare():
    generator = np.random.default_rng(0)
    labels = (generator.random(600) < 0.1).astype(np.int64)
    swapped = np.where(generator.random(600) < 0.9, 1 - labels, labels)
    assert better_order(labels, swapped, 2) == [1, 0]
    assert better_order(labels, 1 - swapped, 2) is None
    # always the common class's output of the other: right on 90 % when swapped, and knows nothing
    assert better_order(labels, np.ones(600, np.int64), 2) is None


def test_answers_at_random_have_no_better_order():
    """The best of 30! orders fits by chance; on other images it fits no better than any."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        labels, guesses = generator.integers(0, 30, (2, 2000))
        assert better_order(labels, guesses, 30) is None


def test_a_sample_has_its_share_of_every_class(digits):
    few = sampled([digits.train, digits.validation])
    assert len(few) == len(digits.train) + len(digits.validation)
    big = replace(
        digits.train,
        images=digits.train.images.repeat(4, 1, 1, 1),
        labels=digits.train.labels.repeat(4),
    )
    drawn = sampled([big])
    assert len(drawn) == 2000
    shares = [split.labels.bincount() / len(split) for split in (drawn, big)]
    torch.testing.assert_close(*shares, atol=1e-3, rtol=0)
    assert isinstance(drawn, Split)
