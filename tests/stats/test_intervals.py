import math
import tracemalloc
from itertools import chain, combinations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdtool.stats.intervals import (
    _drawn_sums,
    difference_interval_and_p,
    flipped_p,
    holm,
    holm_levels,
    interval_and_p,
    mcnemar_p,
    mean_interval,
    paired_difference_interval,
    paired_interval_and_p,
    verdict_of,
    wilson_interval,
)


def test_wilson_interval_is_the_published_one():
    # 81 of 263: Newcombe 1998, Statistics in Medicine 17, table I, method 3
    low, high = wilson_interval(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


@given(num_images=st.integers(1, 10**6), share=st.floats(0, 1))
def test_wilson_interval_solves_its_equation(num_images, share):
    num_right = round(share * num_images)
    p = num_right / num_images
    for end in wilson_interval(num_right, num_images):
        if 1e-6 < end < 1 - 1e-6:
            distance = abs(p - end) / math.sqrt(end * (1 - end) / num_images)
            assert distance == pytest.approx(1.959964, rel=1e-3)
        assert 0 <= end <= 1


def right(only_first: int, only_second: int, both: int = 5) -> tuple[np.ndarray, np.ndarray]:
    first = [True] * only_first + [False] * only_second + [True] * both
    second = [False] * only_first + [True] * only_second + [True] * both
    return np.array(first), np.array(second)


def test_mcnemar_by_hand():
    # 1 against 5: 2 * (C(6,0) + C(6,1)) / 2^6
    assert mcnemar_p(*right(1, 5)) == 2 * 7 / 64


@given(only_first=st.integers(0, 60), only_second=st.integers(0, 60))
def test_mcnemar_is_the_binomial_test(only_first, only_second):
    scipy_stats = pytest.importorskip("scipy.stats")
    num_differing = only_first + only_second
    expected = scipy_stats.binomtest(only_first, num_differing).pvalue if num_differing else 1.0
    assert mcnemar_p(*right(only_first, only_second)) == pytest.approx(expected)
    assert mcnemar_p(*right(only_second, only_first)) == pytest.approx(expected)


def test_mcnemar_agrees_with_mlxtend():
    evaluate = pytest.importorskip("mlxtend.evaluate")
    first, second = right(25, 9)
    table = evaluate.mcnemar_table(np.ones(len(first)), first.astype(int), second.astype(int))
    _, expected = evaluate.mcnemar(table, exact=True)
    assert mcnemar_p(first, second) == pytest.approx(expected)


def test_mcnemar_of_many_images_neither_overflows_nor_vanishes():
    assert mcnemar_p(*right(4000, 4000)) == 1.0
    assert 0 < mcnemar_p(*right(5200, 4800)) < 1e-4


def test_interval_of_one_seed_is_that_of_the_binomial():
    values = np.zeros((1, 1000))
    values[:, :900] = 1
    low, high = mean_interval(values, np.random.default_rng(0))
    half = 1.96 * math.sqrt(0.9 * 0.1 / 1000)
    assert low == pytest.approx(0.9 - half, abs=0.0015)
    assert high == pytest.approx(0.9 + half, abs=0.0015)


def test_interval_of_seeds_alone_is_students():
    scipy_stats = pytest.importorskip("scipy.stats")
    # every image has its seed's value: nothing is left to the images
    seeds = np.array([0.1, 0.2, 0.6])
    low, high = mean_interval(np.repeat(seeds[:, None], 50, axis=1), np.random.default_rng(0))
    half = scipy_stats.t.ppf(0.975, 2) * seeds.std(ddof=1) / math.sqrt(3)
    assert low == pytest.approx(0.3 - half, rel=0.05)
    assert high == pytest.approx(0.3 + half, rel=0.05)


def test_p_of_seeds_alone_is_that_of_the_t_test():
    scipy_stats = pytest.importorskip("scipy.stats")
    seeds = np.array([0.1, 0.2, 0.6])
    values = np.repeat(seeds[:, None], 50, axis=1)
    _, p_value = interval_and_p(values, np.random.default_rng(0))
    assert p_value == pytest.approx(scipy_stats.ttest_1samp(seeds, 0).pvalue, rel=0.02)


def test_p_of_images_alone_is_that_of_the_normal():
    scipy_stats = pytest.importorskip("scipy.stats")
    first, second = right(120, 90, 1790)
    values = first.astype(float)[None] - second
    _, p_value = interval_and_p(values, np.random.default_rng(0))
    # half an image off, as whole images are drawn and a draw of no difference counts for both tails
    shift = (30 - 0.5) / (values.std() * math.sqrt(values.size))
    assert p_value == pytest.approx(2 * scipy_stats.norm.sf(shift), rel=0.15)


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_many_distinct_values_have_the_interval_of_few_distinct_values(num_seeds):
    rng = np.random.default_rng(0)
    few = rng.choice([1.0, -1.0, 0.0], (num_seeds, 2000), p=[0.1, 0.09, 0.81])
    many = few + rng.normal(0, 1e-6, few.shape)  # no two values alike
    (low, high), p_value = interval_and_p(few, np.random.default_rng(0))
    (many_low, many_high), many_p = interval_and_p(many, np.random.default_rng(0))
    assert (many_low, many_high) == pytest.approx((low, high), abs=0.03 * (high - low))
    assert many_p == pytest.approx(p_value, abs=0.02)


@given(
    num_seeds=st.integers(1, 3),
    num_images=st.integers(1, 40),
    gain=st.floats(0, 0.5),
    seed=st.integers(0, 2**32 - 1),
)
def test_p_is_below_five_percent_where_the_interval_excludes_zero(
    num_seeds, num_images, gain, seed
):
    rng = np.random.default_rng(seed)
    values = rng.choice([1.0, -1.0, 0.0], (num_seeds, num_images), p=[gain, 0.1, 0.9 - gain])
    (low, high), p_value = interval_and_p(values, rng)
    assert (p_value < 0.05) == (low > 0 or high < 0)
    assert 0 < p_value <= 1


def few_large_values(num_images, num_large):
    """Values that are all different, most of them near 0 and some near 1: far from normal."""
    values = np.linspace(0, 0.01, num_images)
    values[:num_large] += 1
    return values


@pytest.mark.parametrize(("num_images", "num_large"), [(150, 3), (1000, 8), (3000, 3)])
def test_many_different_values_are_drawn_by_bootstrap_and_not_from_a_normal_distribution(
    num_images, num_large
):
    values = few_large_values(num_images, num_large)
    draws = _drawn_sums(values, np.random.default_rng(0))
    # Moments of a sum of N independent draws: N times the mean, the variance and the third moment.
    error = values.std() * math.sqrt(num_images)
    skewness = ((values - values.mean()) ** 3).mean() / values.std() ** 3 / math.sqrt(num_images)
    assert skewness > 0.3
    assert draws.mean() == pytest.approx(values.sum(), abs=4 * error / 100)
    assert draws.std() == pytest.approx(error, rel=0.03)
    found = ((draws - draws.mean()) ** 3).mean() / draws.std() ** 3
    assert found == pytest.approx(skewness, abs=0.12)
    # Of a few large values the number that is drawn is binomial.
    number = np.round(draws - 0.005 * num_images)
    share = (1 - num_large / num_images) ** num_images
    assert np.mean(number <= 0) == pytest.approx(share, abs=0.015)


@pytest.mark.parametrize("copies", [5, 25])  # single images are drawn, or counts of each value
def test_both_ways_to_draw_have_the_quantiles_of_a_plain_bootstrap(copies):
    values = np.repeat(np.arange(120.0) ** 2, copies)
    rng = np.random.default_rng(1)
    expected = np.array([rng.choice(values, len(values)).sum() for _ in range(10_000)])
    draws = _drawn_sums(values, np.random.default_rng(0))
    for level in (0.025, 0.5, 0.975):
        want = np.quantile(expected, level)
        assert np.quantile(draws, level) == pytest.approx(want, abs=0.1 * expected.std())


def test_a_bootstrap_of_many_images_takes_little_memory():
    values = np.random.default_rng(0).normal(size=20_000)
    tracemalloc.start()
    _drawn_sums(values, np.random.default_rng(0))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 5e6


@pytest.mark.parametrize(("num_seeds", "least"), [(1, 2 / 10_001), (3, 2 / 200_001)])
def test_p_is_at_least_what_the_draws_can_resolve_and_one_without_any_difference(num_seeds, least):
    same, other = np.zeros((num_seeds, 500)), np.ones((num_seeds, 500))
    assert interval_and_p(other, np.random.default_rng(0))[1] == least
    assert interval_and_p(same, np.random.default_rng(0)) == ((0.0, 0.0), 1.0)


def test_seeds_with_equal_means_have_no_spread_in_spite_of_rounding():
    values = np.zeros((3, 10))
    values[[0, 1, 2], [0, 1, 2]] = 1.0  # each seed is right on one image, each on another
    low, _ = mean_interval(values, np.random.default_rng(0))
    assert low == 0.0  # no draw lies a rounding error below 0


@pytest.mark.parametrize(
    ("p_values", "corrected"),
    [
        ([], []),
        ([0.03], [0.03]),
        ([0.01, 0.04, 0.03, 0.005], [0.03, 0.06, 0.06, 0.02]),  # p.adjust(..., "holm") of R
        ([0.5, 0.6, 0.7], [1.0, 1.0, 1.0]),
        ([0.02, 0.02, 0.02], [0.06, 0.06, 0.06]),
    ],
)
def test_holm_by_hand(p_values, corrected):
    assert holm(p_values) == pytest.approx(corrected)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=5))
