"""When a rank fails: one message, by rank 0, and the end of all."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from torch._C._distributed_c10d import Store

from kdtool.errors import NOTHING_LOST, KdtoolError
from kdtool.files import ENDING, remove_scratch_folders
from kdtool.train.ranks.group import ALONE, Ranks
from kdtool.train.ranks.join import connected, is_lost, join, own_device
from kdtool.train.ranks.launched import Launched

FAILED = "failed"  # key of the store: what the first rank that failed says
SECONDS_BETWEEN_LOOKS = 0.5
GRACE = 2.0  # seconds in which rank 0 may find the same error by itself
SECONDS_TO_INTERRUPT = 10.0  # in which the main thread ends after Ctrl-C; torchrun waits for 30
SECONDS_TO_BE_ENDED = 60.0  # by torchrun, when rank 0 has reported the failure
KILLED = (
    "a rank is gone or does not answer, or torchrun ended this one: perhaps one was killed for "
    "lack of memory, was interrupted, or its machine cannot be reached; run the same command again "
    "to resume, with as many ranks as you like"
)


def failure(store: Store) -> str | None:
    """Return what another rank reported; None: nothing, or the store is gone."""
    try:
        return store.get(FAILED).decode() if store.check([FAILED]) else None
    except RuntimeError:
        return None


@contextmanager
def leading(
    launched: Launched | None, device: str, end: Callable[[str], None]
) -> Iterator[tuple[Ranks, str]]:
    """Join the other ranks as rank 0; let them end with the block, if they have not before.

    Args:
        launched: The place of this rank; None: it is alone.
        device: Of --device.
        end: Shows an error.

    Yields:
        The ranks, and the device of this one.

    Raises:
        KdtoolError: Another rank is gone, or cannot be reached.
    """
    if launched is None:
        yield ALONE, device
        return
    store = connected(launched, first=True)
    with watching(launched, end):
        device = own_device(device, launched)
        ranks = join(launched, device, store)
        yield ranks, device
        ranks.dismiss()


@contextmanager
def following(launched: Launched, device: str) -> Iterator[tuple[Ranks, str]]:
    """Join the other ranks as one that follows; send what goes wrong to rank 0, which reports it.

    Args:
        launched: The place of this rank.
        device: Of --device.

    Yields:
        The ranks, and the device of this one.

    Raises:
        SystemExit: Something went wrong.
    """
    with on_signals(ENDING, lambda _number: end_now()):  # rank 0 says what there is to say
        try:
            store, device = connected(launched), own_device(device, launched)
            ranks = join(launched, device, store)
            yield ranks, device
            ranks.leave()
        except Exception as error:
            if not is_lost(error):  # else rank 0 or another rank failed first
                what = str(error) if isinstance(error, KdtoolError) else in_words(error)
                with suppress(KdtoolError):  # rank 0 cannot be reached; it finds out
                    connected(launched).set(FAILED, f"{launched.name}: {what}")
                time.sleep(SECONDS_TO_BE_ENDED)
            raise SystemExit(1) from error


def in_words(error: BaseException) -> str:
    """Return an error of PyTorch, or of anything that a user's network raises."""
    return f"{type(error).__name__}: {error}; without torchrun it comes with a traceback"


def end_now() -> None:
    """End this process, which may wait for a GPU or for a rank that is gone."""
    remove_scratch_folders()
    os._exit(1)


@contextmanager
def on_signals(numbers: Collection[int], act: Callable[[int], None]) -> Iterator[None]:
    """Have a thread act on signals in the block: the main thread may wait for something else.

    Args:
        numbers: Of the signals. One that has a handler keeps it too.
        act: Is given the number of each that comes.

    After an error in the block signals that would end this process stay without effect: torchrun
    may send one before the message is printed.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = {number: signal.getsignal(number) for number in numbers}
    for number, handler in before.items():
        if not callable(handler):  # what matters is the byte that Python sends then
            signal.signal(number, lambda *_: None)
    fd_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

    def look() -> None:
        while came := ours.recv(64):
            for number in came:
                if number in numbers:
                    act(number)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
        for number, handler in before.items():
            signal.signal(number, handler)
    finally:
        signal.set_wakeup_fd(fd_before)
        theirs.close()
        thread.join()
        ours.close()


class Watch:
    """On rank 0: ends it with one message when another rank fails or torchrun ends all."""

    def __init__(self, store: Store, end: Callable[[str], None]) -> None:
        """See `watching`; `store` has what the first rank that failed says."""
        self.store, self.end = store, end
        self.over, self.speaking = threading.Event(), threading.Lock()

    def stop(self, text: str | None = None) -> None:
        """End this process with a message, unless it has ended its work."""
        with self.speaking:
            if not self.over.is_set():
                self.end(text or failure(self.store) or KILLED)
                end_now()

    def on_signal(self, number: int) -> None:
        """End after SIGTERM at once, and after Ctrl-C if the main thread does not."""
        if number == signal.SIGTERM:
            self.stop()
        elif not self.over.wait(SECONDS_TO_INTERRUPT):  # it waits for a GPU
            self.stop(NOTHING_LOST)

    def look(self) -> None:
        """End when another rank has failed."""
        while not self.over.wait(SECONDS_BETWEEN_LOOKS):
            if failure(self.store) is not None:
                self.over.wait(GRACE)
                self.stop()


@contextmanager
def watching(launched: Launched, end: Callable[[str], None]) -> Iterator[None]:
    """On rank 0: end with one message when another rank fails or torchrun ends all.

    Args:
        launched: The place of this rank.
        end: Shows an error.

    Raises:
        KdtoolError: Another rank is gone.
    """
    watch = Watch(connected(launched), end)
    thread = threading.Thread(target=watch.look, daemon=True)
    thread.start()
    with on_signals({signal.SIGINT, signal.SIGTERM}, watch.on_signal):
        try:
            yield
        except RuntimeError as error:
            if not is_lost(error):
                raise
            raise KdtoolError(failure(watch.store) or KILLED) from error
        finally:
            with watch.speaking:
                watch.over.set()
            thread.join()
