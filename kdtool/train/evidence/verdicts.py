"""Which students beat which models, of all seeds and test images."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from kdtool.evidence import Verdict
from kdtool.planning import uncertainty
from kdtool.record import Interval, Role
from kdtool.stats import (
    LEVEL,
    holm,
    interval_and_p,
    mcnemar_p,
    paired_interval_and_p,
    verdict_of,
)
from kdtool.train.evaluate import Evaluated, split_labels
from kdtool.train.evidence.summaries import is_right
from kdtool.train.run import Run

COMPARISONS: tuple[tuple[Role, Role], ...] = (
    ("student", "control"),
    ("subclass-student", "control"),
    ("subclass-student", "student"),
)


def verdicts(run: Run, evaluated: dict[Role, list[Evaluated]]) -> list[Verdict]:
    """Compare the students with the control and with each other, as far as they are there."""
    compared = {role for pair in COMPARISONS for role in pair} & evaluated.keys()
    labels = split_labels(run.splits.test)
    right = {
        role: is_right([one.test_logits for one in evaluated[role]], labels) for role in compared
    }
    return judge(right, run.recipe.seeds)


def judge(right: Mapping[Role, NDArray[np.bool_]], seeds: list[int]) -> list[Verdict]:
    """Make all verdicts of a study, corrected for their number.

    What it would take to see more is planned for Holm's first step, the strictest: a level of
    0.05 / number of verdicts.

    Args:
        right: Whether each model of a role was right on each test image, `(S, N)`.
        seeds: The S seeds, in the order of the rows.
    """
    pairs = [pair for pair in COMPARISONS if right.keys() >= set(pair)]
    gains = [right[of].astype(float) - right[against] for of, against in pairs]
    found = [_interval_and_p(right[of], right[against]) for of, against in pairs]
    corrected = holm([p_value for _, p_value in found])
    return [
        Verdict(
            of=of,
            against=against,
            difference=float(gain.mean()),
            ci95=interval,
            p_value=p_value,
            p_holm=p_holm,
            mcnemar_p=[mcnemar_p(*both) for both in zip(right[of], right[against], strict=True)],
            seeds=seeds,
            uncertainty=uncertainty(gain, LEVEL / len(pairs)),
            verdict=verdict_of(float(gain.mean()), p_holm),
        )
        for (of, against), gain, (interval, p_value), p_holm in zip(
            pairs, gains, found, corrected, strict=True
        )
    ]


def _interval_and_p(of: NDArray[np.bool_], against: NDArray[np.bool_]) -> tuple[Interval, float]:
    if len(of) == 1:
        return paired_interval_and_p(of[0], against[0])
    return interval_and_p(of.astype(float) - against, np.random.default_rng(0))
