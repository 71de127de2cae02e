"""What is said of a machine: from where on something is too little, and how to fix it."""

import os
import shutil
from pathlib import Path

import pytest

from kdtool.edge.machine.check import folder_of, softened, threads_of_torch
from kdtool.edge.machine.clock import (
    Letters,
    judge_clock,
    judge_letters,
    newest_file,
    tick_seconds,
)
from kdtool.edge.machine.packages import judge_gpu, training
from kdtool.edge.machine.resources import (
    Folder,
    judge_cores,
    judge_descriptors,
    judge_folder,
    judge_load,
    judge_memory,
    judge_shared_memory,
    no_folder,
)

GB = 10**9
DAY = 86400


def folder(free_bytes=100 * GB, free_files=10**6, *, is_writable=True, use="studies"):
    return Folder(use, Path("/data/runs"), Path("/data"), is_writable, free_bytes, free_files)


GOOD = {
    "as many threads as cores": judge_cores(4, 4, None),
    "fewer threads": judge_cores(4, 2, "OMP_NUM_THREADS=2"),
    "a quiet machine": judge_load(0.9, 2),
    "memory": judge_memory(16 * GB, 8 * GB, trains=True),
    "a device with little memory": judge_memory(GB // 2, GB // 4, trains=False),
    "memory that is not known": judge_memory(None, None, trains=True),
    "a disk": judge_folder(folder()),
    "a disk without a limit of files": judge_folder(folder(free_files=None)),
    "a disk that is not known": judge_folder(folder(None, None)),
    "open files": judge_descriptors(1024),
    "open files without a limit": judge_descriptors(None),
    "shared memory of a container": judge_shared_memory(True, 64 * 10**6, []),
    "a clock": judge_clock(1e-7, 1000 * DAY, 999 * DAY)[0],
    "a date": judge_clock(1e-7, 1000 * DAY, 999 * DAY)[1],
    "a file server whose clock is ahead": judge_clock(1e-7, 1000 * DAY, 1000 * DAY + 60)[1],
    "letters": judge_letters(Letters("utf-8", "utf-8", "UTF-8")),
    "a terminal of ASCII": judge_letters(Letters("ascii", "utf-8", "US-ASCII")),
    "no GPU": judge_gpu(None, "2.9.0+cpu"),
    "a GPU": judge_gpu("NVIDIA H100", "2.9.0+cu128"),
    "a device without PyTorch": training({"numpy": "2.0"}),
}  # fmt: skip

BAD = [
    (judge_cores(2, 64, None), "warning",
     "2 cores, PyTorch uses 64 threads", "export OMP_NUM_THREADS=2"),
    (judge_load(1.6, 2), "warning", "1.6 programs ran or waited on 2 cores", None),
    (judge_memory(GB // 2, GB // 4, trains=True), "fails",
     "500 MB, of which 250 MB are free", "more memory"),
    (judge_memory(16 * GB, GB // 2, trains=True), "warning",
     "16.0 GB, of which 500 MB are free", "end other programs"),
    (judge_memory(64 * 10**6, 10**6, trains=False), "fails", "64.0 MB", "more memory"),
    (judge_folder(folder(is_writable=False)), "fails", "/data cannot be written", "--out FOLDER"),
    (judge_folder(folder(free_bytes=10**6)), "fails", "1.00 MB are free", "--out FOLDER"),
    (judge_folder(folder(free_bytes=GB), 2 * GB), "fails", "1.00 GB are free", "make room"),
    (judge_folder(folder(free_files=0)), "fails", "takes no more files", "delete files"),
    (judge_folder(folder(free_bytes=GB // 2)), "warning", "500 MB are free", None),
    (judge_folder(folder(free_bytes=0, use="temporary files")), "fails", "0 bytes", "TMPDIR"),
    (judge_folder(folder(free_bytes=0, use="downloads")), "fails", "0 bytes", "XDG_CACHE_HOME"),
    (no_folder("downloads", "no home", needed=False), "warning", "no home", "XDG_CACHE_HOME"),
    (no_folder("temporary files", "none", needed=True), "fails", "none", "TMPDIR"),
    (judge_descriptors(16), "fails", "at most 16 at a time", "ulimit -n 1024"),
    (judge_descriptors(64), "warning", "at most 64 at a time", "ulimit -n 1024"),
    (judge_shared_memory(False, None, []), "warning", "it is missing", "--jobs 1"),
    (judge_shared_memory(False, GB, []), "warning", "it cannot be written", "--jobs 1"),
    (judge_shared_memory(True, 64 * 10**6, ["ray"]), "warning", "64.0 MB", "--shm-size"),
    (judge_clock(0.0156, 1000 * DAY, 0)[0], "warning", "steps of 15,600,000 ns", "--batch 32"),
    (judge_clock(1e-7, 1000 * DAY, 1010 * DAY)[1], "warning", "are 10 days newer", "set the clock"),
    (judge_letters(Letters("latin-1", "iso8859-1", "ISO-8859-1")), "warning", "names of files "
     "iso8859-1", "PYTHONUTF8=1"),
    (judge_gpu("NVIDIA H100", "2.9.0+cpu"), "warning", "built for processors only", "pytorch.org"),
    (training({"torch": "2.9"}), "fails", "without captum, jinja2", " install "),
]  # fmt: skip


@pytest.mark.parametrize("finding", GOOD.values(), ids=GOOD)
def test_what_is_enough_is_ok(finding):
    assert (finding.mark, finding.fix) == ("ok", None)


@pytest.mark.parametrize(("finding", "mark", "found", "fix"), BAD)
def test_what_is_too_little_is_found_with_its_fix(finding, mark, found, fix):
    assert finding.mark == mark
    assert found in finding.found
    assert finding.means
    assert (fix is None and finding.fix is None) or fix in finding.fix


def test_what_only_some_commands_need_is_a_warning():
    fails, warns = judge_folder(folder(free_bytes=0)), judge_folder(folder(free_bytes=GB // 2))
    assert softened(fails) == fails.model_copy(update={"mark": "warning"})
    assert softened(warns) == warns


def test_a_system_without_shared_memory_has_nothing_to_say():
    assert judge_shared_memory(None, None, ["ray"]) is None
    assert judge_load(None, 2) is None


def test_a_folder_that_does_not_exist_is_on_the_disk_of_the_one_above(tmp_path):
    assert folder_of("studies", tmp_path / ("a" * 300)).exists == tmp_path  # it is no name
    found = folder_of("studies", tmp_path / "a" / "b")
    assert (found.path, found.exists) == (tmp_path / "a" / "b", tmp_path)
    assert found.is_writable
    if hasattr(os, "statvfs"):
        assert found.free_bytes == pytest.approx(shutil.disk_usage(tmp_path).free, rel=0.05)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", (3, "OMP_NUM_THREADS=3")), ("4,2", (4, "OMP_NUM_THREADS=4")), ("", (8, None)),
     ("many", (8, None)), ("0", (8, None))],
)  # fmt: skip
def test_threads_are_those_of_the_environment(monkeypatch, value, expected):
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert threads_of_torch(8) == expected


def test_the_clock_moves_and_files_are_of_the_past(tmp_path):
    assert 0 < tick_seconds() < 1
    (tmp_path / "old.py").write_text("")
    (tmp_path / "new.py").write_text("")
    os.utime(tmp_path / "old.py", (1000, 1000))
    os.utime(tmp_path / "new.py", (5000, 5000))
    assert newest_file([tmp_path]) == 5000
    assert newest_file([tmp_path / "absent"]) == 0
