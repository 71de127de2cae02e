"""Limits of control groups, of both versions, nested, and seen from a container."""

import os
import subprocess
import sys

import pytest

from kdtool.edge.machine.limits import cores, group_folders, memory
from kdtool.environment import memory_bytes, usable_cores

GIB = 2**30
ALL_MEMORY = memory_bytes()


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
    total, free = memory(tmp_path / "absent", tmp_path / "absent")
    assert total == ALL_MEMORY
    assert 0 < free <= total


CORES = [
    ("version 2", ["0::/job"], {"job/cpu.max": "100000 100000"}, 1),
    ("no limit", ["0::/job"], {"job/cpu.max": "max 100000"}, None),
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
    whole = usable_cores(tmp_path / "absent")
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
        "from kdtool.edge.machine.limits import descriptors; print(descriptors())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "57\n"
