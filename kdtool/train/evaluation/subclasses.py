"""How a model uses its subclasses, and how well they match known fine classes."""

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.special import entr, logsumexp

from kdtool.results.base import Role
from kdtool.results.evidence import ClassSubclasses, FineMatch, SubclassUse
from kdtool.stats.intervals import wilson_interval
from kdtool.train.data.splits import Splits
from kdtool.train.evaluation.evaluate import Evaluated, Labels, split_labels

# Below 1 image in 20 the other subclasses carry almost no information: with two subclasses at most
# 0.2 nats, where equal use carries 0.69. Fine classes may be rare, but not so rare.
COLLAPSED_SHARE = 0.95
NUM_CLAIMED = 8  # images of a subclass that are shown

Logits = NDArray[np.floating]


def subclass_use(
    evaluated: dict[Role, list[Evaluated]], chosen: dict[Role, Evaluated], splits: Splits
) -> list[SubclassUse]:
    """Return how every model with subclasses uses them on the test images.

    Args:
        evaluated: All models, one for each seed.
        chosen: The exported model of each role; only these get images.
        splits: With fine labels where `data.group` merged classes.
    """
    labels, result = split_labels(splits.test), splits.result
    fine_labels = None if splits.test.fine_labels is None else splits.test.fine_labels.cpu().numpy()
    groups = [[result.fine_classes.index(name) for name in names] for names in result.groups]
    uses = []
    for role, seeds in evaluated.items():
        for one in seeds:
            logits = one.test_subclass_logits
            if logits is None:
                continue
            exported = one.trained.seed == chosen[role].trained.seed
            uses.append(
                SubclassUse(
                    role=role,
                    seed=one.trained.seed,
                    exported=exported,
                    per_class=class_use(logits, labels, splits.classes, with_images=exported),
                    fine=None if fine_labels is None else fine_match(logits, fine_labels, groups),
                )
            )
    return uses


def class_use(
    logits: Logits, labels: Labels, classes: tuple[str, ...], *, with_images: bool
) -> list[ClassSubclasses]:
    """Return how the images of each class spread over its subclasses.

    Args:
        logits: `(N, C*S)`, subclass s of class c at c*S + s.
        labels: `(N,)` true classes, at least one image of each.
        classes: Names of the C classes.
        with_images: Whether to list what each subclass claims.
    """
    by_class = logits.reshape(len(labels), len(classes), -1)  # (N, C, S)
    num_subclasses = by_class.shape[2]
    claimed = claimed_images(logits) if with_images else [[]] * logits.shape[1]
    uses = []
    for c, name in enumerate(classes):
        largest = by_class[labels == c, c].argmax(axis=1)
        shares = np.bincount(largest, minlength=num_subclasses) / len(largest)
        uses.append(
            ClassSubclasses(
                name=name,
                shares=shares.tolist(),
                effective=effective_number(shares),
                collapsed=bool(shares.max() > COLLAPSED_SHARE),
                claimed=claimed[c * num_subclasses : (c + 1) * num_subclasses],
            )
        )
    return uses


def effective_number(shares: NDArray[np.floating]) -> float:
    """Return the number of equally used subclasses with the same diversity, from 1 to S.

    Args:
        shares: `(S,)`, sum to 1.

    Source: exp of Shannon's entropy, Hill 1973, Ecology 54, 427, order 1.
    """
    return float(np.exp(entr(shares).sum()))


def claimed_images(logits: Logits) -> list[list[int]]:
    """Return the images that each subclass claims, the most confident first, at most 8.

    An image is claimed by the most probable of all subclasses, whatever its true class; an unused
    subclass claims none.

    Args:
        logits: `(N, C*S)`.
    """
    exact = logits.astype(np.float64)
    largest = exact.argmax(axis=1)
    claimed = []
    for s in range(exact.shape[1]):
        mine = np.flatnonzero(largest == s)
        # Odds have the order of probabilities, but do not round to 1 for confident predictions.
        odds = exact[mine, s] - logsumexp(np.delete(exact[mine], s, axis=1), axis=1)
        claimed.append(mine[np.argsort(-odds, kind="stable")[:NUM_CLAIMED]].tolist())
    return claimed


def fine_match(logits: Logits, fine_labels: Labels, groups: list[list[int]]) -> FineMatch | None:
    """Compare the most probable subclass of every test image with its fine class.

    The true class is not used, as in deployment: an image cannot match if its most probable
    subclass belongs to another class. The mutual information is computed within each class and
    averaged over the classes, weighted by their images: subclasses that carry no information beyond
    the class, which the model was trained on, get 0.

    Args:
        logits: `(N, C*S)`, subclass s of class c at c*S + s.
        fine_labels: `(N,)`.
        groups: The fine classes of each class, each fine class once.

    Returns:
        None if no class has images of several fine classes.

    Source: accuracy as of clusters, Xie et al. 2016, arXiv:1511.06335, within each class;
    information as in Vinh et al. 2010, JMLR 11, 2837.
    """
    subclasses = logits.argmax(axis=1)
    # it takes seconds to import, and only studies with known subclasses need it
    from sklearn.metrics import adjusted_mutual_info_score

    information, weights = [], []
    for group in groups:
        of_class = np.isin(fine_labels, group)
        if len(np.unique(fine_labels[of_class])) > 1:
            pair = fine_labels[of_class], subclasses[of_class]
            information.append(adjusted_mutual_info_score(*pair))
            weights.append(of_class.sum())
    if not information:
        return None
    table = np.zeros((sum(map(len, groups)), logits.shape[1]), np.int64)
    np.add.at(table, (fine_labels, subclasses), 1)
    num_matched = most_matched(table, groups)
    return FineMatch(
        accuracy=num_matched / len(fine_labels),
        accuracy_ci95=wilson_interval(num_matched, len(fine_labels)),
        adjusted_mutual_information=float(np.average(information, weights=weights)),
        table=table.tolist(),
    )


def most_matched(table: NDArray[np.int64], groups: list[list[int]]) -> int:
    """Return how many images agree when subclasses are matched one to one with fine classes.

    A subclass is matched with a fine class of its own class, so that most images agree; if one side
    has more members, the rest stays unmatched.

    Args:
        table: `(F, C*S)` images of each fine class and subclass.
        groups: The fine classes of each class, each fine class once.

    Source: Kuhn 1955, the Hungarian method, in SciPy.
    """
    blocks = [
        columns[group]  # of the class's own fine classes and subclasses
        for group, columns in zip(groups, np.split(table, len(groups), axis=1), strict=True)
    ]
    return sum(int(b[linear_sum_assignment(b, maximize=True)].sum()) for b in blocks)
