"""Packages that do not fit together are found before they fail."""

import itertools

import onnxruntime
import pytest
from packaging.specifiers import SpecifierSet

from kdtool.edge.machine.packages import extra_of, holds, installed, misfits, runtime
from kdtool.edge.providers import how_to_get, short_names
from kdtool.install import pip

VERSIONS = ["1.9", "1.20", "1.20.0", "1.20.1", "2", "2.0.0", "2.1.3", "10.0"]
LIMITS = [f"{sign}{version}" for sign in (">=", "==", "<=", "<", ">") for version in VERSIONS]


def test_versions_are_compared_as_packaging_does():
    for version, limit in itertools.product(VERSIONS, LIMITS):
        assert holds(version, limit) == SpecifierSet(limit).contains(version), (version, limit)


@pytest.mark.parametrize(
    ("version", "limit"),
    [("2.9.1+cu128", "==2.9.1"), ("2.9.0a0", ">=2.9"), ("1.0", "!=1.1"), ("1.0", "~=1.0"),
     ("1.0", "==1.*"), ("1!2.0", ">=2.0")],
)  # fmt: skip
def test_suffixes_do_not_count_and_other_limits_hold(version, limit):
    assert holds(version, limit)


HAS = {"numpy": "2.1.0", "torch": "2.9.0", "onnx": "1.12.0", "timm": "0.9"}
MISFITS = [
    (["numpy>=1.26"], []),
    (["numpy (>=1.26,<3)"], []),
    (["onnx>=1.17"], ["onnx 1.12.0 is installed, and kdtool needs onnx>=1.17"]),
    (["torch (==2.8.0)"], ["torch 2.9.0 is installed, and kdtool needs torch==2.8.0"]),
    (["rich>=13"], ["rich is not installed, and kdtool needs rich>=13"]),
    (["numpy>=1,<2"], ["numpy 2.1.0 is installed, and kdtool needs numpy>=1,<2"]),
    (["timm>=1.0 ; extra == 'timm'"], ["timm 0.9 is installed, and kdtool needs timm>=1.0"]),
    (["ray[client]>=2.60 ; extra == 'ray'"], []),  # of an extra that is not installed
    (["colorama ; platform_system == 'Windows'"], []),
]


@pytest.mark.parametrize(("requirements", "expected"), MISFITS)
def test_packages_of_a_wrong_version_are_named(requirements, expected):
    found = misfits("kdtool", requirements, HAS)
    assert [one.found for one in found] == expected
    for one in found:
        limits = one.found.rpartition("needs ")[2]
        assert one.fix == f'{pip()} install "{limits}"'
        assert one.mark == ("warning" if "timm" in limits else "fails")  # of an option only


def test_extras_of_other_packages_do_not_count():
    assert misfits("torch", ["numpy<2 ; extra == 'old'"], HAS) == []
    (fault,) = misfits("kdtool", ["torch>=3 ; extra == 'train'"], HAS)
    assert fault.mark == "fails"


def test_an_extra_has_its_packages():
    lines = ["a>=1", 'b>=1 ; extra == "train"', "c ; extra == 'cpu'", "d[x]; extra == 'train'"]
    assert extra_of("train", lines) == ["b", "d"]


def test_this_environment_fits_together():
    versions = installed()
    assert versions["numpy"]
    assert runtime(None, versions).mark == "ok"


def test_a_runtime_without_the_gpu_that_is_there_is_a_warning():
    if "cuda" in short_names(onnxruntime.get_available_providers()):
        pytest.skip("this runtime has it")
    found = runtime("NVIDIA H100", installed())
    assert (found.mark, found.fix) == ("warning", how_to_get("cuda"))
    assert "not on the GPU" in found.means


def test_two_runtimes_are_found_in_the_folders_of_packages(tmp_path):
    for name in ("onnxruntime", "onnxruntime_gpu"):
        info = tmp_path / f"{name}-1.31.1.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.31.1\n"
        (info / "METADATA").write_text(text)
    path = [str(tmp_path)]
    assert installed(path) == {"onnxruntime": "1.31.1", "onnxruntime-gpu": "1.31.1"}
    found = runtime(None, installed(path), path)
    assert found.mark == "fails"
    assert found.found.startswith("the packages onnxruntime and onnxruntime-gpu are both installed")
    assert found.fix.endswith("install onnxruntime-gpu")