def test_holm_is_the_closed_test_of_bonferroni(p_values):
    # Marcus, Peritz and Gabriel 1976: a hypothesis falls where every set that holds it falls
    every = range(len(p_values))
    sets = list(chain.from_iterable(combinations(every, size + 1) for size in every))
    expected = [
        max(min(1.0, len(one) * min(p_values[i] for i in one)) for one in sets if index in one)
        for index in every
    ]
    assert holm(p_values) == pytest.approx(expected)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=5))
def test_a_p_value_is_below_its_level_exactly_where_the_corrected_one_is_below_5_percent(p_values):
    levels = holm_levels(p_values)
    assert [p < level for p, level in zip(p_values, levels, strict=True)] == [
        corrected < 0.05 for corrected in holm(p_values)
    ]


@pytest.mark.parametrize(
    ("p_values", "levels"),
    [
        ([0.04], [0.05]),
        ([0.01, 0.04, 0.03], [0.05 / 3, 0.05 / 2, 0.05 / 2]),  # the second step fails, and the rest
        ([0.01, 0.04, 0.02], [0.05 / 3, 0.05, 0.05 / 2]),
        ([0.5, 0.5], [0.025, 0.025]),
    ],
)
def test_levels_of_holm_by_hand(p_values, levels):
    assert holm_levels(p_values) == pytest.approx(levels)


