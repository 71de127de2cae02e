"""ONNX Runtime's execution providers: short names, and how to fix or install one."""

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import distributions
from typing import Any

from kdtool.install import install_command, normalized, pip

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "tensorrt-rtx": "NvTensorRTRTXExecutionProvider",
    "rocm": "ROCMExecutionProvider",
    "migraphx": "MIGraphXExecutionProvider",
    "directml": "DmlExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "qnn": "QNNExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
    "dnnl": "DnnlExecutionProvider",
    "acl": "ACLExecutionProvider",
    "armnn": "ArmNNExecutionProvider",
    "nnapi": "NnapiExecutionProvider",
    "cann": "CANNExecutionProvider",
    "vitisai": "VitisAIExecutionProvider",
    "webgpu": "WebGpuExecutionProvider",
}

# What `auto` tries before the CPU. The others must be asked for: they compile for minutes
# (tensorrt), compute in another precision (openvino, coreml) or need options (qnn).
AUTOMATIC = ("cuda", "migraphx", "rocm", "directml")

PACKAGES = {
    "directml": "onnxruntime-directml",
    "migraphx": "onnxruntime-migraphx",
    "openvino": "onnxruntime-openvino",
    "qnn": "onnxruntime-qnn",
    "rocm": "onnxruntime-rocm",
}

NVIDIA = frozenset(("cuda", "tensorrt", "tensorrt-rtx"))

# Each of them installs the whole module `onnxruntime`.
_RUNTIMES = frozenset(
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-training", "ort-nightly", "ort-nightly-gpu")
) | set(PACKAGES.values())


def conflict(search_path: list[str] | None = None) -> str | None:
    """Describe a conflict of packages that install onnxruntime, with its fix; None: no conflict.

    They silently overwrite each other's files, so that the providers of one of them are lost: the
    most common reason why onnxruntime does not find CUDA.

    Args:
        search_path: Folders of packages; None: the ones of this Python.
    """
    found = distributions() if search_path is None else distributions(path=search_path)
    names = (normalized(entry.metadata["Name"] or "") for entry in found)
    runtimes = sorted(_RUNTIMES.intersection(names))
    if len(runtimes) < 2:
        return None
    wanted = runtimes[-1] if "onnxruntime-gpu" not in runtimes else "onnxruntime-gpu"
    return (
        f"the packages {' and '.join(runtimes)} are both installed and overwrite each other's "
        f"files: {pip()} uninstall {' '.join(runtimes)}, then {pip()} install {wanted}"
    )


def short_names(available: Iterable[str]) -> list[str]:
    """Return kdtool's names of the available providers."""
    return [short for short, name in PROVIDERS.items() if name in set(available)]


def how_to_get(provider: str) -> str:
    """Return how to install a provider that this onnxruntime lacks."""
    if provider in ("cuda", "tensorrt"):
        return _replace_onnxruntime(install_command("gpu"))
    if provider in PACKAGES:
        return _replace_onnxruntime(f"{pip()} install {PACKAGES[provider]}")
    return "it needs an onnxruntime that is built with it"


def _replace_onnxruntime(install: str) -> str:
    return f"{pip()} uninstall onnxruntime, then {install}"


def provider_share(session: Any) -> float | None:
    """Return the share of a model's nodes, in [0, 1], that its provider runs and not the CPU.

    Args:
        session: `InferenceSession` from `open_session`.

    Returns:
        None if this onnxruntime does not report it, or the model has no nodes.
    """
    used = session.get_providers()[0]
    if used == PROVIDERS["cpu"]:
        return 1.0
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    parts = session.get_provider_graph_assignment_info()
    return share_of(used, [(part.ep_name, len(part.get_nodes())) for part in parts])


def share_of(provider: str, parts: Sequence[tuple[str, int]]) -> float | None:
    """Return the share of nodes that a provider runs; None without nodes.

    Args:
        provider: Full name.
        parts: Full name of the provider and number of nodes, for each part of a model.
    """
    total = sum(count for _, count in parts)
    own = sum(count for name, count in parts if name == provider)
    return own / total if total else None


def why_not(provider: str, output: str) -> str:
    """Explain why a provider does not work: in most cases a library is missing.

    Args:
        provider: Key of `PROVIDERS`.
        output: Messages of onnxruntime and the libraries.
    """
    patterns = (r"with error: (.*)", r"(Failed to (?:load|create) .*)", r"(Please install .*)")
    causes = [match[1] for pattern in patterns if (match := re.search(pattern, output))]
    cause = next(iter(causes), output.strip() or "onnxruntime gives no reason")
    fix = conflict() or "check its driver and libraries"
    return f"the provider {provider} does not work here ({cause}): {fix}, or use 'cpu'"
