"""The verdict on the runs of a published study whose authors found no gain."""

import numpy as np
import pytest

from kdtool.stats.intervals import interval_and_p, verdict_of

scipy_stats = pytest.importorskip("scipy.stats")

NUM_IMAGES = 10_000  # test images of CIFAR-10
# Test images that each seed classified rightly, of 5 seeds, and the published mean gain in points.
# Source: arXiv 2605.31191, version 2, and umutonuryasar/kd-capacity-gap, raw_results_json.zip.
ALONE = {
    "resnet18": [9474, 9501, 9482, 9471, 9500],
    "resnet34": [9486, 9511, 9508, 9519, 9497],
}
DISTILLED_FROM_LOGITS = [
    ("resnet34", "resnet18", [9473, 9467, 9486, 9476, 9488], -0.08),
    ("resnet50", "resnet18", [9486, 9492, 9495, 9481, 9503], 0.06),
    ("resnet50", "resnet34", [9497, 9513, 9506, 9508, 9539], 0.08),
    ("resnet101", "resnet34", [9530, 9510, 9488, 9519, 9503], 0.06),
]


@pytest.mark.parametrize(("teacher", "student", "distilled", "gain"), DISTILLED_FROM_LOGITS)
def test_a_pair_without_a_gain_gets_no_evidence(teacher, student, distilled, gain):
    """The spread of the seeds alone is enough; which images were right can only widen it."""
    gains = np.subtract(distilled, ALONE[student]) / NUM_IMAGES
    assert round(100 * gains.mean(), 2) == gain
    values = np.repeat(gains[:, None], NUM_IMAGES, axis=1)  # (S, N), the same on each image
    (low, high), p_value = interval_and_p(values, np.random.default_rng(0))
    assert low < 0 < high
    assert p_value == pytest.approx(scipy_stats.ttest_1samp(gains, 0).pvalue, abs=0.02)
    assert verdict_of(gains.mean(), p_value) == "NO EVIDENCE"
