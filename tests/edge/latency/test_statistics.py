import numpy as np
import pytest

from kdtool.edge.latency.statistics import (
    median_interval,
    noise_note,
    percentile_ms,
    ratio_of_rounds,
)


def drifting_rounds(seed, num_rounds=10, num_runs=100, drift=1.0, level=10.0):
    """Two blocks a round; `drift` from round to round (standard deviation) and a noise of 1."""
    generator = np.random.default_rng(seed)
    levels = level + drift * generator.normal(size=num_rounds)
    return [np.split(base + generator.normal(size=num_runs), 2) for base in levels]


def width(interval):
    return interval[1] - interval[0]


@pytest.mark.parametrize(("percent", "least"), [(90, 64), (95, 130), (99, 662)])
def test_high_percentiles_equal_numpys_once_there_are_enough_runs(percent, least):
    runs = np.random.default_rng(0).lognormal(size=least)
    assert percentile_ms(runs, percent) == pytest.approx(np.percentile(runs, percent))
    assert percentile_ms(runs[1:], percent) is None


def test_median_interval_of_equal_rounds_is_their_median():
    assert median_interval([[np.array([3.0, 1.0]), np.array([1.0])]] * 10) == (1.0, 1.0)
    assert median_interval([[np.array([3.0, 1.0]), np.array([3.0])]] * 10) == (3.0, 3.0)


def test_median_interval_is_wider_than_that_of_independent_runs():
    rounds = drifting_rounds(seed=1)
    mixed = np.random.default_rng(2).permutation(np.concatenate([b for r in rounds for b in r]))
    assert width(median_interval(rounds)) > 3 * width(
        median_interval([[part] for part in np.split(mixed, 10)])
    )


def test_median_interval_covers_the_truth_as_often_as_it_says():
    intervals = [median_interval(drifting_rounds(seed, num_runs=30)) for seed in range(400)]
    covered = sum(lower <= 10 <= upper for lower, upper in intervals)
    # 0.95 * 400 = 380, with a standard deviation of 4.4. The bootstrap's plain percentile interval
    # covers 355 of these.
    assert 367 <= covered <= 393


def test_median_interval_of_many_runs_is_that_of_every_run():
    coarse, fine = (drifting_rounds(seed=3, num_runs=n) for n in (200, 20_000))
    assert median_interval(coarse) == pytest.approx(median_interval(fine), abs=0.2)


def test_the_ratio_of_scaled_runs_is_the_scale_with_a_zero_interval():
    rounds = drifting_rounds(seed=4)
    slower = [[1.25 * block for block in blocks] for blocks in rounds]
    ratio, (lower, upper) = ratio_of_rounds(slower, rounds)
    assert (ratio, lower, upper) == pytest.approx((1.25, 1.25, 1.25))


def test_the_ratio_is_inverted_when_the_models_are_swapped():
    first, second = drifting_rounds(seed=5), drifting_rounds(seed=6, level=12.0)
    ratio, (lower, upper) = ratio_of_rounds(first, second)
    inverse, (inverse_lower, inverse_upper) = ratio_of_rounds(second, first)
    assert (ratio, lower, upper) == pytest.approx(
        (1 / inverse, 1 / inverse_upper, 1 / inverse_lower), rel=0.02
    )
    assert lower < ratio < upper < 1


def test_common_drift_cancels_in_the_ratio():
    generator = np.random.default_rng(7)
    drift = np.linspace(1.0, 2.0, 20)  # the machine slows down to half its speed
    slower, base = (
        [[level * speed + 0.01 * generator.normal(size=30)] for speed in drift]
        for level in (1.1, 1.0)
    )
    ratio, ci95 = ratio_of_rounds(slower, base)
    assert ratio == pytest.approx(1.1, rel=0.01)
    assert width(ci95) < 0.02
    assert width(median_interval(base)) > 0.2


def test_equal_models_differ_in_about_one_of_twenty_comparisons():
    def contains_one(seed):
        rounds, baseline = (drifting_rounds(2 * seed + i, num_rounds=20) for i in (0, 1))
        _, (lower, upper) = ratio_of_rounds(rounds, baseline)
        return lower <= 1 <= upper

    # As above; the plain percentile interval contains 1 in 368 of these.
    assert 371 <= sum(contains_one(seed) for seed in range(400)) <= 389


def test_blocks_of_one_process_give_a_wider_interval_than_processes():
    generator = np.random.default_rng(8)
    luck = 1 + 0.05 * generator.normal(size=4)  # of four processes, with five blocks each
    noise = generator.normal(size=(4, 5, 30))
    against = [[10 + 0.01 * block for block in blocks] for blocks in noise]
    of = [[one * block for block in blocks] for one, blocks in zip(luck, against, strict=True)]
    _, as_rounds = ratio_of_rounds(of, against)
    _, as_blocks = ratio_of_rounds(
        *([[block] for blocks in side for block in blocks] for side in (of, against))
    )
    assert width(as_rounds) > 1.5 * width(as_blocks)


def rounds_of(*medians):
    return [[np.full(5, float(m)) for m in pair] for pair in medians]


@pytest.mark.parametrize(
    ("medians", "settings", "note"),
    [
        ([(10, 10.5), (10.9, 11), (12, 12), (10, 10)], {}, None),
        ([(10, 10)], {}, None),
        ([(10, 12)] * 4, {}, "the median changed by 18 % between blocks of runs"),
        (
            [(10, 10), (10.1, 10.1), (10.8, 10.8), (10.7, 10.7)],
            {},
            "it was 7 % slower in the second half",
        ),
        ([(12, 12), (10, 10)], {}, "it was 17 % faster in the second half"),
        ([(10, 10)] * 4, {"other_cores": 0.84}, "other processes kept 0.8 cores busy"),
        ([(10, 10)] * 4, {"other_cores": None}, None),
        ([(10, 10)] * 4, {"own_cores": 0.7}, "it got a core for 70 % of the time only"),
        ([(10, 10)] * 4, {"own_cores": 1.5, "threads": 2}, None),
        ([(10, 10)] * 4, {"own_cores": 1.5, "threads": 4}, "4 threads shared 2 cores"),
        ([(10, 10)] * 4, {"own_cores": 1.5, "threads": 4, "cores": 1}, "4 threads shared 1 core"),
        (
            [(10, 12)] * 4,
            {"other_cores": 1.0},
            "other processes kept 1.0 cores busy and the median changed by 18 % between blocks of "
            "runs",
        ),
    ],
)
def test_noise_note_says_what_was_wrong(medians, settings, note):
    quiet = {"threads": 1, "cores": 2, "own_cores": 0.99, "other_cores": 0.05}
    assert noise_note(rounds_of(*medians), **(quiet | settings)) == note
