from dataclasses import replace

import numpy as np
import pytest
from answers import evaluated, softmax
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax

from kdtool.train.evaluation.calibration import calibration, fit_temperature, reliability
from kdtool.train.evaluation.evaluate import calibration_error

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
    for bins, error in ((found.before, model.test.ece), (found.after, found.ece)):
        gaps = [one.num_images * abs(one.confidence - one.accuracy) for one in bins]
        assert sum(gaps) / 3000 == pytest.approx(error, abs=1e-6)


def test_reliability_by_hand():
    confidence = np.array([0.95, 1.0, 0.6], np.float32)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    low, high = reliability(np.array([0, 1, 0]), probabilities)
    assert (low.num_images, low.accuracy, low.confidence) == (1, 1.0, pytest.approx(0.6))
    # the last of 15 bins is above 14 / 15, and holds 1 itself
    assert (high.num_images, high.accuracy, high.confidence) == (2, 0.5, pytest.approx(0.975))


@given(seed=st.integers(0, 1000))
def test_the_bins_are_those_of_the_calibration_error(seed):
    logits, labels = believable(60, seed=seed)
    probabilities = softmax(logits)
    bins = reliability(labels, probabilities)
    gaps = [one.num_images * abs(one.confidence - one.accuracy) for one in bins]
    assert sum(gaps) / 60 == pytest.approx(calibration_error(labels, probabilities))
    assert sum(one.num_images for one in bins) == 60
