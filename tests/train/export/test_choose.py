"""Which file to ship: chosen on validation, confirmed on test, and measurably faster."""

import numpy as np
import pytest

from kdtool.stats.intervals import no_difference_interval
from kdtool.train.export.accuracy import (
    AccuracyDifference,
    accuracy_difference,
    keeps_accuracy,
)
from kdtool.train.export.choose import judge, least_images


def measured(difference, ci95, num_images=10_000):
    return AccuracyDifference(
        num_images=num_images, difference=difference, ci95=ci95, mcnemar_p=1.0
    )


CHOSEN = measured(-0.002, (-0.005, 0.001), num_images=6000)


@pytest.mark.parametrize(
    ("ratio", "ratio_ci95", "difference", "ci95", "recommended", "words"),
    [
        (0.5, (0.45, 0.55), -0.001, (-0.004, 0.002), True, "; confirmed on 10,000 test images"),
        (1.02, (0.97, 1.08), 0.0, (-0.004, 0.004), False, "it is not measurably faster"),
        (0.97, (0.93, 1.01), 0.0, (-0.004, 0.004), False, "it is not measurably faster"),
        # within the resolution of 1 %: the interval is below 1, and yet it is not faster
        (0.98, (0.97, 0.995), 0.0, (-0.004, 0.004), False, "it is not measurably faster"),
        (0.98, (0.97, 0.9899), 0.0, (-0.004, 0.004), True, "it takes 0.98 of the time"),
        (0.5, (0.45, 0.55), -0.008, (-0.012, -0.004), False, "; not confirmed on"),
        (0.5, (0.45, 0.55), 0.0, (-0.02, 0.02), False, "; not confirmed on"),
        (0.5, (0.45, 0.55), 0.0, (-0.01, 0.01), False, "; not confirmed on"),
        (0.5, (0.45, 0.55), 0.004, (0.001, 0.007), True, "+0.40 points (0.10 to 0.70)"),
    ],
)
def test_a_file_is_recommended_if_it_is_faster_and_test_confirms_its_accuracy(
    ratio, ratio_ci95, difference, ci95, recommended, words
):
    gate = judge(CHOSEN, measured(difference, ci95), ratio, ratio_ci95, max_drop=0.01)
    assert gate.recommended is recommended
    assert words in gate.reason
    settled = "; more test images would settle it" not in gate.reason
    assert settled is (recommended or difference <= -0.01 or ci95[0] > -0.01)
    assert "chosen on 6,000 validation images with -0.20 points of accuracy" in gate.reason
    assert (gate.time_ratio, gate.ci95, gate.difference) == (ratio, ci95, difference)
    assert (gate.validation_difference, gate.validation_ci95) == (-0.002, (-0.005, 0.001))
    assert gate.num_validation == 6000


@pytest.mark.parametrize(("max_drop", "least"), [(0.01, 276), (0.05, 54)])
def test_a_test_split_that_is_too_small_to_confirm_it_is_reported(max_drop, least):
    assert least_images(max_drop) == least
    for num_images, is_reported in ((least - 1, True), (least, False)):
        test = measured(0.0, no_difference_interval(num_images), num_images)
        gate = judge(CHOSEN, test, 0.5, (0.45, 0.55), max_drop)
        assert (f"that takes {least} test images or more" in gate.reason) is is_reported
        assert gate.recommended is not is_reported


@pytest.mark.parametrize(
    ("num_lost", "is_kept"), [(0, True), (3, True), (4, True), (5, False), (40, False)]
)
def test_validation_keeps_a_file_that_loses_at_most_max_drop(num_lost, is_kept):
    labels = np.zeros(400, int)
    calls = np.where(np.arange(400) < num_lost, 1, 0)
    found = accuracy_difference(calls, labels, labels)
    assert found.difference == -num_lost / 400
    assert keeps_accuracy(found, max_drop=0.01) is is_kept


def test_a_difference_counts_gained_and_lost_images():
    labels = np.zeros(100, int)
    calls, reference = labels.copy(), labels.copy()
    calls[:2], reference[2:3] = 1, 1  # 2 lost, 1 gained
    calls[50], reference[50] = -1, 1  # no number is wrong, as another class is
    found = accuracy_difference(calls, reference, labels)
    assert (found.num_images, found.difference) == (100, pytest.approx(-0.01))
    assert found.mcnemar_p == 1.0  # 2 against 1
    # Bonett and Price: (1 + 1) and (2 + 1) of 102
    gained, lost = 2 / 102, 3 / 102
    half = 1.959964 * np.sqrt((gained + lost - (gained - lost) ** 2) / 102)
    assert found.ci95 == pytest.approx((gained - lost - half, gained - lost + half), abs=1e-6)
