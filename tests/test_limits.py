"""Limits of control groups, of both versions, nested, and seen from a container."""

import os
import subprocess
import sys

import pytest

from kdtool.environment import cores, group_folders, memory

GIB = 2**30
ALL_MEMORY, _ = memory()


def write(root, files):
    for name, text in files.items():
        path = root / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")


def groups_of(root, lines):
    (root / "groups").write_text("".join(f"{line}\n" for line in lines))
    return root / "groups", root / "cgroup"


MEMORY = [
    ("version 2", ["0::/"], {"memory.max": GIB, "memory.current": GIB // 2}, (GIB, GIB // 2)),
    (
        "the smallest of nested groups",
        ["0::/user/job"],
        {"memory.max": "max", "user/memory.max": GIB, "user/memory.current": GIB // 4,
         "user/job/memory.max": 2 * GIB, "user/job/memory.current": 0},
        (GIB, 3 * GIB // 4),
    ),
    (
        "files that were read can be dropped",
        ["0::/job"],
        {"job/memory.max": GIB, "job/memory.current": GIB,
         "job/memory.stat": f"anon 5\ninactive_file {GIB // 2}\nactive_file {GIB // 4}"},
        (GIB, 3 * GIB // 4),
    ),
    (
        "version 1",
        ["9:cpuset:/other", "4:memory:/job"],
        {"memory/job/memory.limit_in_bytes": GIB, "memory/job/memory.usage_in_bytes": 0},
        (GIB, GIB),
    ),
    (
        "a container sees its own group as the root, and the path of the host",
        ["4:memory:/docker/0123"],
        {"memory/memory.limit_in_bytes": GIB, "memory/memory.usage_in_bytes": GIB},
        (GIB, 0),
    ),
]  # fmt: skip


@pytest.mark.skipif(not ALL_MEMORY or ALL_MEMORY < 2 * GIB, reason="needs 2 GiB of memory")
@pytest.mark.parametrize(("lines", "files", "expected"), [row[1:] for row in MEMORY],
                         ids=[row[0] for row in MEMORY])  # fmt: skip
def test_memory_is_what_the_groups_leave(tmp_path, lines, files, expected):
    write(tmp_path, files)
    assert memory(*groups_of(tmp_path, lines)) == expected


def test_without_groups_memory_is_that_of_the_machine(tmp_path):
    absent, info = tmp_path / "absent", tmp_path / "meminfo"
    total, free = memory(absent, absent)
    assert total == ALL_MEMORY
    assert 0 < free <= total
    info.write_text("MemTotal: 16 kB\nMemFree: 1 kB\nMemAvailable:      12 kB\n")
    assert memory(absent, absent, info) == (ALL_MEMORY, 12 * 1024)
    assert memory(absent, absent, absent) == (ALL_MEMORY, ALL_MEMORY)


def test_where_a_process_does_not_see_its_groups_the_root_counts(tmp_path):
    write(tmp_path, {"cpu.max": "100000 100000", "memory.max": GIB, "memory.current": GIB // 4})
    hidden = tmp_path / "absent", tmp_path / "cgroup"
    assert cores(*hidden) == 1
    assert memory(*hidden) == (GIB, 3 * GIB // 4)


CORES = [
    ("version 2", ["0::/job"], {"job/cpu.max": "100000 100000"}, 1),
    ("no limit", ["0::/job"], {"job/cpu.max": "max 100000"}, None),
    ("more than there are", ["0::/job"], {"job/cpu.max": "99900000 100000"}, None),
    ("one and a half", ["0::/job"], {"job/cpu.max": "150000 100000"}, 1),
    ("less than one", ["0::/"], {"cpu.max": "20000 100000"}, 1),
    ("version 1", ["1:cpu,cpuacct:/"], {"cpu,cpuacct/cpu.cfs_quota_us": 100000,
                                        "cpu,cpuacct/cpu.cfs_period_us": 100000}, 1),
    ("version 1 without", ["1:cpu:/"], {"cpu/cpu.cfs_quota_us": -1,
                                        "cpu/cpu.cfs_period_us": 100000}, None),
]  # fmt: skip


@pytest.mark.parametrize(("lines", "files", "expected"), [row[1:] for row in CORES],
                         ids=[row[0] for row in CORES])  # fmt: skip
def test_cores_are_what_the_groups_leave(tmp_path, lines, files, expected):
    write(tmp_path, files)
    whole = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert cores(*groups_of(tmp_path, lines)) == (whole if expected is None else expected)


def test_a_path_never_leads_out_of_the_folder(tmp_path):
    write(tmp_path, {"memory.max": "max"})
    (tmp_path / "etc").mkdir()
    found = group_folders("memory", *groups_of(tmp_path, ["0::/../etc", "4:memory:/x"]))
    assert found == [tmp_path / "cgroup"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
def test_the_limit_of_open_files_is_that_of_the_process():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (57, 57));"
        "from kdtool.environment import descriptors; print(descriptors())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "57\n"
