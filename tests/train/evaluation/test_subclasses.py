from itertools import permutations

import numpy as np
import pytest
from answers import evaluated, splits_of
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp, softmax

from kdtool.train.evaluation.subclasses import (
    NUM_CLAIMED,
    claimed_images,
    class_use,
    effective_number,
    fine_match,
    most_matched,
    subclass_use,
)

GROUPS = [[0, 2, 4], [1, 3, 5]]


def one_hot(subclasses, num_subclasses, height=5.0):
    return (height * np.eye(num_subclasses)[subclasses]).astype(np.float32)


@pytest.mark.parametrize("num_subclasses", [2, 5, 30])
def test_the_effective_number_is_all_subclasses_for_equal_use_and_one_for_a_single_one(
    num_subclasses,
):
    even = np.full(num_subclasses, 1 / num_subclasses)
    assert effective_number(even) == pytest.approx(num_subclasses)
    assert effective_number(np.eye(num_subclasses)[0]) == 1.0


def test_effective_number_by_hand():
    assert effective_number(np.array([0.5, 0.25, 0.25])) == pytest.approx(2**1.5)


def test_shares_are_among_the_subclasses_of_the_true_class():
    # 2 classes of 2 subclasses; the last image is of class b and taken for class a
    logits = np.array([[3, 1, 0, 0], [1, 3, 0, 0], [0, 0, 2, 1], [9, 0, 1, 2]], np.float32)
    first, second = class_use(logits, np.array([0, 0, 1, 1]), ("a", "b"), with_images=True)
    assert (first.name, first.shares, second.shares) == ("a", [0.5, 0.5], [0.5, 0.5])
    assert first.claimed == [[3, 0], [1]]
    assert second.claimed == [[2], []]


@pytest.mark.parametrize(
    ("num_first", "collapsed"), [(100, True), (96, True), (95, False), (50, False)]
)
def test_a_class_is_collapsed_if_one_subclass_has_more_than_95_percent(num_first, collapsed):
    subclasses = np.where(np.arange(100) < num_first, 1, 0)
    logits = np.concatenate([one_hot(subclasses, 4), one_hot([2, 3], 4)])
    labels = np.repeat([0, 1], [100, 2])
    first, second = class_use(logits, labels, ("a", "b"), with_images=False)
    assert first.collapsed is collapsed
    assert second.collapsed is False
    assert first.claimed == [[], []]


def test_the_images_claimed_are_those_of_the_highest_probability():
    logits = np.random.default_rng(0).normal(size=(200, 6)).astype(np.float32)
    probabilities = softmax(logits.astype(float), axis=1)
    for s, images in enumerate(claimed_images(logits)):
        mine = np.flatnonzero(probabilities.argmax(axis=1) == s)
        best = mine[np.argsort(-probabilities[mine, s])][:NUM_CLAIMED]
        assert images == best.tolist()


def test_images_of_probability_one_are_still_ordered():
    logits = np.array([[50, 0, 0, 0], [400, 0, 0, 0], [200, 0, 0, 0]], np.float32)
    assert claimed_images(logits) == [[1, 2, 0], [], [], []]


def test_a_renaming_of_the_fine_classes_matches_perfectly():
    fine_labels = np.random.default_rng(1).integers(0, 6, 300)
    subclass_of = np.array([2, 3, 0, 5, 1, 4])  # of fine classes 0, 2, 4: class 0, so 0 to 2
    match = fine_match(one_hot(subclass_of[fine_labels], 6), fine_labels, GROUPS)
    assert match.accuracy == 1
    assert match.adjusted_mutual_information == pytest.approx(1)
    table = np.array(match.table)
    assert table.sum() == 300
    assert (table[np.arange(6), subclass_of] == np.bincount(fine_labels)).all()


def test_subclasses_that_only_repeat_the_class_have_no_information():
    fine_labels = np.repeat(np.arange(6), 20)
    only_class = np.where(fine_labels % 2, 3, 0)
    match = fine_match(one_hot(only_class, 6), fine_labels, GROUPS)
    assert match.adjusted_mutual_information == pytest.approx(0, abs=1e-9)
    assert match.accuracy == pytest.approx(1 / 3)
    assert match.accuracy_ci95[0] < 1 / 3 < match.accuracy_ci95[1]


