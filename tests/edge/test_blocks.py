import numpy as np
import pytest

from kdtool.edge.blocks import (
    median_interval,
    noise_note,
    percentile_ms,
    ratio_to_baseline,
)


def drifting_blocks(seed, num_blocks=10, num_runs=100, drift=1.0, level=10.0):
    """Blocks whose level differs by `drift` (standard deviation) on top of a noise of 1 per run."""
    generator = np.random.default_rng(seed)
    levels = level + drift * generator.normal(size=num_blocks)
    return [base + generator.normal(size=num_runs) for base in levels]


def width(interval):
    return interval[1] - interval[0]


@pytest.mark.parametrize(("percent", "least"), [(90, 64), (99, 662)])
def test_high_percentiles_equal_numpys_once_there_are_enough_runs(percent, least):
    runs = np.random.default_rng(0).lognormal(size=least)
    assert percentile_ms(runs, percent) == pytest.approx(np.percentile(runs, percent))
    assert percentile_ms(runs[1:], percent) is None


def test_median_interval_of_equal_blocks_is_their_median():
    assert median_interval([np.array([3.0, 1.0, 1.0])] * 10) == (1.0, 1.0)
    assert median_interval([np.array([3.0, 1.0, 3.0])] * 10) == (3.0, 3.0)


def test_median_interval_is_wider_than_that_of_independent_runs():
    blocks = drifting_blocks(seed=1)
    mixed = np.random.default_rng(2).permutation(np.concatenate(blocks))
    assert width(median_interval(blocks)) > 3 * width(median_interval(np.split(mixed, 10)))


def test_median_interval_covers_the_truth_as_often_as_it_says():
    intervals = [median_interval(drifting_blocks(seed, num_runs=30)) for seed in range(400)]
    covered = sum(lower <= 10 <= upper for lower, upper in intervals)
    # 0.95 * 400 = 380, with a standard deviation of 4.4. The bootstrap's plain percentile interval
    # covers 355 of these.
    assert 367 <= covered <= 393


def test_median_interval_of_many_runs_is_that_of_every_run():
    coarse, fine = (drifting_blocks(seed=3, num_runs=n) for n in (200, 20_000))
    assert median_interval(coarse) == pytest.approx(median_interval(fine), abs=0.2)


def test_ratio_of_scaled_runs_is_the_scale_without_doubt():
    blocks = drifting_blocks(seed=4)
    ratio, (lower, upper) = ratio_to_baseline([1.25 * block for block in blocks], blocks)
    assert (ratio, lower, upper) == pytest.approx((1.25, 1.25, 1.25))


def test_ratio_is_inverted_when_the_models_change_places():
    first, second = drifting_blocks(seed=5), drifting_blocks(seed=6, level=12.0)
    ratio, (lower, upper) = ratio_to_baseline(first, second)
    inverse, (inverse_lower, inverse_upper) = ratio_to_baseline(second, first)
    assert (ratio, lower, upper) == pytest.approx(
        (1 / inverse, 1 / inverse_upper, 1 / inverse_lower), rel=0.02
    )
    assert lower < ratio < upper < 1


def test_common_drift_cancels_in_the_ratio():
    generator = np.random.default_rng(7)
    drift = np.linspace(1.0, 2.0, 20)  # the machine slows down to half its speed
    slower, base = (
        [level * speed + 0.01 * generator.normal(size=30) for speed in drift]
        for level in (1.1, 1.0)
    )
    ratio, ci95 = ratio_to_baseline(slower, base)
    assert ratio == pytest.approx(1.1, rel=0.01)
    assert width(ci95) < 0.02
    assert width(median_interval(base)) > 0.2


def test_equal_models_are_told_apart_about_one_time_in_twenty():
    def contains_one(seed):
        blocks, baseline = (drifting_blocks(2 * seed + i, num_blocks=20) for i in (0, 1))
        _, (lower, upper) = ratio_to_baseline(blocks, baseline)
        return lower <= 1 <= upper

    # As above; the plain percentile interval contains 1 in 368 of these.
    assert 371 <= sum(contains_one(seed) for seed in range(400)) <= 389


@pytest.mark.parametrize(
    ("medians", "other_cores", "note"),
    [
        ([10, 10.5, 10.9], 0.05, None),
        ([10, 10.5, 10.9], None, None),
        ([10, 10, 12], 0.0, "the median changed by 20 % between blocks of runs"),
        ([10, 10, 10], 0.84, "other processes kept 0.8 cores busy"),
        (
            [10, 10, 12],
            0.84,
            "the median changed by 20 % between blocks of runs and other processes kept 0.8 cores "
            "busy",
        ),
    ],
)
def test_noise_note_says_what_was_wrong(medians, other_cores, note):
    assert noise_note([np.full(5, float(m)) for m in medians], other_cores) == note
