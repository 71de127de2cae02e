"""Progress and messages of models that train elsewhere, shown here."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from kdtool.errors import KdtoolError
from kdtool.results.base import TEACHER_OF
from kdtool.train.pipeline.parallel.pieces import Piece
from kdtool.train.reporter import Reporter, Update

SECONDS_BETWEEN_UPDATES = 0.1  # of one model; a step of a small one takes a millisecond

Event = tuple[Any, ...]  # number of the model, name of the event, arguments


@dataclass(frozen=True)
class Workers:
    """What trains models elsewhere: processes of this machine, or a cluster."""

    # Takes a model and its number. The event "over" follows all others of a model, but if its
    # future has an exception
    submit: Callable[[int, Piece], Future[Any]]
    # Waits for a submitted model, which is a stage of the study then; raises KdtoolError
    collect: Callable[[Piece, Future[Any]], None]
    events: SimpleQueue[Event] = field(default_factory=SimpleQueue)  # of all models


class Remote:
    """A reporter that sends everything to the main process, which shows it."""

    def __init__(self, send: Callable[..., None]) -> None:
        """Report by `send`, which takes the name of an event and its arguments."""
        self.send = send

    def say(self, text: str) -> None:
        """Send a message."""
        self.send("say", text)

    def warn(self, text: str) -> None:
        """Send a warning."""
        self.send("warn", text)

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[Update]:
        """Send the progress of a piece of work, ten times a second at most."""
        last = -SECONDS_BETWEEN_UPDATES

        def update(done: int, text: str) -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= SECONDS_BETWEEN_UPDATES:
                last = now
                self.send("update", done, text)

        self.send("begin", title, total)
        yield update
        self.send("end")


class Shown:
    """One model that trains elsewhere, as shown here."""

    def __init__(self, piece: Piece, reporter: Reporter) -> None:
        self.piece, self.reporter = piece, reporter
        self.bar = ExitStack()
        self.update: Update = lambda _done, _text: None

    def show(self, event: str, *arguments: Any) -> None:
        """Show an event of a `Remote`."""
        match event:
            case "begin":
                self.bar.close()  # a lost process had opened one
                title, total = arguments
                bar = self.reporter.progress(self.piece.titled(title), total)
                self.update = self.bar.enter_context(bar)
            case "update":
                self.update(*arguments)
            case "end":
                self.bar.close()
            case "say" | "warn":
                getattr(self.reporter, event)(self.piece.titled(*arguments))


def train_pieces(
    pieces: list[Piece],
    reporter: Reporter,
    workers: Workers,
    at_once: int,
    is_checked: Callable[[], bool],
) -> None:
    """Train models elsewhere, and show the progress of all.

    Students wait for the check, but where a worker would be idle: one that trains meanwhile costs
    nothing, and ends with the others if the check fails.

    Args:
        pieces: In the order of training, students last.
        reporter: Shows it.
        workers: Train them.
        at_once: How many models they train at a time.
        is_checked: Whether teachers and controls are trained and worth it; asked again after each
            model that is finished, until it returns True.

    Raises:
        KdtoolError: A model cannot be trained, or `is_checked` did.
    """
    shown = [Shown(piece, reporter) for piece in pieces]
    futures: dict[int, Future[Any]] = {}
    num_begun = 0
    checked = all(piece.role not in TEACHER_OF for piece in pieces) or is_checked()
    with ExitStack() as stack, kept_if_finished(pieces, workers, futures):
        for one in shown:
            stack.callback(one.bar.close)
        while True:
            for piece in pieces[num_begun:]:
                if not checked and piece.role in TEACHER_OF and len(futures) >= at_once:
                    break
                futures[num_begun] = submitted(workers, num_begun, piece)
                num_begun += 1
            if not futures:
                return
            number, event, *arguments = workers.events.get()
            if event == "lost":
                raise KdtoolError(*arguments)
            if event == "failed" or (event == "over" and number in futures):
                workers.collect(pieces[number], futures.pop(number))
                checked = checked or is_checked()
            else:
                shown[number].show(event, *arguments)


@contextmanager
def kept_if_finished(
    pieces: list[Piece], workers: Workers, futures: Mapping[int, Future[Any]]
) -> Iterator[None]:
    """Keep the models that are finished when an error ends the block, as that of another model.

    Args:
        pieces: The models.
        workers: That train them.
        futures: Of those that are not collected, by number.
    """
    try:
        yield
    except KdtoolError:
        for number, future in futures.items():
            if future.done() and not future.cancelled() and future.exception() is None:
                with suppress(KdtoolError):  # its own; the first error is reported
                    workers.collect(pieces[number], future)
        raise


def submitted(workers: Workers, number: int, piece: Piece) -> Future[Any]:
    """Submit a model, the failure of which becomes an event."""

    def report(future: Future[Any]) -> None:
        if not future.cancelled() and future.exception() is not None:
            workers.events.put((number, "failed"))

    future = workers.submit(number, piece)
    future.add_done_callback(report)
    return future
