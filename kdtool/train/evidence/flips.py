"""Test images that one model gets right and another wrong."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from kdtool.evidence import Flips
from kdtool.record import Role
from kdtool.train.evaluate import Evaluated, Labels

NUM_SHOWN = 12  # images of each kind

# Each student against the teacher that taught it, and what the verdicts compare.
PAIRS: tuple[tuple[Role, Role], ...] = (
    ("student", "teacher"),
    ("student", "control"),
    ("subclass-student", "subclass-teacher"),
    ("subclass-student", "control"),
    ("subclass-student", "student"),
)


def flips(chosen: dict[Role, Evaluated], labels: Labels) -> list[Flips]:
    """Compare the pairs of `PAIRS` that are there.

    Args:
        chosen: The exported model of each role.
        labels: `(N,)` true classes of the test images.
    """
    return [
        flips_between(of, chosen[of].test_logits, against, chosen[against].test_logits, labels)
        for of, against in PAIRS
        if {of, against} <= chosen.keys()
    ]


def flips_between(
    of: Role,
    of_logits: NDArray[np.floating],
    against: Role,
    against_logits: NDArray[np.floating],
    labels: Labels,
) -> Flips:
    """Count the images that both, one or none of two models get right; logits are `(N, C)`."""
    of_right = of_logits.argmax(axis=1) == labels
    against_right = against_logits.argmax(axis=1) == labels
    # float64 tells apart what float32 rounds to 1
    surest_first = np.argsort(
        -softmax(of_logits.astype(np.float64), axis=1).max(axis=1), kind="stable"
    )
    gained, lost = of_right & ~against_right, against_right & ~of_right
    return Flips(
        of=of,
        against=against,
        both_right=int((of_right & against_right).sum()),
        gained=int(gained.sum()),
        lost=int(lost.sum()),
        both_wrong=int((~of_right & ~against_right).sum()),
        gained_images=surest_first[gained[surest_first]][:NUM_SHOWN].tolist(),
        lost_images=surest_first[lost[surest_first]][:NUM_SHOWN].tolist(),
    )