def test_a_lower_level_gives_a_wider_interval():
    values = runs(np.random.default_rng(0), 3) - runs(np.random.default_rng(1), 3)
    (low, high), _ = interval_and_p(values, np.random.default_rng(0))
    (lower, higher), _ = interval_and_p(values, np.random.default_rng(0), 0.05 / 3)
    assert lower < low < high < higher
    # of a normal distribution with few seeds' tails: at least by 2.394 / 1.960
    assert (higher - lower) / (high - low) > 1.2
    one, other = values[0] > 0, values[0] < 0
    (low, high), _ = paired_interval_and_p(one, other)
    (lower, higher), _ = paired_interval_and_p(one, other, 0.05 / 3)
    assert (higher - lower) / (high - low) == pytest.approx(2.39398 / 1.95996, rel=1e-3)


def runs(rng, num_seeds):
    # accuracy of a run: 0.97 with a spread of 0.5 points between seeds, 2,000 images
    return (rng.random((num_seeds, 2000)) < rng.normal(0.97, 0.005, (num_seeds, 1))).astype(float)


LIMIT = 0.05 + 2 * math.sqrt(0.05 * 0.95 / 120)  # 5 % and two standard errors of 120 trials


def test_two_equal_methods_are_called_different_in_at_most_five_of_a_hundred():
    rng = np.random.default_rng(2)
    p_values = [interval_and_p(runs(rng, 2) - runs(rng, 2), rng)[1] for _ in range(120)]
    assert np.mean(np.array(p_values) < 0.05) <= LIMIT


def test_three_equal_methods_give_a_false_verdict_in_at_most_five_studies_of_a_hundred():
    rng = np.random.default_rng(3)
    studies = []
    for _ in range(120):
        models = [runs(rng, 3) for _ in range(3)]
        studies.append([interval_and_p(a - b, rng)[1] for a, b in combinations(models, 2)])
    assert np.mean([min(holm(p_values)) < 0.05 for p_values in studies]) <= LIMIT
    assert np.mean(np.array(studies)[:, 0] < 0.05) <= LIMIT  # one comparison alone


