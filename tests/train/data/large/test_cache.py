"""A set that does not fit into memory is decoded once into a file, and gives the same bits."""

import errno
import json
import os
import pickle
import shutil
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import loading
import numpy as np
import pytest
import torch
from loading import load_splits, no_progress
from pictures import draw, save, save_classes

from kdtool import environment
from kdtool.errors import DataError, StudyError
from kdtool.files import UNFINISHED
from kdtool.recipe.data import FolderTable, parse_memory
from kdtool.train.data.images import read_pictures
from kdtool.train.data.large import cache
from kdtool.train.data.large.stored import (
    ChannelsLast,
    Held,
    StoredImages,
    channels_last,
    hold,
    unread,
)

SIDE = 20
ROW = 3 * SIDE * SIDE  # bytes
LITTLE = "0.001 MB"  # less than one image


def load(root, warn=pytest.fail, **settings):
    return load_splits(FolderTable(source="folder", root=root, **{"size": SIDE, **settings}), warn)


def read(paths, **settings):
    table = FolderTable(source="folder", root=paths[0].parent, **{"size": SIDE, **settings})
    return read_pictures(paths, [path.name for path in paths], table, no_progress)


@pytest.fixture
def pictures(tmp_path):
    """Ten pictures, of which number 3 is broken."""
    (tmp_path / "set").mkdir()
    paths = [save(draw("disc", seed), tmp_path / "set", f"{seed}", seed) for seed in range(10)]
    paths[3].write_bytes(paths[3].read_bytes()[:60])
    return paths


def test_images_in_a_file_are_those_in_memory_with_the_same_warnings(pictures):
    in_memory = read(pictures, skip_broken=True)
    for _ in range(2):  # decoded, and found
        in_file = read(pictures, skip_broken=True, memory=LITTLE)
        assert isinstance(in_file.images, StoredImages)
        assert in_file.images.shape == in_memory.images.shape == (9, 3, SIDE, SIDE)
        assert np.array_equal(in_file.images[:], in_memory.images)
        assert in_file.kept.tolist() == in_memory.kept.tolist()
        assert in_file.warnings == in_memory.warnings
        assert len(in_file.warnings) == 1


def test_what_is_asked_for_is_read_in_any_form(pictures, tmp_path):
    expected, images = (read(pictures, skip_broken=True, memory=m).images for m in (None, LITTLE))
    assert np.array_equal(np.stack(list(images)), expected)
    last = expected.transpose(0, 2, 3, 1)
    for one in (images, expected):
        assert np.array_equal(channels_last(one, tmp_path), last)
        assert np.array_equal(ChannelsLast(one)[[4, 2]], last[[4, 2]])
    chosen = np.array([7, 0, 0, 5])
    for index in (chosen, chosen.tolist(), slice(2, 6), np.arange(9) % 2 == 0, []):
        assert np.array_equal(images[index], expected[index])
        assert np.array_equal(images.only(index)[:], expected[index])
    assert np.array_equal(images.only(chosen).only([3, 0])[:], expected[[5, 7]])


def test_a_folder_gives_the_same_splits_from_memory_and_from_a_file(tmp_path):
    save_classes(tmp_path / "set", 15)
    splits, stored = load(tmp_path / "set"), load(tmp_path / "set", memory=LITTLE)
    assert splits.result.read_from.model_dump() == {"where": "memory", "num_bytes": 30 * ROW}
    assert stored.result.read_from.model_dump() == {"where": "disk", "num_bytes": 30 * ROW}
    place = {"read_from": None}
    assert stored.result.model_copy(update=place) == splits.result.model_copy(update=place)
    assert stored.test_names == splits.test_names
    for name in ("train", "validation", "test"):
        of_memory, of_file = getattr(splits, name), getattr(stored, name)
        index = torch.randperm(len(of_memory), generator=torch.Generator().manual_seed(0))
        for ours, theirs in zip(of_file.batch(index), of_memory.batch(index), strict=True):
            assert torch.equal(ours, theirs)
        kept = of_memory.labels == 1
        assert np.array_equal(of_file.only(kept).pixels[:], of_memory.only(kept).pixels)


