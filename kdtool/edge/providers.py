"""ONNX Runtime's execution providers: short names, and what to do where one is missing."""

import re
from collections.abc import Iterable, Sequence
from importlib.metadata import distributions
from typing import Any

from kdtool.environment import install_command, nvidia_gpu, pip

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

# What `auto` tries before the processor. The others are for those who ask for them: they compile
# for minutes (tensorrt), compute in another precision (openvino, coreml) or need options (qnn).
AUTOMATIC = ("cuda", "migraphx", "rocm", "directml")

PACKAGES = {
    "directml": "onnxruntime-directml",
    "migraphx": "onnxruntime-migraphx",
    "openvino": "onnxruntime-openvino",
    "qnn": "onnxruntime-qnn",
    "rocm": "onnxruntime-rocm",
}

_NVIDIA = frozenset(("cuda", "tensorrt", "tensorrt-rtx"))

# Each of them brings the whole module `onnxruntime`.
_RUNTIMES = frozenset(
    ("onnxruntime", "onnxruntime-gpu", "onnxruntime-training", "ort-nightly", "ort-nightly-gpu")
) | set(PACKAGES.values())


def conflict(search_path: list[str] | None = None) -> str | None:
    """Say whether several packages here bring onnxruntime, and how to mend it; None: no.

    They overwrite each other's files without a word, so that the provider of one of them is lost:
    the most common cause of a CUDA that onnxruntime does not find.

    Args:
        search_path: Folders of packages; None: those of this Python.
    """
    found = distributions() if search_path is None else distributions(path=search_path)
    names = (re.sub(r"[-_.]+", "-", entry.metadata["Name"] or "").lower() for entry in found)
    runtimes = sorted(_RUNTIMES.intersection(names))
    if len(runtimes) < 2:
        return None
    wanted = runtimes[-1] if "onnxruntime-gpu" not in runtimes else "onnxruntime-gpu"
    return (
        f"the packages {' and '.join(runtimes)} are both installed and overwrite each other's "
        f"files: {pip()} uninstall {' '.join(runtimes)}, then {pip()} install {wanted}"
    )


def short_names(available: Iterable[str]) -> list[str]:
    """Return kdtool's names of those providers that onnxruntime has."""
    return [short for short, name in PROVIDERS.items() if name in set(available)]


def how_to_get(provider: str) -> str:
    """Say what to install for a provider that this onnxruntime is built without."""
    if provider in ("cuda", "tensorrt"):
        return _replace_onnxruntime(install_command("gpu"))
    if provider in PACKAGES:
        return _replace_onnxruntime(f"{pip()} install {PACKAGES[provider]}")
    return "it needs an onnxruntime that is built with it"


def _replace_onnxruntime(install: str) -> str:
    return f"{pip()} uninstall onnxruntime, then {install}"


def provider_share(session: Any) -> float | None:
    """Return the share of a model's nodes, in [0, 1], that its provider runs, not the processor.

    Args:
        session: `InferenceSession` from `open_session`.

    Returns:
        None where this onnxruntime does not tell, or the model has no nodes.
    """
    used = session.get_providers()[0]
    if used == PROVIDERS["cpu"]:
        return 1.0
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    parts = session.get_provider_graph_assignment_info()
    return share_of(used, [(part.ep_name, len(part.get_nodes())) for part in parts])


def share_of(provider: str, parts: Sequence[tuple[str, int]]) -> float | None:
    """Return the share of nodes that a provider runs; None if there are none.

    Args:
        provider: Name.
        parts: Name of the provider and number of nodes of each part of a model.
    """
    total = sum(count for _, count in parts)
    own = sum(count for name, count in parts if name == provider)
    return own / total if total else None


def gpu_of(providers: Iterable[str]) -> str | None:
    """Return the name of the GPU that one of `providers` computes on; None for none or unknown.

    Args:
        providers: Keys of `PROVIDERS` that were used.
    """
    return None if _NVIDIA.isdisjoint(providers) else nvidia_gpu()


def why_not(provider: str, said: str) -> str:
    """Say why a provider did not work: for want of a library, most of the time.

    Args:
        provider: Key of `PROVIDERS`.
        said: What onnxruntime and the libraries wrote, or raised.
    """
    patterns = (r"with error: (.*)", r"(Failed to (?:load|create) .*)", r"(Please install .*)")
    causes = [match[1] for pattern in patterns if (match := re.search(pattern, said))]
    cause = next(iter(causes), said.strip() or "onnxruntime does not say why")
    mend = conflict() or "check its driver and libraries"
    return f"{provider!r} does not work here ({cause}): {mend}, or ask for 'cpu'"
