"""One rule of "faster" for the gate, the tables and the sentences."""

import pytest

from kdtool.stats.speed import is_faster, ratio_interval, speed_of, speed_phrase

SAME = "no measurable difference"


@pytest.mark.parametrize(
    ("ratio_ci95", "speed"),
    [
        ((0.5, 0.9), "faster"),
        ((0.5, 0.9899), "faster"),
        ((0.5, 0.99), SAME),  # the border itself is within the resolution
        ((0.97, 0.995), SAME),
        ((0.9, 1.1), SAME),
        ((1.0, 1.0), SAME),
        ((1.005, 1.03), SAME),
        ((1.01, 1.2), SAME),
        ((1.0101, 1.2), "slower"),
        ((1.4, 1.6), "slower"),
    ],
)
def test_an_interval_more_than_one_percent_away_from_one_is_a_difference(ratio_ci95, speed):
    assert speed_of(ratio_ci95) == speed
    assert is_faster(ratio_ci95) is (speed == "faster")


@pytest.mark.parametrize("interval", [(0.5, 0.9899), (0.97, 0.995), (1.005, 1.03), (1.02, 1.2)])
def test_swapping_two_models_swaps_faster_and_slower(interval):
    swapped = {"faster": "slower", "slower": "faster", SAME: SAME}
    low, high = interval
    assert speed_of((1 / high, 1 / low)) == swapped[speed_of(interval)]


@pytest.mark.parametrize(
    ("ratio", "ratio_ci95", "phrase"),
    [
        (0.8, (0.79, 0.81), "1.25 times faster"),
        (1.5, (1.4, 1.6), "1.50 times slower"),
        (0.95, (0.9, 1.001), SAME),
        (0.997, (0.995, 0.999), SAME),
        (0.98, (0.97, 0.995), SAME),
    ],
)
def test_a_comparison_in_words(ratio, ratio_ci95, phrase):
    assert speed_phrase(ratio, ratio_ci95) == phrase


def test_the_ratio_of_two_intervals_holds_every_ratio_of_their_values():
    assert ratio_interval((2.0, 3.0), (4.0, 5.0)) == (2 / 5, 3 / 4)
    assert ratio_interval((2.0, 2.0), (4.0, 4.0)) == (0.5, 0.5)