def test_duplicates_are_found_once_for_each_division_of_a_set(tmp_path, user_cache):
    save_classes(tmp_path / "set", 20)
    for name in ("cross", "disc"):  # a picture of train or test twice
        source = sorted((tmp_path / "set" / name).iterdir())
        shutil.copyfile(source[0], source[0].with_stem("zz"))
    settings = {"memory": LITTLE, "test": 0.5, "warn": lambda _text: None}
    found = [load(tmp_path / "set", **settings).result for _ in range(2)]
    assert found[0] == found[1]
    assert found[0].duplicates
    (about,) = (user_cache / "kdtool" / "decoded").glob("*.*.json")
    examined = json.loads(about.read_text())
    about.write_text(json.dumps({**examined, "fingerprint": "as it was found"}))
    assert load(tmp_path / "set", **settings).result.fingerprint == "as it was found"
    for share in (0.3, 0.4):  # found anew
        other = load(tmp_path / "set", **{**settings, "validation": share}).result
        in_memory = load(tmp_path / "set", **{**settings, "validation": share, "memory": None})
        assert other.fingerprint == in_memory.result.fingerprint
        assert other.duplicates == in_memory.result.duplicates
    about.write_text("{")
    assert load(tmp_path / "set", **settings).result == found[0]


def test_a_set_is_decoded_again_where_a_file_changed_and_only_then(pictures):
    first, last = pictures[0], pictures[-1]
    before = read([first, last], memory=LITTLE).images
    times, size = first.stat(), first.stat().st_size
    first.write_bytes(bytes(size))  # no image any more, but as large and as old as before
    os.utime(first, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert np.array_equal(read([first, last], memory=LITTLE).images[:], before[:])
    assert np.array_equal(read([first, last]).images, before[:])  # into memory, without decoding
    shutil.copyfile(last, first)  # newer
    images = read([first, last], memory=LITTLE).images
    assert np.array_equal(images[0:1], before[1:2])
    assert read([first, last], memory=LITTLE, size=SIDE + 1).images.shape[2] == SIDE + 1


def test_a_set_fits_up_to_its_size(pictures):
    paths = [pictures[0], pictures[1]]
    for num_bytes, kind in [(2 * ROW, np.ndarray), (2 * ROW - 1, StoredImages)]:
        assert isinstance(read(paths, memory=f"{num_bytes / 10**6:.6f} MB").images, kind)
    assert parse_memory("16 GB") == 16 * 10**9
    assert parse_memory("0.5TB") == 5 * 10**11


def is_read_from_file(paths, **settings):
    room = settings.pop("room", None)
    table = FolderTable(source="folder", root=paths[0].parent, size=SIDE, **settings)
    names = [path.name for path in paths]
    return isinstance(read_pictures(paths, names, table, no_progress, room).images, StoredImages)


def test_without_a_setting_a_set_may_take_a_share_of_the_free_memory(pictures, monkeypatch):
    paths = pictures[4:]
    for free, from_file in [(10 * len(paths) * ROW // 7 + 1, False), (len(paths) * ROW, True)]:
        monkeypatch.setattr(environment, "memory", lambda free=free: (10**12, free))
        assert is_read_from_file(paths) == from_file


def test_a_gpu_must_have_room_for_a_set_in_memory(pictures):
    paths = pictures[4:]
    for room, from_file in [(6 * ROW, False), (6 * ROW - 1, True)]:
        assert is_read_from_file(paths, memory="1 GB", room=room) == from_file


def test_several_processes_of_a_machine_share_its_memory(pictures, request):
    paths = pictures[4:]
    request.addfinalizer(lambda: environment.share_memory(1))
    environment.share_memory(3)
    for num_bytes, from_file in [(18 * ROW, False), (18 * ROW - 1, True)]:
        assert is_read_from_file(paths, memory=f"{num_bytes / 10**6:.6f} MB") == from_file


def test_golden_images_are_read_without_the_others(pictures):
    images = read(pictures[4:], memory=LITTLE).images
    expected = images[[1, 0]].transpose(0, 2, 3, 1)
    os.truncate(images.path, 2 * ROW)
    assert np.array_equal(ChannelsLast(images)[[1, 0]], expected)


@pytest.mark.skipif(sys.platform == "win32", reason="files have no limit there")
def test_a_disk_without_room_for_a_copy_of_images_is_an_error_and_keeps_nothing(pictures, tmp_path):
    import resource

    images, folder = read(pictures[4:], memory=LITTLE).images, tmp_path / "study"
    folder.mkdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6 * ROW - 1, before[1]))  # as a disk that is full
    try:
        with pytest.raises(StudyError) as caught:
            channels_last(images, folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert str(caught.value) == (
        f"cannot write the images, 7.20 kB, to {folder}: File too large; the limit of file sizes "
        "is too low; raise it with `ulimit -f unlimited`"
    )
    assert not list(folder.iterdir())
    assert len(list(images.path.parent.iterdir())) == 3  # images, what is known of them, a lock


LIMITED = """
import sys
from pathlib import Path
from loading import no_progress
from kdtool.recipe.data import FolderTable
from kdtool.train.data.images import read_pictures
from kdtool.train.fit.memory import limit_memory
paths = [*map(Path, sys.argv[1:])]
table = FolderTable(source="folder", root=paths[0].parent, size=1000, memory="10 GB")
limit_memory(120_000_000)
print(type(read_pictures(paths, [path.name for path in paths], table, no_progress).images))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_one_of_several_processes_reads_a_set_from_a_file_that_its_share_does_not_hold(pictures):
    """Of 120 MB 70 % may be taken, which 40 images of 3 MB exceed and eight do not."""
    for number, kind in [(8, "numpy.ndarray"), (40, "StoredImages")]:
        done = subprocess.run(
            [sys.executable, "-c", LIMITED, *[str(pictures[0])] * number],
            env=os.environ | {"PYTHONPATH": str(Path(loading.__file__).parent)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert kind in done.stdout


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


# What happens to the file of decoded images -> what reading it then says; None: it is made again.
DAMAGE = {
    "cut while it is read": (cut, r"\.images is shorter than it was; run the same command again"),
    "deleted while it is read": (
        lambda path: path.unlink(),
        r"cannot read .*\.images: No such file or directory; run the same command again",
    ),
}


def test_reading_ahead_changes_nothing_and_leaves_errors_to_reading(pictures):
    images = read(pictures[4:], memory=LITTLE).images
    expected = images[:]
    for index in (slice(None), np.array([2, 0]), []):
        images.expect(index)
    assert np.array_equal(images[:], expected)
    images.path.unlink()
    images.expect(slice(None))
    with pytest.raises(DataError, match="cannot read"):
        images[:]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_is_told_and_made_again(pictures, damage):
    change, message = DAMAGE[damage]
    paths = pictures[4:]
    images = read(paths, memory=LITTLE).images
    expected = images[:]
    change(images.path)
    with pytest.raises(DataError, match=message):
        images[:]
    assert np.array_equal(read(paths, memory=LITTLE).images[:], expected)


def test_a_cache_whose_record_is_damaged_is_made_again(pictures):
    paths = pictures[4:]
    images = read(paths, memory=LITTLE).images
    images.path.with_suffix(".json").write_text("{")
    images.path.write_bytes(bytes(len(paths) * ROW))
    assert read(paths, memory=LITTLE).images[:].any()


def test_a_set_larger_than_the_disk_is_an_error_before_it_is_decoded(pictures, user_cache):
    with pytest.raises(DataError) as caught:
        read(pictures[:1], size=1_000_000, memory="16 GB")
    text = str(caught.value)
    assert text.startswith(
        "the decoded images take 3.00 TB, more than they may of the memory (data.memory), and "
        f"cannot be written to {user_cache}/kdtool/decoded: "
    )
    assert " are free; set the environment variable XDG_CACHE_HOME to a folder" in text
    assert not list((user_cache / "kdtool" / "decoded").glob("*[!k]"))  # but a lock


FULL = """
import resource, signal, sys
import numpy
from kdtool.errors import DataError, StudyError
from kdtool.files import UNFINISHED
from kdtool.train.data.large.cache import locked, written
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))  # as a disk that is full after them
row = None
try:
    with locked("key"), written("key", int(sys.argv[1]), (1, 30, 30)) as writer:
        for row in range(10):
            writer.write(row, numpy.zeros((1, 30, 30), numpy.uint8))
