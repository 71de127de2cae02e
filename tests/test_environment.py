from importlib.metadata import version

import pytest

from kdtool.environment import (
    collect_environment,
    cpu_features,
    cpu_name,
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
