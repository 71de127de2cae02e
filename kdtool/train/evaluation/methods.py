"""Distillation methods of one sweep: each against the control and kd, on the test images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from kdtool.results.base import Metric, Summary
from kdtool.results.evidence import MethodResult, PairedVerdict
from kdtool.train.evaluation.evaluate import Labels
from kdtool.train.evaluation.verdicts import Logits, compare_pairs, is_right, values_of

KD = "kd"


@dataclass(frozen=True)
class Tried:
    """The students of one method at its best setting on validation."""

    settings: dict[str, float | int | str]  # recipe key -> value
    num_settings: int  # tried for the method
    validation_score: Summary
    test_score: Summary
    test_logits: Sequence[Logits]  # one a seed
    selected: bool


def compare_methods(
    tried: Mapping[str, Tried],
    control: Sequence[Logits],
    labels: Labels,
    metric: Metric,
    positive: int | None,
) -> list[MethodResult]:
    """Compare each method with the control and, except itself, with kd.

    All comparisons are corrected together (Holm). The settings were chosen on validation, so the
    test images decide about nothing but these comparisons.

    Args:
        tried: By method.
        control: `(N, C)` logits on test, one a seed, in the order of the students'.
        labels: `(N,)` true classes of the test images.
        metric: Of the study.
        positive: With two classes, the positive class of the AUCs.
    """
    pairs = [(method, "control") for method in tried]
    pairs += [(method, KD) for method in tried if KD in tried and method != KD]
    logits = {method: one.test_logits for method, one in tried.items()} | {"control": control}
    right = {name: is_right(each, labels) for name, each in logits.items()}
    values = {name: values_of(metric, each, labels, positive) for name, each in logits.items()}
    rarest = None if metric == "accuracy" else int(np.bincount(labels).min())
    found = {
        pair: PairedVerdict(
            difference=one.difference,
            ci_holm=one.ci_holm,
            p_holm=one.p_holm,
            verdict=one.verdict,
        )
        for pair, one in compare_pairs(pairs, right, values, metric, rarest).items()
    }
    return [
        MethodResult(
            method=method,
            settings=one.settings,
            num_settings=one.num_settings,
            validation_score=one.validation_score,
            test_score=one.test_score,
            against_control=found[method, "control"],
            against_kd=found.get((method, KD)),
            selected=one.selected,
        )
        for method, one in tried.items()
    ]
