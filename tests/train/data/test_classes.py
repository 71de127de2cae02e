"""Classes merged by `data.group` and left out by `distill.exclude_classes`."""

import pytest
import torch
from loading import load_splits

from kdtool.errors import RecipeError
from kdtool.recipe.data import DigitsTable
from kdtool.train.data.classes import find_groups, group_name, group_names
from kdtool.train.data.splits import without_classes

DIGITS = tuple("0123456789")
HALVES = [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
GROUPED = {
    name: load_splits(DigitsTable(source="digits", group=group), print)
    for name, group in (("fine", None), ("halves", HALVES))
}


def test_groups_merge_labels_and_keep_the_fine_ones_and_the_split():
    fine, halves = GROUPED["fine"], GROUPED["halves"]
    assert halves.classes == ("0-4", "5-9")
    assert halves.result.fine_classes == list(DIGITS)
    assert halves.result.groups == [list("01234"), list("56789")]
    for name in ("train", "validation", "test"):
        before, after = getattr(fine, name), getattr(halves, name)
        assert torch.equal(after.images, before.images)
        assert torch.equal(after.fine_labels, before.labels)
        assert torch.equal(after.labels, (before.labels >= 5).long())
        assert sum(halves.result.class_counts[name]) == len(after)
    assert fine.test.fine_labels is None
    assert halves.result.fingerprint != fine.result.fingerprint


def test_groups_take_names_and_any_order():
    assert find_groups([["cat", 0], ["bee"]], ["ant", "bee", "cat"]) == [[2, 0], [1]]
    assert find_groups([["1", "3"], ["2"]], ["1", "2", "3"]) == [[0, 2], [1]]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["0", "1", "2"], "0-2"),
        (["0", "1"], "0 + 1"),
        (["0", "2", "3"], "0 + 2 + 3"),
        (["cat", "dog", "eel"], "cat + dog + eel"),
        (["7"], "7"),
    ],
)
def test_a_group_is_named_after_its_classes(names, expected):
    assert group_name(names) == expected


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ([[0], [1]], "leaves out cat; expected each of the 3 classes in exactly one group"),
        ([[0, 1], [1, 2]], "names bee more than once"),
        ([[0, 0], [1]], "leaves out cat and names ant more than once"),
        ([[0, 1], ["dog"]], 'there is no class "dog"; the data have 0 (ant), 1 (bee), 2 (cat)'),
        ([[0, 1], [3]], "there is no class 3"),
        ([[0, 1], [-1]], "there is no class -1"),
    ],
)
def test_groups_that_miss_or_repeat_a_class_are_refused(groups, message):
    with pytest.raises(RecipeError) as caught:
        find_groups(groups, ["ant", "bee", "cat"])
    assert message in str(caught.value)


def test_a_number_that_could_be_a_place_or_a_name_is_refused():
    with pytest.raises(RecipeError, match=r'1 is the index of class "2", and the name of another'):
        find_groups([[1, 2], [0]], ["1", "2", "3"])
    with pytest.raises(RecipeError, match="there is no class 3"):
        find_groups([[3], [0]], ["1", "2", "3"])


def test_two_groups_of_one_name_are_refused():
    with pytest.raises(RecipeError, match=r"two groups would have the name a \+ b"):
        group_names([[0], [1, 2]], ["a + b", "a", "b"])


def test_excluded_classes_leave_the_transfer_set_and_nothing_else():
    splits = GROUPED["fine"]
    transfer = without_classes(splits, [3, "7"])
    kept = [digit for digit in range(10) if digit not in (3, 7)]
    assert transfer.train.labels.unique().tolist() == kept
    assert len(transfer.train) == sum(splits.result.class_counts["train"][digit] for digit in kept)
    assert transfer.validation is splits.validation
    assert transfer.test is splits.test
    assert transfer.result.excluded == ["3", "7"]
    assert without_classes(splits, []) is splits


@pytest.mark.parametrize(
    ("excluded", "message"),
    [
        (list(range(10)), "leaves out 10 of 10 classes; at least two must be left"),
        (list(range(9)), "leaves out 9 of 10 classes; at least two must be left"),
        ([10], "distill.exclude_classes: there is no class 10"),
        (["three"], 'there is no class "three"'),
    ],
)
def test_excluding_everything_or_nothing_known_is_refused(excluded, message):
    with pytest.raises(RecipeError, match=message):
        without_classes(GROUPED["fine"], excluded)
