"""Which file to ship: faster, and shown to lose less than the recipe allows."""

import pytest

from kdtool.stats.intervals import no_difference_interval
from kdtool.train.export.choose import judge, least_images
from kdtool.train.export.int8_fp16 import Smaller


def smaller(difference, ci95):
    return Smaller(file=None, refused=None, difference=difference, ci95=ci95, mcnemar_p=1.0)


@pytest.mark.parametrize(
    ("ratio", "ratio_ci95", "difference", "ci95", "recommended", "words"),
    [
        (0.5, (0.45, 0.55), -0.001, (-0.004, 0.002), True, "shown to lose less than 1 point"),
        (1.02, (0.97, 1.08), 0.0, (-0.004, 0.004), False, "it is not faster"),
        (0.97, (0.93, 1.01), 0.0, (-0.004, 0.004), False, "it is not faster"),
        (0.5, (0.45, 0.55), -0.008, (-0.012, -0.004), False, "not shown to lose less"),
        (0.5, (0.45, 0.55), 0.0, (-0.02, 0.02), False, "not shown to lose less"),
        (0.5, (0.45, 0.55), 0.004, (0.001, 0.007), True, "+0.40 points of accuracy"),
    ],
)
def test_a_file_is_recommended_if_it_is_faster_and_not_worse(
    ratio, ratio_ci95, difference, ci95, recommended, words
):
    gate = judge(smaller(difference, ci95), 10_000, ratio, ratio_ci95, max_drop=0.01)
    assert gate.recommended is recommended
    assert words in gate.reason
    assert gate.time_ratio == ratio


@pytest.mark.parametrize(("max_drop", "least"), [(0.01, 276), (0.05, 54)])
def test_a_test_split_that_is_too_small_to_show_it_is_told(max_drop, least):
    assert least_images(max_drop) == least
    for num_images, is_told in ((least - 1, True), (least, False)):
        interval = no_difference_interval(num_images)
        gate = judge(smaller(0.0, interval), num_images, 0.5, (0.45, 0.55), max_drop)
        assert (f"which takes {least} test images or more" in gate.reason) is is_told
        assert gate.recommended is not is_told
