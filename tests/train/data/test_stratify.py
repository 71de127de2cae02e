"""The stratified split: sizes, shares, and that it is always the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdtool.train.data.stratify import grouped_split, reorder, stratified_sample, stratified_split


@st.composite
def labels_and_size(draw):
    """Labels in which every class has two images or more, and a possible size."""
    counts = draw(st.lists(st.integers(2, 60), min_size=1, max_size=12))
    labels = np.repeat(np.arange(len(counts)), counts)
    order = draw(st.integers(0, 2**32 - 1))
    shuffled = np.random.default_rng(order).permutation(labels)
    return shuffled, draw(st.integers(len(counts), len(labels) - len(counts)))


@given(labels_and_size())
def test_both_sides_together_are_everything_once(case):
    labels, num_second = case
    first, second = stratified_split(labels, num_second)
    assert len(second) == num_second
    np.testing.assert_array_equal(np.sort(np.concatenate([first, second])), np.arange(len(labels)))
    assert (np.diff(first) > 0).all()
    assert (np.diff(second) > 0).all()


@given(labels_and_size())
def test_every_class_is_on_both_sides(case):
    labels, num_second = case
    for side in stratified_split(labels, num_second):
        np.testing.assert_array_equal(np.unique(labels[side]), np.unique(labels))


@given(st.lists(st.integers(20, 200), min_size=2, max_size=10), st.floats(0.1, 0.9))
def test_every_class_gets_its_share_to_within_one_image(counts, share):
    labels = np.repeat(np.arange(len(counts)), counts)
    num_second = round(share * len(labels))
    _, second = stratified_split(labels, num_second)
    exact = np.array(counts) * num_second / len(labels)
    # Largest remainder holds to the quota's floor or ceiling where no bound is met; 20 images and
    # shares from 0.1 to 0.9 meet none.
    assert (np.abs(np.bincount(labels[second]) - exact) < 1).all()


def test_the_largest_remainders_are_rounded_up():
    labels = np.repeat([0, 1, 2], [48, 26, 26])  # exact shares of 10: 4.8, 2.6, 2.6
    _, second = stratified_split(labels, 10)
    assert np.bincount(labels[second]).tolist() == [5, 3, 2]


def test_a_rare_class_is_never_used_up_nor_left_out():
    labels = np.repeat([0, 1], [98, 2])
    for num_second in (2, 10, 98):
        _, second = stratified_split(labels, num_second)
        assert np.bincount(labels[second]).tolist() == [num_second - 1, 1]


def test_a_class_of_one_image_stays_on_the_first_side():
    first, second = stratified_split(np.array([0, 0, 0, 1]), 1)
    assert 3 in first
    assert second.tolist() != [3]


def test_images_are_drawn_from_the_whole_class():
    labels = np.zeros(1000, np.int64)
    _, second = stratified_split(labels, 500)
    assert 400 < np.mean(second) < 600
    assert len(np.unique(np.diff(second))) > 3  # neither a block nor every other image


def test_the_split_is_the_one_of_every_release():
    # Stored: another split would make every finished study a study of other data.
    _, second = stratified_split(np.arange(30) % 3, 6)
    assert second.tolist() == [2, 13, 24, 26, 27, 28]


@st.composite
def groups_of_labels(draw):
    """Groups of 1 to 6 images, some of several classes; many to a class."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = generator.integers(1, 7, draw(st.integers(60, 200)))
    groups = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    of_group = generator.integers(0, draw(st.integers(2, 4)), len(sizes))
    labels = np.where(generator.random(len(groups)) < 0.9, of_group[groups], 0)
    return labels, groups, draw(st.floats(0.1, 0.5))


@given(groups_of_labels())
def test_no_group_is_divided_and_every_class_gets_about_its_share(case):
    labels, groups, share = case
    first, second = grouped_split(labels, groups, round(share * len(labels)))
    assert not set(groups[first]) & set(groups[second])
    np.testing.assert_array_equal(np.sort(np.concatenate([first, second])), np.arange(len(labels)))
    for label in np.unique(labels):
        got, all_of = (labels[second] == label).sum(), (labels == label).sum()
        assert abs(got - share * all_of) <= 6  # a group, at the most


def test_a_rare_class_in_few_groups_gets_its_share():
    labels = np.repeat([0, 1], [1000, 20])
    groups = np.concatenate([np.arange(1000) // 5, 200 + np.arange(20) // 4])
    _, second = grouped_split(labels, groups, 204)
    assert np.bincount(labels[second]).tolist() == [200, 4]


@given(st.integers(1, 40).flatmap(lambda count: st.permutations(range(count))))
def test_reordered_rows_are_those_of_an_index(order):
    array = np.random.default_rng(0).integers(0, 256, (len(order), 2, 3), dtype=np.uint8)
    expected = array[order]
    reorder(array, np.array(order))
    np.testing.assert_array_equal(array, expected)


def test_a_sample_has_the_shares_of_the_classes_though_the_labels_are_sorted():
    labels = np.repeat(np.arange(10), [100] * 5 + [300] * 5)
    sample = stratified_sample(labels, 500)
    assert len(sample) == len(np.unique(sample)) == 500
    assert np.bincount(labels[sample]).tolist() == [25] * 5 + [75] * 5
    np.testing.assert_array_equal(sample, stratified_sample(labels, 500))


@pytest.mark.parametrize("num_images", [4, 500, 505])
def test_the_sample_of_a_few_images_is_all_of_them(num_images):
    labels = np.arange(num_images) % 10
    np.testing.assert_array_equal(stratified_sample(labels, 500), np.arange(num_images))


def test_more_classes_than_the_sample_holds_have_an_image_each():
    labels = np.repeat(np.arange(1000), 50)
    assert np.bincount(labels[stratified_sample(labels, 500)]).tolist() == [1] * 1000
