"""How long a download waits for a server that says nothing."""

import contextlib
import socket
from collections.abc import Iterator

# Of one connection or read. A server has several addresses, each tried for so long.
TIMEOUT_SECONDS = 10.0


@contextlib.contextmanager
def waiting_no_longer() -> Iterator[None]:
    """Let no socket of the block wait longer; what downloads has no argument for it."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
