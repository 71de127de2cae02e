"""Models that know nothing are told from models that know a little."""

import numpy as np
import pytest

from kdtool.stats.chance import (
    balanced_accuracy,
    is_above_chance,
    is_above_largest_class,
    largest_class,
    never_called,
)


def test_the_interval_of_the_balanced_accuracy():
    balanced, lower = balanced_accuracy([[300, 100], [40, 60]])
    assert balanced == pytest.approx((0.75 + 0.6) / 2)
    # many images: the normal interval of a mean of independent shares
    spread = np.sqrt(0.75 * 0.25 / 400 + 0.6 * 0.4 / 100) / 2
    assert lower == pytest.approx(balanced - 1.96 * spread, abs=0.004)


@pytest.mark.parametrize("named", [0, 1])
def test_a_model_that_names_one_class_is_at_chance_however_uneven_the_classes(named):
    confusion = [[0, 0], [0, 0]]
    confusion[0][named], confusion[1][named] = 4000, 100
    assert balanced_accuracy(confusion)[0] == 0.5
    assert not is_above_chance(confusion)
    assert not is_above_largest_class(confusion)
    assert never_called(confusion) == [1 - named]


def test_guesses_rarely_pass_for_better_than_chance():
    """Of guesses, 2.5 % may pass for better than chance; with 200 images of which 20 are rare."""
    generator = np.random.default_rng(0)
    guessed = generator.binomial((180, 20), 0.5, (2000, 2)).tolist()
    passed = [is_above_chance([[a, 180 - a], [20 - b, b]]) for a, b in guessed]
    assert 0.005 < np.mean(passed) < 0.045


def test_the_largest_class_is_beaten_by_what_is_right_elsewhere():
    # 900 images of the largest class; the constant is right on them and on no other
    assert largest_class([[10, 0], [0, 10]]) == 0
    assert is_above_largest_class([[900, 0], [90, 10]])  # 10 gained, none lost: p = 2 / 2**10
    assert not is_above_largest_class([[900, 0], [95, 5]])  # 5 gained: p = 0.0625
    assert not is_above_largest_class([[890, 10], [90, 10]])  # as many gained as lost
    assert not is_above_largest_class([[850, 50], [60, 40]])  # worse than the constant


def test_a_class_without_images_need_not_be_called():
    assert never_called([[5, 1, 0], [0, 0, 0], [2, 4, 0]]) == [2]
    assert balanced_accuracy([[5, 1, 0], [0, 0, 0], [2, 4, 0]])[0] == pytest.approx(5 / 12)
