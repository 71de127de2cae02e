import os
from importlib.metadata import version

import pytest

from kdtool.environment import collect_environment, cpu_name, usable_cores


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
