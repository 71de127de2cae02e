import os
from importlib.metadata import version

import pytest

from kdtool.environment import (
    collect_environment,
    cpu_features,
    cpu_name,
    free_memory_bytes,
    memory_bytes,
    usable_cores,
)


def test_environment_names_the_packages_that_are_installed():
    environment = collect_environment(gpu="NVIDIA H100")
    assert environment.packages["numpy"] == version("numpy")
    assert environment.packages["onnx"] == version("onnx")
    assert all(environment.packages.values())
    assert environment.gpu == "NVIDIA H100"
    assert environment.cpu


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        ("processor\t: 0\nmodel name\t: AMD EPYC 7B13\nflags\t: a b\n\n", "AMD EPYC 7B13"),
        ("processor\t: 0\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5\n", "Raspberry Pi 5"),
    ],
)
def test_cpu_name_is_found_on_x86_and_arm(tmp_path, cpuinfo, name):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert cpu_name(tmp_path / "cpuinfo") == name


def test_cpu_has_a_name_without_proc(tmp_path):
    assert cpu_name(tmp_path / "missing")


@pytest.mark.parametrize(
    ("cpuinfo", "features"),
    [
        (
            "processor\t: 0\nflags\t\t: fpu sse avx2 avx512f amx_int8 avx512_vnni\n"
            "vmx flags\t: sve\nbugs\t\t: bf16\n",
            ["avx2", "avx512f", "avx512_vnni", "amx_int8"],
        ),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp sha2\n\n", ["asimd", "asimddp"]),
        ("processor\t: 0\n", []),
    ],
)
def test_cpu_features_for_int8_are_found_on_x86_and_arm(tmp_path, cpuinfo, features):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert cpu_features(tmp_path / "cpuinfo") == features


def test_cpu_features_are_unknown_without_proc(tmp_path):
    assert cpu_features(tmp_path / "missing") == []


def test_share_of_a_container_caps_the_memory(tmp_path):
    whole = memory_bytes(tmp_path / "missing")
    share = tmp_path / "memory.max"
    for text, expected in [("max\n", whole), ("1048576\n", 2**20), (f"{2**62}\n", whole)]:
        share.write_text(text)
        assert memory_bytes(share) == expected


def test_free_memory_is_what_other_programs_and_the_container_leave(tmp_path):
    info, share = tmp_path / "meminfo", tmp_path / "memory.max"
    info.write_text("MemTotal: 16 kB\nMemFree: 1 kB\nMemAvailable:      12 kB\n")
    assert free_memory_bytes(info, share) == 12 * 1024
    share.write_text("4096\n")
    assert free_memory_bytes(info, share) == 4096
    for path in (info, share):
        path.unlink()
    assert free_memory_bytes(info, share) == memory_bytes(share)


@pytest.mark.parametrize(
    ("cpu_max", "share"), [("50000 100000", 1), ("150000 100000", 1), ("100000 100000", 1)]
)
def test_share_of_a_container_caps_the_cores(tmp_path, cpu_max, share):
    (tmp_path / "cpu.max").write_text(cpu_max + "\n")
    assert usable_cores(tmp_path / "cpu.max") == share


def test_without_a_cap_all_cores_of_this_process_count(tmp_path):
    mine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert usable_cores(tmp_path / "missing") == mine
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert usable_cores(tmp_path / "cpu.max") == mine
    (tmp_path / "cpu.max").write_text("99900000 100000\n")
    assert usable_cores(tmp_path / "cpu.max") == mine
