"""Methods of a sweep: each against the control and kd, corrected together."""

import numpy as np
import pytest

from kdtool.results.base import Summary
from kdtool.stats.intervals import holm, paired_interval_and_p
from kdtool.train.evaluation.methods import Tried, compare_methods

LABELS = np.arange(400) % 4
SCORE = Summary(mean=0.5, std=None, ci95=(0.4, 0.6))


def logits(num_right, *, first=0):
    """Logits that are right on `num_right` images, from image `first` on."""
    right = (np.arange(400) - first) % 400 < num_right
    called = np.where(right, LABELS, (LABELS + 1) % 4)
    return np.eye(4, dtype=np.float32)[called] * 5


def tried(*seeds, selected=False):
    return Tried(
        settings={"distill.method": "x"},
        num_settings=1,
        validation_score=SCORE,
        test_score=SCORE,
        test_logits=seeds,
        selected=selected,
    )


def compared(methods, control):
    found = compare_methods(methods, control, LABELS, "accuracy", None)
    return {one.method: one for one in found}


def test_equal_models_differ_in_nothing():
    same = [logits(300), logits(310)]
    found = compared({"kd": tried(*same), "dist": tried(*same, selected=True)}, same)
    assert [one.method for one in found.values() if one.selected] == ["dist"]
    for verdict in (found["kd"].against_control, found["dist"].against_kd):
        assert (verdict.difference, verdict.p_holm, verdict.verdict) == (0, 1, "NO EVIDENCE")
        assert verdict.ci_holm[0] < 0 < verdict.ci_holm[1]
    assert found["kd"].against_kd is None


def test_each_difference_is_paired_and_corrected_for_all():
    control, kd, better = [logits(300)], [logits(306)], [logits(330)]
    found = compared({"kd": tried(*kd), "ls": tried(*better), "dist": tried(*kd)}, control)

    def p_value(one, other):
        right = [each.argmax(axis=1) == LABELS for each in (one[0], other[0])]
        return paired_interval_and_p(*right)[1]

    pairs = [(kd, control), (better, control), (kd, control), (better, kd)]
    expected = holm([*(p_value(*pair) for pair in pairs), 1.0])
    given = [found[name].against_control.p_holm for name in ("kd", "ls", "dist")]
    given += [found[name].against_kd.p_holm for name in ("ls", "dist")]
    assert given == pytest.approx(expected)
    assert found["ls"].against_control.verdict == "HELPED"
    assert found["ls"].against_kd.difference == 0.06
    assert found["ls"].against_kd.ci_holm[0] > 0
    assert found["dist"].against_kd.verdict == "NO EVIDENCE"


def test_without_kd_there_is_nothing_to_compare_with_it():
    found = compared({"ls": tried(logits(300)), "dist": tried(logits(250))}, [logits(300)])
    assert [one.against_kd for one in found.values()] == [None, None]
    assert found["dist"].against_control.verdict == "HURT"
