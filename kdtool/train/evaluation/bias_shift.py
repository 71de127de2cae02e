"""Classes that students did not learn from, before and after a shift of their logits."""

import numpy as np
from numpy.typing import NDArray

from kdtool.results.base import Role
from kdtool.results.evidence import BiasShift, ShiftedClass
from kdtool.train.data.splits import Splits
from kdtool.train.evaluation.evaluate import Evaluated, Labels, split_labels
from kdtool.train.evaluation.verdicts import is_right, share_right

LEARNED_WITHOUT: tuple[Role, ...] = ("control", "student", "subclass-student")
BEYOND = 1.0  # distance, in nats, of a shift that decides all images alike from the nearest of them

Logits = NDArray[np.floating]


def bias_shifts(evaluated: dict[Role, list[Evaluated]], splits: Splits) -> list[BiasShift]:
    """Choose the bias shift of each model on validation, and score it on test.

    Args:
        evaluated: All models, one for each seed.
        splits: Their data; the list is empty if no class was excluded.
    """
    excluded = [splits.classes.index(name) for name in splits.result.excluded]
    if not excluded:
        return []
    return [
        _bias_shift(role, evaluated[role], splits, excluded)
        for role in LEARNED_WITHOUT
        if role in evaluated
    ]


def best_shift(logits: Logits, labels: Labels, excluded: list[int]) -> float:
    """Return the number that gets most images right when added to the logits of excluded classes.

    The search is exact: the prediction for an image changes to an excluded class where the shift
    exceeds its largest kept logit minus its largest excluded logit, so the number right changes
    only at these places. The shift is the middle between two of them; among equally good gaps the
    widest, because it depends least on single images. The two open ends count as 2 wide, so the
    shift is always finite.

    Args:
        logits: `(V, C)`.
        labels: `(V,)` true classes.
        excluded: Indices of the excluded classes; not all classes.

    Returns:
        In nats; 0 if no image can be right, whatever the shift.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 3, which chooses it on test.
    """
    exact = logits.astype(np.float64)
    is_excluded = np.isin(np.arange(logits.shape[1]), excluded)
    kept, left_out = (np.where(mask, exact, -np.inf) for mask in (~is_excluded, is_excluded))
    gained, lost = (side.argmax(axis=1) == labels for side in (left_out, kept))
    matters = gained | lost
    if not matters.any():
        return 0.0
    crossing = (kept.max(axis=1) - left_out.max(axis=1))[matters]
    places, place = np.unique(crossing, return_inverse=True)
    change = np.bincount(place, weights=gained[matters].astype(int) - lost[matters])
    num_right = lost.sum() + np.concatenate([[0], change.cumsum()])  # between the places
    edges = np.concatenate([[places[0] - 2 * BEYOND], places, [places[-1] + 2 * BEYOND]])
    best = np.flatnonzero(num_right == num_right.max())
    widest = best[np.diff(edges)[best].argmax()]
    return float(edges[widest : widest + 2].mean())


def shifted_predictions(logits: Logits, excluded: list[int], shift: float) -> Labels:
    """Return the predicted classes `(N,)` after `shift` was added to the excluded classes."""
    exact = logits.astype(np.float64)
    exact[:, excluded] += shift
    return np.asarray(exact.argmax(axis=1))


def _bias_shift(
    role: Role, seeds: list[Evaluated], splits: Splits, excluded: list[int]
) -> BiasShift:
    labels, validation_labels = split_labels(splits.test), split_labels(splits.validation)
    shifts = [best_shift(one.validation_logits, validation_labels, excluded) for one in seeds]
    right = is_right([one.test_logits for one in seeds], labels)
    shifted_right = np.array(
        [
            shifted_predictions(one.test_logits, excluded, shift) == labels
            for one, shift in zip(seeds, shifts, strict=True)
        ]
    )
    return BiasShift(
        role=role,
        shifts=shifts,
        accuracy=share_right(right),
        shifted_accuracy=share_right(shifted_right),
        per_class=[
            ShiftedClass(
                name=name,
                accuracy=share_right(right[:, labels == c]),
                shifted_accuracy=share_right(shifted_right[:, labels == c]),
            )
            for c, name in enumerate(splits.classes)
        ],
    )
