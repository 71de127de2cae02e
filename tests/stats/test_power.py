import math

import numpy as np
import pytest

scipy_stats = pytest.importorskip("scipy.stats")

from kdtool.stats.intervals import interval_and_p  # noqa: E402
from kdtool.stats.power import POWER, Spread, power, spread_of, uncertainty, visible_difference  # noqa: E402


def differences(rng, num_seeds, num_images, gain=0.0, seed_std=0.003):
    """Right minus wrong: a tenth of the images differ in all seeds, the rest seed by seed."""
    kind = rng.random(num_images)
    in_all = np.where(kind < 0.05, 1.0, -1.0)
    shift = (gain / 0.9 + rng.normal(0, seed_std, (num_seeds, 1))) / 2
    draw = rng.random((num_seeds, num_images))
    in_one = (draw < 0.1 + shift).astype(float) - (draw > 0.9 + shift)
    return np.where(kind < 0.1, in_all, in_one)


@pytest.mark.parametrize("level", [0.05, 0.05 / 3])
def test_a_detectable_difference_is_found_in_four_of_five_studies(level):
    rng = np.random.default_rng(0)
    spread = spread_of(differences(rng, 500, 10_000))
    visible = visible_difference(spread, 3, 2000, level)
    found = [interval_and_p(differences(rng, 3, 2000, visible), rng)[1] < level for _ in range(150)]
    assert np.mean(found) == pytest.approx(POWER, abs=2 * math.sqrt(0.8 * 0.2 / 150))


def test_the_spread_of_simulated_values_is_recovered():
    spread = spread_of(differences(np.random.default_rng(0), 500, 10_000))
    assert spread.image == pytest.approx(0.1, rel=0.05)
    assert spread.seed == pytest.approx((0.9 * 0.003) ** 2, rel=0.2)
    assert spread.rest == pytest.approx(0.9 * 0.2, rel=0.05)


@pytest.mark.parametrize("num_seeds", [2, 3, 10])
def test_power_without_images_is_that_of_the_t_test(num_seeds):
    # the spread of the images that models of two accuracies must differ on is put out of sight
    difference, num_images = 0.04, 10**9
    spread = Spread(seed=0.01**2, image=0.0, rest=0.0)
    shift, freedom = difference / (0.01 / math.sqrt(num_seeds)), num_seeds - 1
    edge = scipy_stats.t.isf(0.025, freedom)
    expected = scipy_stats.nct.sf(edge, freedom, shift) + scipy_stats.nct.cdf(-edge, freedom, shift)
    assert power(difference, spread, num_seeds, num_images) == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("comparisons", [1, 3])
def test_power_of_one_seed_is_that_of_the_normal(comparisons):
    level = 0.05 / comparisons
    errors = scipy_stats.norm.isf([level / 2, 1 - POWER]).sum()  # 2.8016 of one comparison
    spread = Spread(seed=0.0, image=0.09, rest=0.0)
    visible = visible_difference(spread, 1, 10_000, level)
    assert visible == pytest.approx(errors * 0.3 / 100, rel=1e-4)


def test_uncertainty_by_hand():
    # seeds 0.5 and 0.25 of four images; the images' means are 1, 0.5, 0 and 0
    found = uncertainty(np.array([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]))
    assert found.seed_std == pytest.approx(0.25 / math.sqrt(2))
    assert found.seed_error == pytest.approx(0.125)
    assert found.image_error == pytest.approx(math.sqrt((0.625**2 + 0.125**2 + 2 * 0.375**2) / 16))
    assert found.visible == 1.0  # nothing can be seen of four images and two seeds


def test_image_error_is_that_of_the_draws():
    values = differences(np.random.default_rng(1), 1, 2000)
    (low, high), _ = interval_and_p(values, np.random.default_rng(0))
    assert uncertainty(values).image_error == pytest.approx((high - low) / 2 / 1.96, rel=0.03)


@pytest.mark.parametrize("level", [0.05, 0.05 / 3])
def test_the_numbers_needed_are_the_smallest_that_detect_one_point(level):
    values = differences(np.random.default_rng(0), 5, 1000)
    spread, found = spread_of(values), uncertainty(values, level)
    images, seeds = found.images_needed, found.seeds_needed
    assert found.visible == visible_difference(spread, 5, 1000, level) > 0.01
    assert (
        power(0.01, spread, 5, images, level) >= POWER > power(0.01, spread, 5, images - 1, level)
    )
    assert seeds is None  # a tenth of 1,000 images differ in all seeds: 2.8 points
    values = np.tile(values, 20)
    spread, seeds = spread_of(values), uncertainty(values, level).seeds_needed
    found, less = (power(0.01, spread, number, 20_000, level) for number in (seeds, seeds - 1))
    assert found >= POWER > less


def test_more_images_do_not_help_where_the_seeds_differ_by_points():
    values = differences(np.random.default_rng(0), 3, 50_000, seed_std=0.05)
    found = uncertainty(values)
    assert found.images_needed is None
    assert 100 < found.seeds_needed < 1000


def test_one_seed_gives_no_spread_over_seeds():
    found = uncertainty(differences(np.random.default_rng(0), 1, 2000))
    assert (found.seed_std, found.seed_error, found.seeds_needed) == (None, None, None)
    assert found.visible == pytest.approx(2.8016 * found.image_error, rel=1e-4)
    # the error falls with the root of the images
    assert found.images_needed == pytest.approx(2000 * (found.visible / 0.01) ** 2, rel=1e-3)


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_models_that_never_differ_could_still_differ_on_a_few_images(num_seeds):
    found = uncertainty(np.zeros((num_seeds, 1000)))
    assert found.image_error == 0.0
    assert found.visible == pytest.approx(2.8016**2 / 1000, rel=1e-3)  # about 8 images


def test_a_score_of_small_values_is_planned_as_the_same_score_in_another_unit():
    # what bounds the spread of right and wrong from below knows their size, which is 1
    values = np.zeros((1, 1000))
    values[0, :3], values[0, 3:6] = 1.0, -1.0
    whole, small = uncertainty(values), uncertainty(0.01 * values)
    assert spread_of(values).size == 1.0
    assert small.visible == pytest.approx(0.01 * whole.visible, rel=1e-3)
    assert small.images_needed < whole.images_needed / 50
