"""What `kdtool verify` calls equal, and how it names what is not."""

import pytest

from kdtool.results.commands.verification import Part, compared, not_checked, verification


def fields(part):
    return [(one.field, one.stored, one.found) for one in part.mismatches]


@pytest.mark.parametrize(
    ("stored", "found", "differing"),
    [
        (1, 1.0, []),
        (0.1 + 0.2, 0.3, []),  # rounding
        (0.9, 0.9000001, []),
        (0.9, 0.90001, [("", "0.9", "0.90001")]),
        (1e-9, 2e-9, [("", "1e-09", "2e-09")]),  # p values are small
        (True, 1, []),
        (True, False, [("", "True", "False")]),
        ("HELPED", "HURT", [("", "HELPED", "HURT")]),
        (None, None, []),
        (None, 0.5, [("", "nothing", "0.5")]),
        ([1, [2, 3]], (1, (2, 3)), []),
        ([1, [2, 3]], [1, [2, 4]], [("[1][1]", "3", "4")]),
        ([1, 2], [1], [("", "2 entries", "1 entries")]),
        ({"a": {"b": [1]}}, {"a": {"b": [2]}}, [("a.b[0]", "1", "2")]),
        ({"a": 1}, {}, [("a", "1", "nothing")]),
        ({}, {"a": 1}, [("a", "nothing", "1")]),
        ({"a": 1}, 1, [("", "1 entries", "1")]),
    ],
)
def test_each_differing_value_is_named_by_its_place(stored, found, differing):
    part = compared("scores", "results.json", stored, found)
    assert fields(part) == differing
    assert {one.file for one in part.mismatches} <= {"results.json"}


def test_every_value_is_counted_once():
    stored = {"a": [1, 2, 3], "b": {"c": None, "d": "x"}}
    assert compared("scores", "f", stored, stored).num_compared == 5
    assert compared("scores", "f", stored, stored, "models").mismatches == []


def test_parts_of_one_name_become_one_and_a_value_is_listed_once():
    wrong = compared("scores", "f", {"a": 1, "b": 1}, {"a": 2, "b": 1}, "x")
    other = compared("records", "f", 1, 2, "x.a")
    found = verification("runs/a", [wrong, not_checked("scores", "no images"), other, other])
    assert [(part.name, part.num_compared) for part in found.parts] == [
        ("scores", 2),
        ("records", 2),
    ]
    assert not found.passed
    assert found.num_compared == 4
    assert [one.field for one in found.mismatches] == ["x.a"]
    assert found.not_checked == ["no images"]
    assert verification("runs/a", [not_checked("scores", "no images")]).passed


def test_a_long_value_is_shortened():
    (one,) = compared("scores", "f", "a" * 1000, "b").mismatches
    assert len(one.stored) < 100
    assert isinstance(compared("scores", "f", 1, 1), Part)
