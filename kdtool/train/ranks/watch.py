"""When a rank fails: one message, by rank 0, and the end of all."""

import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from torch._C._distributed_c10d import Store

from kdtool.errors import KdtoolError
from kdtool.train.ranks.group import ALONE, Ranks
from kdtool.train.ranks.join import connected, is_lost, join, own_device
from kdtool.train.ranks.launched import Launched

FAILED = "failed"  # key of the store: what the first rank that failed says
SECONDS_BETWEEN_LOOKS = 0.5
GRACE = 2.0  # seconds in which rank 0 may find the same error by itself
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
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C: rank 0 says what there is to say
    try:
        store, device = connected(launched), own_device(device, launched)
        yield join(launched, device, store), device
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


@contextmanager
def watching(launched: Launched, end: Callable[[str], None]) -> Iterator[None]:
    """On rank 0: end with one message when another rank fails or torchrun ends all.

    A thread looks, since the main one may wait for a GPU or for a rank that is gone.

    Args:
        launched: The place of this rank.
        end: Shows an error.

    Raises:
        KdtoolError: Another rank is gone.
    """
    store, over, speaking = connected(launched), threading.Event(), threading.Lock()
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    before = signal.signal(signal.SIGTERM, lambda *_: None)  # what matters is the byte it sends
    fd_before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)

    def look() -> None:
        while not over.is_set():
            ready, _, _ = select.select([ours], [], [], SECONDS_BETWEEN_LOOKS)
            ended = bool(ready) and signal.SIGTERM in ours.recv(64)
            if not ended and failure(store) is None:
                continue
            if not ended:
                over.wait(GRACE)
            with speaking:
                if not over.is_set():
                    end(failure(store) or KILLED)
                    os._exit(1)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield
        # After an error torchrun may send SIGTERM before the message is printed.
        signal.signal(signal.SIGTERM, before)
    except RuntimeError as error:
        if not is_lost(error):
            raise
        raise KdtoolError(failure(store) or KILLED) from error
    finally:
        with speaking:
            over.set()
        signal.set_wakeup_fd(fd_before)
        thread.join()
        ours.close()
        theirs.close()
