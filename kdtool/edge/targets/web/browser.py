"""Headless Chromium, without a package: it talks JSON through two pipes.

Source: the Chrome DevTools Protocol; `--remote-debugging-pipe` reads from descriptor 3 and writes
to 4, each message with a zero byte at its end.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kdtool.errors import KdtoolError

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-extensions",
    "--disable-sync",
    "--no-default-browser-check",
    "--no-first-run",
)
# Gives the two descriptors their numbers; `subprocess` passes them on with those that they have.
START = """
import fcntl, os, sys
ours = [fcntl.fcntl(int(number), fcntl.F_DUPFD, 10) for number in sys.argv[1:3]]
for number, descriptor in enumerate(ours, start=3):
    os.dup2(descriptor, number)
    os.close(descriptor)
os.execv(sys.argv[3], sys.argv[3:])
"""
TIMEOUT_SECONDS = 120.0  # for one answer: a slow machine compiles 14 MB of WebAssembly
BLOCK = 1 << 16  # bytes that are read at once


def find_chromium() -> Path | None:
    """Return the program of an installed Chromium or Chrome; None if there is none.

    Always None on Windows, where programs share no pipes by their number.
    """
    if os.name == "nt":
        return None
    found = next(filter(None, map(shutil.which, NAMES)), None)
    return None if found is None else Path(found)


class Browser:
    """A running Chromium with one page; it ends with the block of `with`."""

    def __init__(self, program: Path) -> None:
        self._program = program
        self._profile = tempfile.TemporaryDirectory(prefix="kdtool-", ignore_cleanup_errors=True)
        from_us, self._to = os.pipe()
        self._from, to_us = os.pipe()
        flags = [*FLAGS, f"--user-data-dir={self._profile.name}"]
        if os.geteuid() == 0:  # as in a container, where Chromium refuses to start with a sandbox
            flags.append("--no-sandbox")
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", START, str(from_us), str(to_us), program, *flags],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(from_us, to_us),
        )
        os.close(from_us)
        os.close(to_us)
        self._pending = b""
        self._number = 0
        self._events: list[str] = []
        self._session: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._to)  # Chromium ends where nobody can talk to it
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._from)
        self._profile.cleanup()

    def version(self) -> str:
        """Return the name and version, such as "Chrome/150.0.7871.100"."""
        return str(self._call("Browser.getVersion")["product"])

    def open(self, address: str) -> None:
        """Open a page, and wait until it is loaded.

        Raises:
            KdtoolError: It cannot be read.
        """
        self._session = None
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        attached = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = str(attached["sessionId"])
        self._call("Page.enable")
        self._events = []
        opened = self._call("Page.navigate", url=address)
        if "errorText" in opened:  # a Chromium from a snap does not read hidden folders
            raise KdtoolError(
                f"{self._program} cannot open {address}: {opened['errorText']}; install a Chromium "
                "that may read this folder, or write into another one"
            )
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while "Page.loadEventFired" not in self._events:
            self._read(deadline)

    def evaluate(self, expression: str) -> Any:
        """Return the JSON value of JavaScript in the page, and wait for it if it is a promise.

        Raises:
            KdtoolError: It throws an exception.
        """
        answer = self._call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            text = details.get("exception", {}).get("description") or details["text"]
            raise KdtoolError(f"the page failed in Chromium: {text}")
        return answer["result"].get("value")

    def _call(self, method: str, **params: object) -> dict[str, Any]:
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        try:
            while data:
                data = data[os.write(self._to, data) :]
        except BrokenPipeError as error:
            raise self._ended() from error
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (answer := self._read(deadline)).get("id") != self._number:
            pass  # an event
        if "error" in answer:
            raise KdtoolError(f"Chromium refused {method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._pending:
            ready, _, _ = select.select([self._from], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise KdtoolError(f"Chromium did not answer within {TIMEOUT_SECONDS:.0f} s")
            block = os.read(self._from, BLOCK)
            if not block:
                raise self._ended()
            self._pending += block
        first, _, self._pending = self._pending.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        self._events.append(message.get("method", ""))
        return message

    def _ended(self) -> KdtoolError:
        return KdtoolError(
            f"{self._program} ended by itself; see whether `{self._program} --headless "
            "about:blank` starts"
        )
