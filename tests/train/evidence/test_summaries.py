"""Scores over seeds, with their intervals."""

import numpy as np
import pytest

from kdtool.stats import wilson_interval
from kdtool.train.evidence.summaries import share_right


def test_the_accuracy_of_one_seed_has_wilsons_interval():
    right = np.arange(50)[None] < 40
    summary = share_right(right)
    assert (summary.mean, summary.std, summary.ci95) == (0.8, None, wilson_interval(40, 50))


def test_the_interval_over_seeds_stays_within_bounds():
    right = np.stack([np.arange(50) < n for n in (50, 46, 50)])
    summary = share_right(right)
    assert summary.mean == pytest.approx(146 / 150)
    assert summary.ci95[0] < summary.mean < summary.ci95[1] == 1


@pytest.mark.parametrize("num_right", [0, 50])
def test_seeds_that_are_all_right_or_all_wrong_do_not_make_it_certain(num_right):
    right = np.tile(np.arange(50) < num_right, (3, 1))
    assert share_right(right).ci95 == wilson_interval(num_right, 50)
