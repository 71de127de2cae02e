import hashlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from kdtool.errors import StudyError
from kdtool.files import replaced, save_arrays, sha256_of, write_atomic


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
