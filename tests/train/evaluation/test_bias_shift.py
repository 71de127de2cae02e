import numpy as np
import pytest
from answers import evaluated, splits_of
from hypothesis import example, given
from hypothesis import strategies as st

from kdtool.train.evaluation.bias_shift import best_shift, bias_shifts, shifted_predictions

CLASSES = ("0", "1", "2")


def accuracy(logits, labels, excluded, shift):
    return (shifted_predictions(logits, excluded, shift) == labels).mean()


def random_answers(seed, num_images=12, num_classes=4):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, num_classes, num_images)
    # multiples of 1/4 leave the grid below nothing to miss, and make ties
    logits = rng.integers(-12, 13, (num_images, num_classes)) / 4
    return logits.astype(np.float32), labels


@given(seed=st.integers(0, 2**32 - 1), excluded=st.sampled_from([[3], [0, 2], [0, 1, 2]]))
def test_no_shift_of_a_fine_grid_is_better(seed, excluded):
    logits, labels = random_answers(seed)
    shift = best_shift(logits, labels, excluded)
    best = max(accuracy(logits, labels, excluded, at) for at in np.arange(-8, 8, 0.25) + 0.125)
    assert accuracy(logits, labels, excluded, shift) == best


@given(
    seed=st.integers(0, 2**32 - 1),
    excluded=st.sampled_from([[3], [0, 2]]),
    added=st.integers(-40, 40),
)
@example(seed=3631, excluded=[3], added=1)  # no image can be right
def test_what_is_added_to_the_excluded_logits_is_taken_from_the_shift_if_any_image_can_be_right(
    seed, excluded, added
):
    logits, labels = random_answers(seed)
    moved = logits.copy()
    moved[:, excluded] += added
    # An image that some shift gets right is right where one side wins all images.
    can_be_right = any(accuracy(logits, labels, excluded, far) > 0 for far in (-1000, 1000))
    expected = best_shift(logits, labels, excluded) - added if can_be_right else 0.0
    assert best_shift(moved, labels, excluded) == pytest.approx(expected, abs=1e-9)


def test_one_shift_makes_all_right():
    # class 2 falls short of the best kept class by 3 and 4 where it is right, by 7 and 9 where not
    logits = np.array([[3, 0, 0], [4, 0, 0], [0, 7, 0], [9, 0, 0]], np.float32)
    labels = np.array([2, 2, 1, 0])
    assert accuracy(logits, labels, [2], 0.0) == 0.5
    assert best_shift(logits, labels, [2]) == 5.5  # the middle of 4 and 7
    assert accuracy(logits, labels, [2], 5.5) == 1


def test_an_image_that_is_always_wrong_does_not_change_the_shift():
    logits = np.array([[0, 1, 0], [5, 0, 0], [3, 0, 0]], np.float32)
    assert best_shift(logits, np.array([2, 0, 1]), [2]) == best_shift(logits[:2], [2, 0], [2]) == 3


def test_among_equally_good_shifts_the_middle_of_the_widest_gap_is_chosen():
    # crossings at 0 (gained), 1 (lost), 2 (gained), 6 (lost): 3 right in (0, 1) and (2, 6)
    logits = np.array([[0, -9, 0], [1, -9, 0], [2, -9, 0], [6, -9, 0]], np.float32)
    assert best_shift(logits, np.array([2, 0, 2, 0]), [2]) == 4


@pytest.mark.parametrize(
    ("labels", "expected"),
    [([0, 0], 0.0), ([2, 2], 4.0), ([1, 1], 0.0)],  # crossings at 1 and 3; [1, 1] never right
)
def test_the_shift_is_finite_where_one_side_should_win_all(labels, expected):
    logits = np.array([[1, -9, 0], [3, -9, 0]], np.float32)
    assert best_shift(logits, np.array(labels), [2]) == expected


def test_only_models_that_learned_without_a_class_are_shifted():
    rng = np.random.default_rng(0)
    labels = np.arange(300) % 3
    splits = splits_of(labels, CLASSES, excluded=["1"])

    def model(role, seed):
        logits = rng.normal(size=(300, 3)) + 6 * np.eye(3)[labels] - [0, 8, 0]
        return evaluated(role, labels, CLASSES, logits.astype(np.float32), seed=seed)

    models = {
        role: [model(role, seed) for seed in range(2)] for role in ("teacher", "student", "control")
    }
    records = bias_shifts(models, splits)
    assert [record.role for record in records] == ["control", "student"]
    for record in records:
        assert len(record.shifts) == 2
        assert all(5 < shift < 11 for shift in record.shifts)
        assert record.accuracy.mean < 0.75
        assert record.shifted_accuracy.mean > 0.95
        seeds = models[record.role]
        one, other = (accuracy(m.test_logits, labels, [], 0) for m in seeds)
        assert record.accuracy.mean == pytest.approx((one + other) / 2)
        assert record.accuracy.std == pytest.approx(abs(one - other) / np.sqrt(2))
        shifted = [
            accuracy(m.test_logits, labels, [1], shift)
            for m, shift in zip(seeds, record.shifts, strict=True)
        ]
        assert record.shifted_accuracy.mean == pytest.approx(np.mean(shifted))
        # as many images of each class: the classes' mean is the whole
        for whole, parts in (
            (record.accuracy, [c.accuracy for c in record.per_class]),
            (record.shifted_accuracy, [c.shifted_accuracy for c in record.per_class]),
        ):
            assert np.mean([part.mean for part in parts]) == pytest.approx(whole.mean)
        left_out = record.per_class[1]
        assert left_out.name == "1"
        assert left_out.accuracy.mean < 0.2
        assert left_out.shifted_accuracy.mean > 0.9


def test_without_excluded_classes_there_is_no_shift():
    labels = np.array([0, 1, 2])
    one = evaluated("student", labels, CLASSES, np.eye(3, dtype=np.float32))
    assert bias_shifts({"student": [one]}, splits_of(labels, CLASSES)) == []
