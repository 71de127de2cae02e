"""Which students beat which models, of all seeds and test images."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from kdtool.evidence import Verdict
from kdtool.planning import uncertainty
from kdtool.record import Interval, Metric, Role
from kdtool.stats import (
    LEVEL,
    holm,
    interval_and_p,
    mcnemar_p,
    no_difference_interval,
    paired_interval_and_p,
    verdict_of,
)
from kdtool.train.evaluate import Evaluated, split_labels
from kdtool.train.evidence.summaries import is_right, values_of
from kdtool.train.run import Run

COMPARISONS: tuple[tuple[Role, Role], ...] = (
    ("student", "control"),
    ("subclass-student", "control"),
    ("subclass-student", "student"),
)

Right = Mapping[Role, NDArray[np.bool_]]
Values = Mapping[Role, NDArray[np.floating]]


def verdicts(run: Run, evaluated: dict[Role, list[Evaluated]]) -> list[Verdict]:
    """Compare the students with the control and with each other, as far as they are there."""
    compared = {role for pair in COMPARISONS for role in pair} & evaluated.keys()
    logits = {role: [one.test_logits for one in evaluated[role]] for role in compared}
    labels, metric = split_labels(run.splits.test), run.recipe.metric
    right = {role: is_right(seeds, labels) for role, seeds in logits.items()}
    values = {
        role: values_of(metric, seeds, labels, run.splits.positive)
        for role, seeds in logits.items()
    }
    rarest = None if metric == "accuracy" else int(np.bincount(labels).min())
    return judge(right, run.recipe.seeds, metric, values, rarest)


def judge(
    right: Right,
    seeds: list[int],
    metric: Metric = "accuracy",
    values: Values | None = None,
    rarest: int | None = None,
) -> list[Verdict]:
    """Make all verdicts of a study, corrected for their number.

    What it would take to see more is planned for Holm's first step, the strictest: a level of
    0.05 / number of verdicts.

    Args:
        right: Whether each model of a role was right on each test image, `(S, N)`.
        seeds: The S seeds, in the order of the rows.
        metric: What is compared.
        values: What `scores.per_image` gives of it, `(S, N)`; None: `right`, of the accuracy.
        rarest: Test images of the rarest class, which bound what a metric of the classes can
            tell; None: N, of the accuracy.
    """
    values = values or {role: of_role.astype(float) for role, of_role in right.items()}
    pairs = [pair for pair in COMPARISONS if right.keys() >= set(pair)]
    gains = [values[of] - values[against] for of, against in pairs]
    found = []
    for (of, against), gain in zip(pairs, gains, strict=True):
        if not gain.any():
            found.append((no_difference_interval(rarest or gain.shape[1]), 1.0))
        elif len(seeds) > 1:
            found.append(interval_and_p(gain, np.random.default_rng(0)))
        elif metric == "accuracy":
            found.append(paired_interval_and_p(right[of][0], right[against][0]))
        else:
            found.append(one_seed_interval_and_p(gain[0]))
    corrected = holm([p_value for _, p_value in found])
    return [
        Verdict(
            of=of,
            against=against,
            metric=metric,
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


def one_seed_interval_and_p(gain: NDArray[np.floating]) -> tuple[Interval, float]:
    """Return the 95 % interval of the mean of one seed's differences, and the p of zero.

    Where few images make the difference, a normal distribution, or a bootstrap, is too sure: of
    two equal models on 600 images it calls 8 to 9 % different by a metric of the classes, if they
    differ on a few of them. Student's t has one degree of freedom less than images make the
    difference, and calls 0 to 5 %. The exact test of a single seed is one of the accuracy alone.

    Args:
        gain: `(N,)` differences of `scores.per_image`.

    Source: as `kdtool.scores` for the error; Kish's effective sample size for the number of images,
    with their squares as weights.
    """
    mean, error = float(gain.mean()), float(gain.std()) / math.sqrt(len(gain))
    if error == 0.0:  # no difference at all, or the same on each image: the sign test
        return (mean, mean), 1.0 if mean == 0.0 else 2.0 ** (1 - len(gain))
    squares = gain**2
    freedom = max(1.0, float(squares.sum() ** 2 / (squares**2).sum()) - 1)
    half = float(student_t.isf(LEVEL / 2, freedom)) * error
    return (mean - half, mean + half), float(2 * student_t.sf(abs(mean) / error, freedom))