def test_a_real_difference_is_found():
    rng = np.random.default_rng(0)
    first, second = (
        (rng.random((3, 10_000)) < accuracy).astype(float) for accuracy in (0.987, 0.980)
    )
    (low, _), p_value = interval_and_p(first - second, rng)
    assert low > 0
    assert verdict_of(0.007, p_value) == "HELPED"
    (_, high), p_value = interval_and_p(second - first, rng)
    assert high < 0
    assert verdict_of(-0.007, p_value) == "HURT"
    assert verdict_of(0.007, 0.05) == "NO EVIDENCE"


def pairs(both, only_first, only_second, neither):
    first = np.repeat([True, True, False, False], [both, only_first, only_second, neither])
    second = np.repeat([True, False, True, False], [both, only_first, only_second, neither])
    return first, second


def test_paired_interval_is_the_published_one():
    """The example of R's statpsych::ci.prop.ps(.05, 12, 4, 26, 6)."""
    interval = paired_difference_interval(*pairs(6, 26, 4, 12))
    assert interval == pytest.approx((0.2548067, 0.6251933), abs=1e-6)


def test_paired_interval_of_equal_models_has_a_width_that_decreases_with_the_images():
    few, many = (paired_difference_interval(*pairs(n, 0, 0, 0)) for n in (100, 1000))
    assert few[0] < many[0] < 0 < many[1] < few[1]


def test_swapping_the_arguments_mirrors_the_paired_interval():
    first, second = pairs(50, 7, 2, 9)
    lower, upper = paired_difference_interval(first, second)
    assert paired_difference_interval(second, first) == pytest.approx((-upper, -lower))


@pytest.mark.parametrize(
    ("gained", "lost", "p_value"),
    [(4, 0, 0.125), (5, 0, 0.0625), (6, 0, 0.03125), (7, 1, 18 / 256), (0, 0, 1.0)],
)
def test_a_few_images_of_one_seed_are_judged_by_the_exact_test(gained, lost, p_value):
    (low, high), found = paired_interval_and_p(*right(gained, lost, both=1000))
    assert found == p_value
    assert (low > 0) == (found < 0.05)
    assert high > (gained - lost) / 1000


@pytest.mark.parametrize("same", [0, 1000])
def test_one_seed_of_two_equal_models_is_called_different_in_at_most_five_of_a_hundred(same):
    # All that can happen: each of the images that differ goes to either model by a coin.
    for num_differing in range(1, 61):
        false = 0
        for gained in range(num_differing + 1):
            answers = right(gained, num_differing - gained, same)
            (low, high), p_value = paired_interval_and_p(*answers)
            assert (p_value < 0.05) == (low > 0 or high < 0)
            false += math.comb(num_differing, gained) * (p_value < 0.05)
        assert false / 2**num_differing <= 0.05


@given(gained=st.integers(0, 40), lost=st.integers(0, 40), num_seeds=st.integers(2, 5))
def test_equal_seeds_are_no_surer_than_one(gained, lost, num_seeds):
    one, other = right(gained, lost, both=100)
    values = np.tile(one.astype(float) - other, (num_seeds, 1))
    (low, high), p_value = difference_interval_and_p(values, np.random.default_rng(0))
    exact = mcnemar_p(one, other)
    assert p_value >= exact - 5 * math.sqrt(exact * (1 - exact) / 200_000)
    assert (p_value < 0.05) == (low > 0 or high < 0)


def test_one_image_that_all_seeds_gain_is_no_evidence():
    gained = np.ones((5, 1))
    assert difference_interval_and_p(gained, np.random.default_rng(0)) == ((0.0, 1.0), 1.0)
    assert interval_and_p(gained, np.random.default_rng(0))[1] < 1e-4  # what images alone would say


@pytest.mark.parametrize("size", [1.0, 0.37])
def test_flipped_p_is_that_of_all_signs(size):
    """In any unit, zeros included."""
    values = size * np.array([3.0, 2.0, 2.0, -1.0, 0.0])
    signs = np.array(list(product((1, -1), repeat=4)))
    expected = np.mean(np.abs(signs @ values[:4]) >= abs(values.sum()) - 1e-9)
    assert flipped_p(values, np.random.default_rng(0)) == pytest.approx(expected, abs=0.005)


def test_where_many_images_differ_the_bootstrap_decides():
    rng = np.random.default_rng(1)
    for num_images in (1000, 10_000):
        values = rng.choice([1.0, -1.0, 0.0], (5, num_images), p=[0.02, 0.012, 0.968])
        found = difference_interval_and_p(values, np.random.default_rng(0))
        assert found == interval_and_p(values, np.random.default_rng(0))
