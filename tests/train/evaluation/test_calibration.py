from dataclasses import replace

import numpy as np
import pytest
from answers import evaluated, softmax
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from kdtool.train.evaluation.calibration import calibration, fit_temperature, reliability

CLASSES = ("a", "b", "c", "d")


def believable(num_images, *, temperature=1.0, seed=0):
    """Logits, and labels drawn with the probabilities that the logits give at `temperature`."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (num_images, len(CLASSES)))
    noise = rng.gumbel(size=logits.shape)  # the largest is drawn with the softmax's probability
    return logits.astype(np.float32), (logits / temperature + noise).argmax(axis=1)


def loss(logits, labels, temperature):
    return -log_softmax(logits / temperature, axis=1)[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature):
    logits, labels = believable(20_000, temperature=temperature)
    assert fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_two_logits_by_hand():
    # one logit ahead by 2, and right on 3 of 4: the odds of 3 are those of 2 / temperature
    logits = np.tile(np.array([[2.0, 0.0]]), (4, 1))
    assert fit_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(2 / np.log(3))


@given(seed=st.integers(0, 10_000))
def test_no_other_temperature_is_better(seed):
    logits, labels = believable(40, temperature=1.5, seed=seed)
    best = loss(logits, labels, fit_temperature(logits, labels))
    for other in np.geomspace(0.1, 100, 200):
        assert best <= loss(logits, labels, other) + 1e-6


@pytest.mark.parametrize("factor", [0.5, 4.0])
def test_the_temperature_grows_with_the_logits(factor):
    logits, labels = believable(500)
    expected = factor * fit_temperature(logits, labels)
    assert fit_temperature(factor * logits, labels) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labels", "temperature"),
    [
        ([0, 0, 1], 1.0),  # no mistake: no temperature can be fitted
        ([1, 1, 0], 100.0),  # all wrong: the least confident is the best
        ([0, 0, 0], 0.1),  # wrong by next to nothing, right by little: 1 / 460 is the optimum
    ],
)
def test_the_temperature_is_bounded(labels, temperature):
    logits = np.array([[0.01, 0.0], [0.01, 0.0], [0.0, 1e-4]])
    assert fit_temperature(logits, np.array(labels)) == temperature


def test_large_logits_overflow_nowhere():
    logits, labels = believable(500)
    assert fit_temperature(1e4 * logits, labels) == 100.0
    assert fit_temperature(10 * logits, labels) == pytest.approx(10, rel=0.2)


def test_scaling_calibrates_an_overconfident_model():
    logits, labels = believable(6000, temperature=2.5)
    model = evaluated("student", labels[:3000], CLASSES, logits[:3000])
    model = replace(model, validation_logits=logits[3000:])
    found = calibration(model, labels[3000:], labels[:3000])
    assert found.temperature == pytest.approx(2.5, rel=0.1)
    assert found.nll == pytest.approx(loss(logits[:3000], labels[:3000], found.temperature))
    assert found.nll < model.test.nll
    validation = logits[3000:], labels[3000:]
    assert found.validation_nll_before == pytest.approx(loss(*validation, 1.0))
    assert found.validation_nll_after == pytest.approx(loss(*validation, found.temperature))
    assert found.ece < 0.03 < model.test.ece
    assert [one.num_images for one in found.before] == [300] * 10
    assert all(one.confidence > one.accuracy for one in found.before[:5])
    assert all(one.confidence == pytest.approx(one.accuracy, abs=0.08) for one in found.after)


def test_reliability_by_hand():
    confidence = np.tile([0.95, 1.0, 0.6], 7).astype(np.float32)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    low, high = reliability(np.tile([0, 1, 0], 7), probabilities)
    # 21 images are two groups: seven of 0.6 and four of 0.95, then three of 0.95 and seven of 1
    assert (low.num_images, low.accuracy) == (11, 1.0)
    assert low.confidence == pytest.approx((7 * 0.6 + 4 * 0.95) / 11)
    assert (high.num_images, high.accuracy) == (10, 0.3)
    assert high.confidence == pytest.approx((3 * 0.95 + 7) / 10)


@given(seed=st.integers(0, 1000), num_images=st.integers(1, 300))
def test_the_groups_are_of_equal_size_and_hold_each_image_once(seed, num_images):
    logits, labels = believable(num_images, seed=seed)
    probabilities = softmax(logits)
    groups = reliability(labels, probabilities)
    sizes = [one.num_images for one in groups]
    assert sum(sizes) == num_images
    assert max(sizes) - min(sizes) <= 1
    assert [one.confidence for one in groups] == sorted(one.confidence for one in groups)
    mean = sum(one.num_images * one.accuracy for one in groups) / num_images
    assert mean == pytest.approx((probabilities.argmax(axis=1) == labels).mean())
