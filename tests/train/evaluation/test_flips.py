import numpy as np
from answers import evaluated

from kdtool.train.evaluation.images import flips, flips_between


def called(classes, margins):
    """Logits of two classes: the called one is ahead by its margin."""
    logits = np.zeros((len(classes), 2), np.float32)
    logits[np.arange(len(classes)), classes] = margins
    return logits


def test_flips_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 1])
    ours = called([0, 0, 1, 1, 0, 0], [1, 4, 2, 2, 3, 5])  # right: 0, 1, 3
    theirs = called([1, 1, 0, 1, 1, 0], 1)  # right: 2, 3, 4
    found = flips_between("student", ours, "teacher", theirs, labels)
    assert (found.of, found.against) == ("student", "teacher")
    assert (found.both_right, found.gained, found.lost, found.both_wrong) == (1, 2, 2, 1)
    assert found.gained_images == [1, 0]  # the student is more confident about 1
    assert found.lost_images == [4, 2]


def test_the_twelve_most_confident_are_kept_and_ties_are_in_order():
    labels = np.zeros(30, int)
    margins = np.full(30, 2.0)
    # beyond 17, float32 rounds both to 1; the more confident one is still first
    margins[[20, 25]] = 30.0, 35.0
    ours, theirs = called(np.zeros(30, int), margins), called(np.ones(30, int), 1)
    found = flips_between("student", ours, "control", theirs, labels)
    assert found.gained == 30
    assert found.gained_images == [25, 20, *range(10)]
    turned = flips_between("student", theirs, "control", ours, labels)
    assert (turned.lost, turned.gained) == (30, 0)
    assert turned.lost_images == list(range(12))


def test_each_student_is_compared_with_its_teacher_and_with_the_models_of_its_verdicts():
    labels, classes = np.array([0, 1]), ("a", "b")

    def pairs(*roles):
        chosen = {role: evaluated(role, labels, classes, called([0, 1], 1)) for role in roles}
        return [(one.of, one.against) for one in flips(chosen, labels)]

    assert pairs("teacher", "control", "student") == [
        ("student", "teacher"),
        ("student", "control"),
    ]
    assert pairs("teacher", "subclass-teacher", "control", "student", "subclass-student") == [
        ("student", "teacher"),
        ("student", "control"),
        ("subclass-student", "subclass-teacher"),
        ("subclass-student", "control"),
        ("subclass-student", "student"),
    ]
    assert pairs("teacher", "subclass-teacher", "control") == []
