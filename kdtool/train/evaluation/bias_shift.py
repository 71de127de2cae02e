"""Classes that were left out of the transfer set, before and after a shift of their logits."""

import numpy as np
from numpy.typing import NDArray

from kdtool.results.base import Role
from kdtool.results.evidence import BiasShift, ShiftedClass
from kdtool.train.data.splits import Splits
from kdtool.train.evaluation.evaluate import Evaluated, Labels, split_labels
from kdtool.train.evaluation.verdicts import is_right, share_right

LEARNED_WITHOUT: tuple[Role, ...] = ("control", "student", "subclass-student")
BEYOND = 1.0  # how far beyond all images a shift lies that lets one side win them all; in nats

Logits = NDArray[np.floating]


def bias_shifts(evaluated: dict[Role, list[Evaluated]], splits: Splits) -> list[BiasShift]:
    """Choose each model's bias shift on validation, and score it on test.

    Args:
        evaluated: All models, one a seed.
        splits: Their data; nothing is returned if no class was left out.
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
    """Return the number that, added to the logits of all excluded classes, gets most images right.

    Found exactly: an image goes over to the excluded classes where the shift exceeds its largest
    kept logit minus its largest excluded one, so the number right changes only there. The shift
    is the middle between two such places; among equally good ones of the widest, for it is the
    least a matter of chance. The two open ends count as 2 wide, so the shift is always finite.

    Args:
        logits: `(V, C)`.
        labels: `(V,)` true classes.
        excluded: Not all of the classes.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 3, where it was chosen on test.
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