except DataError as error:
    print(f"{error}; in row {row}")
"""


@pytest.mark.parametrize(
    ("num_rows", "size", "row"), [(10, "9.00 kB", None), (5, "4.50 kB", 5)], ids=["at once", "late"]
)
def test_a_disk_that_is_full_while_it_is_written_leaves_nothing(user_cache, num_rows, size, row):
    command = [sys.executable, "-c", FULL, str(num_rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    head = f"the decoded images take {size}, more than they may of the memory (data.memory), and "
    assert done.stdout.startswith(f"{head}cannot be written to {user_cache}/kdtool/decoded: ")
    assert "; set the environment variable XDG_CACHE_HOME" in done.stdout
    assert "were decoded earlier" not in done.stdout
    assert done.stdout.endswith(f"; in row {row}\n")
    assert not list((user_cache / "kdtool" / "decoded").glob("*[!k]"))  # but a lock


@pytest.mark.parametrize("memory", [LITTLE, "1 GB"])
def test_files_that_change_while_they_are_read_are_an_error(pictures, user_cache, memory):
    paths = pictures[4:]
    table = FolderTable(source="folder", root=paths[0].parent, size=SIDE, memory=memory)

    def touching(title, _total):
        if title == "reading the images":
            shutil.copyfile(paths[0], paths[1])
        return no_progress(title, _total)

    with pytest.raises(DataError, match="image files were changed while they were read; run the"):
        read_pictures(paths, [path.name for path in paths], table, touching)
    assert not list((user_cache / "kdtool" / "decoded").glob("*[!k]"))  # but a lock


DIES = """
import sys
from kdtool.train.data.large.cache import locked, written
with locked("other"), written("other", 10, (1, 30, 30)):
    print("begun", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_deleted_and_that_of_a_living_one_is_kept(
    pictures, user_cache
):
    folder = user_cache / "kdtool" / "decoded"
    with subprocess.Popen(
        [sys.executable, "-c", DIES], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"begun\n"
        (unfinished,) = folder.glob(".other.*")
        assert unfinished.stat().st_size == 9000
        read(pictures[4:], memory=LITTLE)
        assert unfinished.exists()
        process.kill()
        process.wait()
    read(pictures[5:], memory=LITTLE)
    assert not unfinished.exists()
    assert len(list(folder.glob("*.images"))) == 2


def test_a_set_that_no_run_has_used_for_a_month_makes_room_for_the_next(pictures, user_cache):
    folder = user_cache / "kdtool" / "decoded"
    month_ago = time.time() - 31 * 24 * 3600

    def sets_after(first, *, months=1):
        """The sets in the cache after another one was read, all others not used for so long."""
        for path in folder.glob("*.images"):
            path.with_suffix(".pairs.json").write_text("{}")
            for one in (path, path.with_suffix(".json")):
                os.utime(one, (month_ago, month_ago) if months else None)
        read(pictures[first:], memory=LITTLE)
        kept = {path.name.partition(".")[0] for path in folder.glob("*[!k]")}
        assert kept == {path.stem for path in folder.glob("*.images")}
        return kept

    first = sets_after(4)
    second = sets_after(5)
    assert len(second) == 1
    assert second.isdisjoint(first)
    assert sets_after(5) == second  # used again, and so not deleted by the next
    both = sets_after(6, months=0)
    assert len(both) == 2
    assert second < both


@pytest.fixture
def limited(monkeypatch, user_cache):
    """Sets the bytes that the disk has for decoded images, of which sets take some."""
    folder = user_cache / "kdtool" / "decoded"

    def limit(num_bytes):
        def usage(_path):
            used = sum(path.stat().st_size for path in folder.glob("[!.]*.images"))
            return SimpleNamespace(free=num_bytes - used)

        monkeypatch.setattr(shutil, "disk_usage", usage)

    limit(10**9)
    return limit


def used_last(pictures, first, seconds_ago, *, read_ago=None):
    """Decode all pictures from a first one; return the set, as used some seconds ago.

    The run that used it began then, and read it last as long ago or so many seconds ago.
    """
    path = read(pictures[first:], memory=LITTLE).images.path
    now = time.time()
    os.utime(path.with_suffix(".json"), (now - seconds_ago,) * 2)
    os.utime(path, (now - (seconds_ago if read_ago is None else read_ago),) * 2)
    return path


def test_sets_take_half_of_the_disk_and_those_used_longest_ago_make_room(pictures, limited):
    six, five, four = (
        used_last(pictures, first, ago) for first, ago in ((4, 10), (5, 30), (6, 20))
    )
    limited(2 * (6 + 4 + 3) * ROW)  # half of which the next one fits into with two of them
    used_last(pictures, 7, 0)
    assert [path.exists() for path in (six, five, four)] == [True, False, True]
    assert not five.with_suffix(".json").exists()
    limited(2 * (6 + 2 + 3) * ROW - 1)  # one byte too few to keep any of four and six
    used_last(pictures, 8, 0)
    assert [path.exists() for path in (six, four)] == [False, False]


def test_a_set_is_used_as_long_as_it_is_read_and_from_the_beginning_of_a_run(pictures, limited):
    """What a long run reads has a later time than its beginning, where the disk keeps one."""
    read_late = used_last(pictures, 4, 40, read_ago=10)
    begun_late = used_last(pictures, 5, 20, read_ago=50)
    neither = used_last(pictures, 6, 30)
    limited(2 * (6 + 5 + 3) * ROW)
    used_last(pictures, 7, 0)
    assert [path.exists() for path in (read_late, begun_late, neither)] == [True, True, False]


def test_a_set_that_fills_more_than_half_of_the_disk_is_written_if_it_fits(pictures, limited):
    limited(6 * ROW)
    first = used_last(pictures, 4, 0)
    assert read(pictures[5:], memory=LITTLE).images.path.exists()
    assert not first.exists()


def test_a_set_that_cannot_fit_deletes_none(pictures, limited):
    six = used_last(pictures, 4, 10)
    limited(6 * ROW - 1)
    with pytest.raises(DataError, match=r"earlier take 7\.20 kB there, and those that no"):
        read(pictures[4:], size=SIDE + 1, memory=LITTLE)
    assert six.exists()


READS = """
import pickle, sys
images = pickle.load(sys.stdin.buffer)
print("it is read", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another process"])
def test_a_set_that_is_read_is_not_deleted(pictures, limited, elsewhere):
    images = read(pictures[4:], memory=LITTLE).images.only([0, 1])
    path, expected = images.path, images[:]
    for one in (path, path.with_suffix(".json")):
        os.utime(one, (0, 0))
    limited(6 * ROW + 5 * ROW)
    with subprocess.Popen(
        [sys.executable, "-c", READS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        if elsewhere:
            process.stdin.write(pickle.dumps(images))
            process.stdin.flush()
            assert process.stdout.readline() == b"it is read\n"
            del images
        unread = used_last(pictures, 5, 0)
        with pytest.raises(DataError, match=r"earlier take 13\.2 kB there, and those that no"):
            read(pictures[5:], size=SIDE + 1, memory=LITTLE)
        assert path.exists()
        assert unread.exists()  # it would have been deleted in vain
        if not elsewhere:
            assert np.array_equal(images[:], expected)
            del images
        process.kill()
    read(pictures[6:], memory=LITTLE)
    assert not path.exists()


def test_whether_a_set_may_be_deleted_is_found_out_while_another_run_begins_to_read_it(pictures):
    path = read(pictures[4:], memory=LITTLE).images.path
    held = []
    with unread(path):
        begins = threading.Thread(target=lambda: held.append(hold(path)))
        begins.start()
        begins.join(0.2)
    begins.join()
    assert isinstance(held[0], Held)
    assert not cache.can_be_deleted(path)
    held.clear()
    assert cache.can_be_deleted(path)
    assert path.exists()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="no room is taken here")
@pytest.mark.parametrize("number", [errno.EDQUOT, errno.ENOSPC])
@pytest.mark.parametrize("sets", [2, 1, 0], ids=["two stay", "one stays", "none fits"])
def test_a_quota_makes_room_although_the_disk_has_some(
    pictures, user_cache, monkeypatch, number, sets
):
    folder = user_cache / "kdtool" / "decoded"
    longest, last = (used_last(pictures, first, ago) for first, ago in ((5, 20), (4, 10)))
    held = used_last(pictures, 6, 30), read(pictures[6:], memory=LITTLE).images
    os.utime(held[0].with_suffix(".json"), (0, 0))
    os.utime(held[0], (0, 0))
    quota = {2: 4 + 6 + 5 + 3, 1: 4 + 6 + 3, 0: 4 + 2}[sets] * ROW
    take = os.posix_fallocate

    def limited_take(descriptor, start, count):
        if sum(path.stat().st_size for path in folder.glob("[!.]*.images")) + count > quota:
            raise OSError(number, os.strerror(number))
        take(descriptor, start, count)

    monkeypatch.setattr(os, "posix_fallocate", limited_take)
    if sets:
        assert read(pictures[7:], memory=LITTLE).images.path.exists()
    else:
        with pytest.raises(DataError, match=os.strerror(number)):
            read(pictures[7:], memory=LITTLE)
    assert [path.exists() for path in (longest, last)] == [sets == 2, sets > 0]
    assert held[0].exists()


def test_the_users_of_a_cache_can_take_all_locks(pictures, user_cache):
    read(pictures[4:], memory=LITTLE)
    (lock,) = (user_cache / "kdtool" / "decoded").glob("*.lock")
    assert stat.S_IMODE(lock.stat().st_mode) == 0o666


@pytest.mark.parametrize("refused", ["lock", "leftover"])
def test_what_another_user_left_and_cannot_be_deleted_is_passed_over(pictures, user_cache, refused):
    folder = user_cache / "kdtool" / "decoded"
    leftover = folder / f".other.1{UNFINISHED}.images"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    # A folder of its name can be neither opened nor unlinked, by root neither.
    if refused == "lock":
        (folder / "other.lock").mkdir()
    else:
        leftover.unlink()
        leftover.mkdir()
    assert isinstance(read(pictures[4:], memory=LITTLE).images, StoredImages)
    assert leftover.exists()


def test_broken_files_are_listed_as_ever_and_leave_no_file(pictures, user_cache):
    with pytest.raises(DataError, match=r"^1 of 10 files is broken:\n  3\.png: "):
        read(pictures, memory=LITTLE)
    assert not list((user_cache / "kdtool" / "decoded").glob("*[!k]"))  # but a lock


def test_the_key_is_that_of_files_and_settings(pictures):
    def key(paths=pictures, **settings):
        return cache.key_of_set(paths, FolderTable(source="folder", root=paths[0], **settings))

    keys = {
        key(),
        key(pictures[1:]),
        key(pictures[::-1]),
        key(size=3),
        key(channels=1),
        key(skip_broken=True),
    }
    assert len(keys) == 6
    assert key(memory="1 MB", validation=0.3) == key()
