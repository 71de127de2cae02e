import sys

import onnxruntime
import pytest

from kdtool.edge.profile import gpu_of
from kdtool.edge.providers import (
    AUTOMATIC,
    PROVIDERS,
    conflict,
    how_to_get,
    short_names,
    why_not,
)
from kdtool.install import pip


def install(folder, *names):
    """Leave behind what pip leaves of packages."""
    for name in names:
        info = folder / f"{name.replace('-', '_')}-1.31.1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.31.1\n")


@pytest.mark.parametrize(
    ("names", "fix"),
    [
        (
            ["onnxruntime", "onnxruntime-gpu"],
            "{pip} uninstall onnxruntime onnxruntime-gpu, then {pip} install onnxruntime-gpu",
        ),
        (
            ["onnxruntime_directml", "ONNXRuntime"],
            "{pip} uninstall onnxruntime onnxruntime-directml, "
            "then {pip} install onnxruntime-directml",
        ),
    ],
)
def test_two_packages_of_onnxruntime_are_a_conflict_with_a_fix(tmp_path, names, fix):
    install(tmp_path, *names)
    message = conflict([str(tmp_path)])
    assert "overwrite each other's files" in message
    assert message.endswith(fix.format(pip=pip()))


@pytest.mark.parametrize(
    "names", [[], ["onnxruntime"], ["onnxruntime-gpu"], ["onnxruntime", "onnxruntime-extensions"]]
)
def test_one_package_of_onnxruntime_is_none(tmp_path, names):
    install(tmp_path, *names)
    assert conflict([str(tmp_path)]) is None


def test_names_are_those_that_onnxruntime_knows():
    common = {"cpu", "cuda", "tensorrt", "coreml", "directml", "openvino", "qnn", "xnnpack"}
    assert {PROVIDERS[name] for name in common} <= set(onnxruntime.get_all_providers())
    assert set(AUTOMATIC) < set(PROVIDERS)


def test_only_available_providers_are_listed():
    assert short_names(["AzureExecutionProvider", "CPUExecutionProvider"]) == ["cpu"]


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_provider_has_a_way_to_get_it(provider):
    assert "install" in how_to_get(provider) or "built with it" in how_to_get(provider)
    assert "kdtool" not in how_to_get(provider)


def test_the_package_for_cuda_replaces_the_one_for_the_cpu():
    assert how_to_get("cuda") == (
        f'{pip()} uninstall onnxruntime, then {pip()} install "onnxruntime-gpu[cuda,cudnn]>=1.25"'
    )


# What onnxruntime-gpu 1.31 writes on a machine without CUDA and TensorRT.
CUDA = """
[E:onnxruntime:Default, provider_bridge_ort.cc:2458 operator()] [ONNXRuntimeError] : 1 : FAIL : \
Failed to load library capi/libonnxruntime_providers_cuda.so with error: libcublasLt.so.13: cannot \
open shared object file: No such file or directory
[W:onnxruntime:Default] Failed to create CUDAExecutionProvider. Require cuDNN 9.* and CUDA 13.*.
"""
TENSORRT = "onnxruntime_pybind_state.cc:729 void Register() Please install TensorRT libraries.\n"


@pytest.mark.parametrize(
    ("provider", "output", "cause"),
    [
        ("cuda", CUDA, "libcublasLt.so.13: cannot open shared object file: No such file or direc"),
        ("cuda", CUDA.splitlines()[-1], "Failed to create CUDAExecutionProvider. Require cuDNN 9"),
        ("tensorrt", TENSORRT, "Please install TensorRT libraries."),
        ("coreml", "", "onnxruntime gives no reason"),
    ],
)
def test_a_broken_provider_is_reported_with_its_cause(provider, output, cause):
    message = why_not(provider, output)
    assert message.startswith(f"the provider {provider} does not work here ({cause}")
    assert message.endswith("or use 'cpu'")


@pytest.mark.skipif(sys.platform == "win32", reason="the script is for a shell")
@pytest.mark.parametrize(
    ("script", "name"),
    [
        ("echo NVIDIA H100", "NVIDIA H100"),
        ("echo A; echo A; echo B", "A or B"),
        ('[ "$*" = "--query-gpu=name --format=csv,noheader" ] && echo A', "A"),
        ("echo", None),
        ("echo 'it could not communicate with the driver'; exit 9", None),
    ],
)
def test_a_gpu_has_a_name_where_one_was_used(tmp_path, monkeypatch, script, name):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_of(["cpu", "cuda"]) == gpu_of(["tensorrt"]) == name
    assert gpu_of(["cpu", "directml"]) is None


def test_a_gpu_without_nvidia_smi_has_no_name(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gpu_of(["cuda"]) is None
