"""From which probability on a model should answer: by hand, and for any model."""

import numpy as np
import pytest
from answers import evaluated
from hypothesis import given
from hypothesis import strategies as st

from kdtool.train.evaluation.coverage import answered, coverage, curve, threshold_that_halves


def test_by_hand():
    # 100 images: 60 sure and right, 20 less sure with 4 mistakes, 20 unsure with 16
    confidence = np.repeat([0.99, 0.805, 0.501], [60, 20, 20])
    right = np.repeat([True, True, False, True, False], [60, 16, 4, 4, 16])
    # of all 20 % are wrong; without the unsure ones 4 of 80: the first step above 0.501
    assert threshold_that_halves(confidence, right) == pytest.approx(0.51)
    found = answered(confidence, right, 0.51)
    assert (found.num_answered, found.share, found.accuracy) == (80, 0.8, 0.95)
    assert [one.num_answered for one in curve(confidence, right)] == [100, 80, 60]
    assert [one.accuracy for one in curve(confidence, right)] == [0.8, 0.95, 1.0]


@pytest.mark.parametrize(
    ("confidence", "right"),
    [
        (np.full(50, 0.9), np.arange(50) >= 9),  # nine mistakes are too few to halve
        (np.full(50, 0.9), np.arange(50) >= 20),  # as sure of its mistakes as of the others
        (np.repeat([0.999, 0.6], [20, 80]), np.arange(100) >= 20),  # surest where it is wrong
        (np.repeat([0.9, 0.6], [40, 100]), np.arange(140) < 60),  # 40 answers show too little
    ],
)
def test_where_no_threshold_helps_none_is_chosen(confidence, right):
    assert threshold_that_halves(confidence, right) is None


def test_the_threshold_is_chosen_on_validation_and_measured_on_test():
    # logits of two classes: the larger probability of class 0 is that of the difference
    margin = np.repeat([4.0, 0.4], [80, 40])
    logits = np.stack([margin, np.zeros_like(margin)], axis=1)
    validation_labels = np.repeat([0, 1, 0], [80, 20, 20])
    test_labels = np.repeat([0, 1, 0], [78, 2 + 10, 30])
    model = evaluated("student", test_labels, ["a", "b"], logits)
    found = coverage(model, validation_labels, test_labels, temperature=1.0)
    sure = 1 / (1 + np.exp(-0.4))  # 0.599: refused from 0.60 on
    assert found.chosen.threshold == 0.6 > sure
    assert (found.chosen.num_answered, found.chosen.accuracy) == (80, 1.0)
    assert (found.test.num_answered, found.test.accuracy) == (80, 78 / 80)
    low, high = found.test_ci95
    assert low < 78 / 80 < high
    # of scaled probabilities the threshold is another, and the answered images are the same
    softer = coverage(model, validation_labels, test_labels, temperature=2.0)
    assert softer.chosen.threshold == 0.55
    assert softer.test.num_answered == 80


@given(seed=st.integers(0, 1000), num_images=st.integers(1, 200))
def test_the_curve_begins_with_all_images_and_falls(seed, num_images):
    random = np.random.default_rng(seed)
    confidence = random.random(num_images).round(2)
    points = curve(confidence, random.random(num_images) < confidence)
    assert points[0].share == 1
    assert [one.share for one in points] == sorted({one.share for one in points}, reverse=True)
    assert min(one.num_answered for one in points) >= min(num_images, 20)