def test_information_is_averaged_by_images():
    # 90 images of a class whose subclasses are its fine classes, 30 of one that uses one subclass
    fine_labels = np.repeat(np.arange(6), [30, 10, 30, 10, 30, 10])
    subclasses = np.where(fine_labels % 2, 3, fine_labels // 2)
    match = fine_match(one_hot(subclasses, 6), fine_labels, GROUPS)
    assert match.adjusted_mutual_information == pytest.approx(0.75)


def test_random_subclasses_have_no_information():
    rng = np.random.default_rng(2)
    fine_labels = rng.integers(0, 6, 5000)
    subclasses = 3 * (fine_labels % 2) + rng.integers(0, 3, 5000)
    match = fine_match(one_hot(subclasses, 6), fine_labels, GROUPS)
    assert match.adjusted_mutual_information == pytest.approx(0, abs=0.003)


def test_an_image_taken_for_another_class_does_not_match():
    fine_labels = np.repeat(np.arange(6), 10)
    subclass_of = np.array([0, 3, 1, 4, 2, 5])
    swapped = (subclass_of[fine_labels] + 3) % 6
    match = fine_match(one_hot(swapped, 6), fine_labels, GROUPS)
    assert match.accuracy == 0
    assert match.adjusted_mutual_information == pytest.approx(1)


def test_without_merged_classes_there_is_no_match():
    labels = np.array([0, 1, 0, 1])
    assert fine_match(one_hot([0, 2, 1, 3], 4), labels, [[0], [1]]) is None


def test_a_class_of_one_fine_class_counts_for_accuracy_only():
    fine_labels = np.array([0, 0, 1, 1, 2, 2])
    match = fine_match(one_hot([0, 1, 2, 2, 3, 3], 4), fine_labels, [[0], [1, 2]])
    assert match.accuracy == pytest.approx(5 / 6)
    assert match.adjusted_mutual_information == pytest.approx(1)


def brute_force(block):
    """The most images that fit, over every way to give each row or column one of the other."""
    few = block if len(block) <= len(block.T) else block.T
    return max(
        few[range(len(few)), order].sum() for order in permutations(range(len(few.T)), len(few))
    )


@given(data=st.data(), sizes=st.lists(st.integers(1, 4), min_size=2, max_size=3))
def test_the_best_match_is_that_of_all_permutations(data, sizes):
    num_subclasses = data.draw(st.integers(2, 4))
    order = data.draw(st.permutations(range(sum(sizes))))
    groups = [list(group) for group in np.split(order, np.cumsum(sizes)[:-1])]
    shape = (sum(sizes), len(sizes) * num_subclasses)
    table = data.draw(arrays(np.int64, shape, elements=st.integers(0, 50)))
    expected = sum(
        brute_force(table[group][:, c * num_subclasses : (c + 1) * num_subclasses])
        for c, group in enumerate(groups)
    )
    assert most_matched(table, groups) == expected


def test_every_seed_of_the_models_with_subclasses_is_described():
    fine_labels = np.repeat(np.arange(4), 5)
    labels, classes = fine_labels // 2, ("ab", "cd")
    splits = splits_of(labels, classes, fine_labels=fine_labels, groups=[["a", "b"], ["c", "d"]])

    def model(role, seed, subclasses):
        raw = one_hot(subclasses, 4)
        merged = logsumexp(raw.reshape(-1, 2, 2), axis=2)
        return evaluated(role, labels, classes, merged, seed=seed, subclass_logits=raw)

    teacher = model("subclass-teacher", 0, fine_labels)
    seeds = [model("subclass-student", 0, 2 * labels), model("subclass-student", 1, fine_labels)]
    plain = evaluated("student", labels, classes, one_hot(labels, 2))
    uses = subclass_use(
        {"subclass-teacher": [teacher], "student": [plain], "subclass-student": seeds},
        {"subclass-teacher": teacher, "student": plain, "subclass-student": seeds[1]},
        splits,
    )
    assert [(use.role, use.seed, use.exported) for use in uses] == [
        ("subclass-teacher", 0, True),
        ("subclass-student", 0, False),
        ("subclass-student", 1, True),
    ]
    assert [use.fine.accuracy for use in uses] == [1, 0.5, 1]
    assert [use.per_class[1].collapsed for use in uses] == [False, True, False]
    assert uses[1].per_class[0].claimed == [[], []]
    assert uses[2].per_class[0].claimed == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_data_without_fine_labels_have_no_match():
    labels, classes = np.array([0, 0, 1, 1]), ("a", "b")
    raw = one_hot([0, 1, 2, 3], 4)
    merged = logsumexp(raw.reshape(-1, 2, 2), axis=2)
    one = evaluated("subclass-student", labels, classes, merged, subclass_logits=raw)
    role = "subclass-student"
    (use,) = subclass_use({role: [one]}, {role: one}, splits_of(labels, classes))
    assert use.fine is None
    assert [one.effective for one in use.per_class] == [pytest.approx(2), pytest.approx(2)]
