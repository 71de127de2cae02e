"""ONNX Runtime sessions; the only module that imports onnxruntime."""

import os
import re
from pathlib import Path

from kdtool.edge.model_file import check_file, describe_damage
from kdtool.errors import KdtoolError, ModelFileError

# From 1.29 on, onnxruntime writes files to the user's cache and starts a thread that phones home
# (its PR 27379), unless this is set before its import; its own call to switch it off is too late.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    import onnxruntime  # type: ignore[import-untyped]
    from onnxruntime import InferenceSession
    from onnxruntime.capi import (  # type: ignore[import-untyped]
        onnxruntime_pybind11_state as ort_errors,
    )
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "onnxruntime":
        raise
    raise KdtoolError(
        'running a model needs onnxruntime: pip install "kdtool[cpu]", '
        'or pip install "kdtool[gpu]" on a machine with an NVIDIA GPU'
    ) from error

__all__ = ["PROVIDERS", "RUNTIME_ERRORS", "InferenceSession", "open_session"]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}

# They share no base class but Exception.
RUNTIME_ERRORS = (
    ort_errors.EPFail,
    ort_errors.EngineError,
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoModel,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

# What onnxruntime 1.31 says -> what the user can do about it.
EXPLANATIONS = {
    r"Opset (\d+) is under development.* is till opset (\d+)": (
        r"it is written in opset \1 and this onnxruntime knows opsets up to \2; "
        "export with a lower opset or upgrade onnxruntime"
    ),
    r"Unsupported model IR version: (\d+), max supported IR version: (\d+)": (
        r"it is written in ONNX IR version \1 and this onnxruntime knows versions up to \2; "
        "export with an older onnx or upgrade onnxruntime"
    ),
    r"No Op registered for (\S+)": (
        r"it uses the operator \1, which this onnxruntime does not have; "
        "upgrade onnxruntime or export without that operator"
    ),
    r"(\S+?)\(-?\d+\) is not a registered function/op": (
        r"it uses the operator \1, which this onnxruntime does not have; "
        "upgrade onnxruntime or export without that operator"
    ),
}


def open_session(path: Path, threads: int = 1, provider: str = "cpu") -> InferenceSession:
    """Load a model, ready to run.

    Args:
        path: ONNX file.
        threads: Threads that share the work of one operator, at least 1; operators run one after
            another. Always explicit: onnxruntime's own choice was up to three times slower on two
            cores with a busy neighbour, and fails loudly in containers (its issue 8313).
        provider: Key of `PROVIDERS`.

    Raises:
        ModelFileError: The file is missing, damaged, not ONNX or beyond this onnxruntime.
        KdtoolError: No such provider, or onnxruntime would not use it.
    """
    if threads < 1:
        raise KdtoolError(f"threads is {threads}; it must be at least 1")
    check_file(path)
    wanted = _provider_name(provider)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal only; every error is raised as well
    try:
        session = InferenceSession(path, options, providers=[wanted])
    except RUNTIME_ERRORS as error:
        raise ModelFileError(_explain(path, str(error))) from error
    used = session.get_providers()[0]
    if used != wanted:
        raise KdtoolError(
            f"the provider {provider!r} was asked for, but onnxruntime fell back to {used}: "
            "check the GPU driver and the CUDA and cuDNN libraries, or ask for 'cpu'"
        )
    return session


def _provider_name(provider: str) -> str:
    """Return onnxruntime's name of `provider`; its libraries are loaded."""
    if provider not in PROVIDERS:
        known = ", ".join(PROVIDERS)
        raise KdtoolError(f"there is no provider {provider!r}; choose one of: {known}")
    if PROVIDERS[provider] not in onnxruntime.get_available_providers():
        raise KdtoolError(
            f"the installed onnxruntime {onnxruntime.__version__} cannot run on {provider!r}; "
            f"pip install \"kdtool[gpu]\" in an environment without kdtool[cpu], or ask for 'cpu'"
        )
    # CUDA from pip is found only after this call, which onnxruntime has since 1.21.
    if provider == "cuda" and hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()
    return PROVIDERS[provider]


def _explain(path: Path, said: str) -> str:
    """Turn what onnxruntime said about a file into a message that the user can act on."""
    if "Protobuf parsing failed" in said or "No graph was found" in said:
        return f"{path} {describe_damage(path)}"
    for pattern, explanation in EXPLANATIONS.items():
        if match := re.search(pattern, said, re.DOTALL):
            return f"onnxruntime cannot load {path}: {match.expand(explanation)}"
    # The code, the path again, and the place in onnxruntime's source help nobody.
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed:)?", "", said)
    text = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z])", "", text)
    return f"onnxruntime cannot load {path}: {text.strip()}"
