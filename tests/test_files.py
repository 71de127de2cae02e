import hashlib
import os
import signal
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from kdtool.errors import StudyError
from kdtool.files import (
    new_folder,
    replaced,
    save_arrays,
    scratch_folder,
    sha256_of,
    signals_wait,
    write_atomic,
)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    write_atomic(path, "old")
    with pytest.raises(ZeroDivisionError), replaced(path) as unfinished:
        unfinished.write_text(f"half {1 / 0}")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_an_error_with_the_name_of_the_file(tmp_path):
    # every write to /dev/full fails as on a full disk
    message = r"cannot write .*file\.json: No space left"
    with pytest.raises(StudyError, match=message), full_disk(tmp_path / "file.json") as unfinished:
        unfinished.write_bytes(b"content")
    assert list(tmp_path.iterdir()) == []


@contextmanager
def full_disk(path):
    with replaced(path) as unfinished:
        unfinished.unlink()
        unfinished.symlink_to("/dev/full")
        yield unfinished


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    assert sha256_of(tmp_path / "file") == hashlib.sha256(b"content").hexdigest()


def test_arrays_are_read_back_by_name(tmp_path):
    save_arrays(tmp_path / "new" / "a.npz", labels=np.arange(3), images=np.zeros((2, 1)))
    with np.load(tmp_path / "new" / "a.npz") as arrays:
        assert arrays["labels"].tolist() == [0, 1, 2]
        assert arrays["images"].shape == (2, 1)


class EndedError(KeyboardInterrupt):
    pass


@pytest.fixture(params=["SIGINT", "SIGTERM", "SIGHUP"])
def ending(request):
    """A signal that raises in this process, as kdtool's handler makes it."""
    if not hasattr(signal, request.param):
        pytest.skip(f"no {request.param}")
    number = getattr(signal, request.param)

    def end(_number, _frame):
        raise EndedError

    before = signal.signal(number, end)
    yield number
    signal.signal(number, before)


def at_once(monkeypatch, owner, name, number, after):
    """Have a signal come right before the first call of a function, or after one that went well."""
    called, came = getattr(owner, name), []

    def come():
        if not came:
            came.append(number)
            signal.raise_signal(number)

    def call(*arguments, **options):
        if not after:
            come()
        result = called(*arguments, **options)
        if after:
            come()
        return result

    monkeypatch.setattr(owner, name, call)


@pytest.mark.parametrize(("call", "after"), [("mkdir", True), ("rmdir", False)])
@pytest.mark.parametrize("make", [scratch_folder, lambda folder: new_folder(folder / "new")])
def test_a_signal_while_a_folder_is_made_or_removed_leaves_none(
    make, call, after, ending, tmp_path, monkeypatch
):
    def use():
        with make(tmp_path) as folder:
            (folder / "file").touch()
            raise ValueError  # it ends the block, and so the folder

    at_once(monkeypatch, os, call, ending, after)
    with pytest.raises(EndedError):
        use()
    assert [*tmp_path.iterdir()] == []


def test_a_signal_while_a_file_is_made_leaves_none(ending, tmp_path, monkeypatch):
    at_once(monkeypatch, tempfile, "mkstemp", ending, after=True)
    with pytest.raises(EndedError), replaced(tmp_path / "file"):
        pytest.fail("the block runs")
    assert [*tmp_path.iterdir()] == []


def test_a_signal_waits_for_the_end_of_the_block(ending):
    steps = []
    with pytest.raises(EndedError), signals_wait():
        steps += [signal.raise_signal(ending), "done"]
    assert steps == [None, "done"]


def test_a_signal_that_is_ignored_stays_so(tmp_path):
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with scratch_folder(tmp_path):
            pass
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
