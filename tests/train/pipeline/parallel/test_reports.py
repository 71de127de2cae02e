"""Models that train elsewhere: in which order they begin, and what is shown of them."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from threading import Event

import pytest
from recorded import Recorded

from kdtool.errors import GateError, KdtoolError
from kdtool.train.pipeline.parallel.pieces import Piece
from kdtool.train.pipeline.parallel.reports import Remote, Workers, train_pieces


class Bars(Recorded):
    """A reporter that keeps what begins and ends."""

    @contextmanager
    def progress(self, title, total):
        self.said.append(f"begin {title}")
        yield lambda done, _text: self.said.append(f"{done} of {total}")
        self.said.append(f"end {title}")


def pieces(*titles):
    """Models of these settings; those with a "T" are students."""
    return [Piece(one, "student" if "T" in one else "control", None, None) for one in titles]


@contextmanager
def threads(train, count=2):
    """Workers that are threads of this process, which call `train` with a reporter and a title."""
    events = SimpleQueue()
    with ThreadPoolExecutor(count) as pool:

        def work(number, piece):
            train(Remote(lambda *event: events.put((number, *event))), piece.title)
            events.put((number, "over"))

        yield Workers(
            lambda number, piece: pool.submit(work, number, piece),
            lambda _piece, future: future.result(),
            events,
        )


def test_students_begin_after_the_check_if_no_worker_is_idle():
    began, checks = [], []

    def checked():
        checks.append(set(began))
        return {"a", "b"} <= set(began)

    with threads(lambda _, title: began.append(title), 1) as workers:
        train_pieces(pieces("a", "b", "T1", "T2"), Recorded(), workers, 1, checked)
    assert began == ["a", "b", "T1", "T2"]
    assert checks == [set(), {"a"}, {"a", "b"}]  # and no more after it held


def test_an_idle_worker_trains_a_student_before_the_check():
    ended, student_began = [], Event()

    def train(_, title):
        if title == "T1":
            student_began.set()
        elif title == "c":  # the last control: it ends after a student began beside it
            assert student_began.wait(60)
        ended.append(title)

    every = pieces("a", "b", "c", "T1", "T2")
    with threads(train) as workers:
        train_pieces(every, Recorded(), workers, 2, lambda: "c" in ended)
    assert sorted(ended) == ["T1", "T2", "a", "b", "c"]


@pytest.mark.parametrize(("at_once", "expected"), [(1, ["a"]), (2, ["T1", "a"])])
def test_a_check_that_fails_ends_the_training_of_students(at_once, expected):
    began, ended = [], Event()

    def train(_, title):
        began.append(title)
        if title == "T1":
            assert ended.wait(60)

    def weak():
        if began:
            raise GateError("the teacher is no better than the control")
        return False

    with threads(train, at_once) as workers:
        with pytest.raises(GateError):
            train_pieces(pieces("a", "T1", "T2"), Recorded(), workers, at_once, weak)
        ended.set()
    assert sorted(began) == expected


def test_an_error_of_a_model_is_raised_while_another_one_trains():
    other = Event()

    def train(_, title):
        if title == "b":
            raise KdtoolError("the loss is nan")
        assert other.wait(60)

    with threads(train) as workers:
        with pytest.raises(KdtoolError, match="the loss is nan"):
            train_pieces(pieces("a", "b"), Recorded(), workers, 2, lambda: True)
        other.set()


def test_models_that_are_finished_when_another_one_fails_are_kept():
    """Their events may be behind that of the failure."""
    collected, finished = [], Event()

    def train(_, title):
        if title == "a":
            assert finished.wait(60)
            raise KdtoolError("the loss is nan")

    with threads(train) as workers:

        def submit(number, piece):
            future = workers.submit(number, piece)
            if number == 1:
                future.result()
                assert workers.events.get() == (1, "over")  # nothing will say that it is finished
                finished.set()
            return future

        def collect(piece, future):
            future.result()
            collected.append(piece.title)

        every = Workers(submit, collect, workers.events)
        with pytest.raises(KdtoolError, match="the loss is nan"):
            train_pieces(pieces("a", "b"), Recorded(), every, 2, lambda: True)
    assert collected == ["b"]


def test_a_model_that_is_tried_again_has_one_bar_and_its_messages_have_its_setting():
    def train(reporter, _):
        reporter.send("begin", "control, seed 3", 9)  # of a process that is lost
        with reporter.progress("control, seed 3", 9) as update:
            update(4, "")
            update(5, "")  # too soon after the other one
        reporter.say("done")

    shown = Bars()
    with threads(train) as workers:
        train_pieces(pieces("a"), shown, workers, 2, lambda: True)
    title = "a: control, seed 3"
    begun = [f"begin {title}", f"end {title}"]
    assert shown.said == [*begun, begun[0], "4 of 9", begun[1], "a: done"]
