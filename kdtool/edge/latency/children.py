"""The processes that time models, as seen from the process that drives them."""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from typing import Any

from kdtool.edge.latency.job import ANSWER, FORKS, Job
from kdtool.errors import KdtoolError

# NumPy's own threads are never used in a child, and a fork should have none.
ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Child:
    """One process that times one model at a time."""

    def __init__(self) -> None:
        self._path = ""
        self._start()

    def _start(self) -> None:
        self._last_words = tempfile.TemporaryFile()  # noqa: SIM115  closed in `end`
        # -P: a user's own numpy.py or onnx.py in the current folder must not be imported.
        # A session of its own: Ctrl-C reaches the parent alone, which then ends its children.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "kdtool.edge.latency.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._last_words,
            encoding="utf-8",
            errors="replace",
            env=os.environ | ENVIRONMENT,
            start_new_session=True,
        )

    def open(self, job: Job) -> dict[str, Any]:
        """Load a model in a fresh process and run it once."""
        if self._path and not FORKS:
            self.end()
            self._start()
        self._path = job.path
        return self._ask(asdict(job))

    def ask(self, *request: object) -> dict[str, Any]:
        """Let the child do something with its model.

        Args:
            request: See `kdtool.edge.latency.child`.

        Raises:
            KdtoolError: The model cannot be run, or the child died.
        """
        return self._ask(request)

    def end(self) -> None:
        """End the process and whatever it forked."""
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):  # it is gone already
                os.killpg(self._process.pid, signal.SIGKILL)
        else:
            self._process.kill()
        self._process.communicate()
        self._last_words.close()

    def _ask(self, request: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it died; why, is told below
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        for line in self._process.stdout:  # libraries may write there, too
            if line.startswith(ANSWER):
                answer: dict[str, Any] = json.loads(line.removeprefix(ANSWER))
                break
        else:
            answer = {"died": self._process.wait()}
        if "error" in answer:
            raise KdtoolError(answer["error"])
        if "died" in answer:
            self._last_words.seek(0)
            words = self._last_words.read().decode("utf-8", errors="replace")
            raise KdtoolError(obituary(self._path, answer["died"], words))
        return answer


@contextmanager
def started_children(count: int) -> Iterator[list[Child]]:
    """Start processes; they end with the block, whatever happens in it."""
    with ExitStack() as stack:
        children = []
        for _ in range(count):
            children.append(Child())
            stack.callback(children[-1].end)
        yield children


def obituary(path: str, returncode: int, stderr: str) -> str:
    """Say how a child died; below zero, the code is the signal that ended it."""
    if returncode == -9:
        how = "was killed, most likely for want of memory: try a smaller batch or fewer files"
    elif returncode < 0:
        how = f"was ended by signal {-returncode}"
    else:
        how = f"ended with exit code {returncode}"
    last_lines = "\n".join(f"  {line}" for line in stderr.strip().splitlines()[-5:])
    return f"the process that times {path} {how}; its last words:\n{last_lines or '  (none)'}"
