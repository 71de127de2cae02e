"""Open ONNX Runtime sessions, with errors that a user can act on; imports onnxruntime."""

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from kdtool.edge.model_file import check_file, describe_damage, external_files, read_model
from kdtool.edge.providers import (
    AUTOMATIC,
    PROVIDERS,
    conflict,
    how_to_get,
    provider_share,
    short_names,
    why_not,
)
from kdtool.errors import KdtoolError, ModelFileError, did_you_mean
from kdtool.install import install_command

# From 1.29 on, onnxruntime writes files to the user's cache and sends telemetry (its PR 27379),
# unless this is set before its import; its own function to switch it off comes too late.
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
        f"running a model needs onnxruntime: {install_command('cpu')}, "
        f"or on a machine with an NVIDIA GPU: {install_command('gpu')}"
    ) from error

__all__ = [
    "PROBE_MODEL",
    "RUNTIME_ERRORS",
    "InferenceSession",
    "choose_provider",
    "newest_opset",
    "open_session",
]

# They share no base class other than Exception.
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

# The smallest ONNX file that a provider can run: y = Relu(x), one float32 number; opset 13. Stored
# as bytes because a process that times models does not import onnx.
PROBE_MODEL = bytes.fromhex(
    "08083a370a0c0a0178120179220452656c75120570726f62655a0f0a0178120a0a08080112040a02"
    "0801620f0a0179120a0a08080112040a02080142040a00100d"
)

RECORD_PROVIDERS = "session.record_ep_graph_assignment_info"

# Message of onnxruntime 1.31 -> explanation and fix.
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


def open_session(
    path: Path, threads: int = 1, provider: str = "cpu", *, optimize: bool = True, gpu: int = 0
) -> InferenceSession:
    """Load a model, ready to run.

    Args:
        path: ONNX file.
        threads: Threads that share one operator, at least 1; operators run one after another.
            Always explicit: onnxruntime's own choice was up to three times slower on two cores with
            a busy neighbour, and prints errors in containers (its issue 8313).
        provider: Key of `PROVIDERS`, or `auto` as in `choose_provider`. Operators that it lacks
            run on the CPU.
        optimize: False runs the graph as the file has it.
        gpu: Number of the GPU, for the providers cuda and tensorrt.

    Raises:
        ModelFileError: The file is missing, damaged, not ONNX or beyond this onnxruntime.
        KdtoolError: The provider is unknown, does not work here, or runs no operator of this model.
            There is no silent fallback to another one.
    """
    if threads < 1:
        raise KdtoolError(f"threads is {threads}; it must be at least 1")
    check_file(path)
    provider, _ = choose_provider(provider)
    try:
        session = _start(str(path), threads, provider, optimize=optimize, gpu=gpu)
        _read_texts(session)
    except RUNTIME_ERRORS as error:
        raise ModelFileError(_explain(path, str(error))) from error
    except UnicodeDecodeError as error:
        raise ModelFileError(
            f"{path} is damaged: a name or its metadata are not text in UTF-8; copy or export it "
            "again"
        ) from error
    return session


def _read_texts(session: InferenceSession) -> None:
    """Read all names and metadata of a model; UnicodeDecodeError if one is not UTF-8."""
    for entry in (*session.get_inputs(), *session.get_outputs()):
        _ = entry.name, entry.type, entry.shape
    _ = session.get_modelmeta().custom_metadata_map


def newest_opset() -> int:
    """Return the newest ONNX opset that this onnxruntime loads, 13 or higher."""
    for opset in range(99, 13, -1):
        with suppress(*RUNTIME_ERRORS):
            _start(PROBE_MODEL[:-1] + bytes([opset]), 1, "cpu")  # the last byte is the opset
            return opset
    return 13


def choose_provider(name: str) -> tuple[str, str]:
    """Choose the provider that runs models.

    Args:
        name: Key of `PROVIDERS`; `auto` is the first of `AUTOMATIC` that works, else `cpu`.

    Returns:
        Key of `PROVIDERS`, and for `auto` a line with the choice and its reason, "" if there was
        none to make.

    Raises:
        KdtoolError: The provider is unknown or not in this onnxruntime.
    """
    present = short_names(onnxruntime.get_available_providers())
    if name == "auto":
        failures = []
        for candidate in (short for short in AUTOMATIC if short in present):
            try:
                _start(PROBE_MODEL, 1, candidate)
            except (KdtoolError, *RUNTIME_ERRORS) as error:
                failures.append(str(error))
            else:
                return candidate, f"auto: runs on {candidate}"
        reasons = failures or [text for text in [conflict()] if text]
        return "cpu", "; ".join(["auto: runs on cpu", *reasons]) if reasons else ""
    if name in present:
        return name, ""
    has = f"onnxruntime {onnxruntime.__version__} here has: {', '.join(['auto', *present])}"
    if name not in PROVIDERS:
        raise KdtoolError(f"unknown provider {name!r}; {has}{_provider_meant(name, present)}")
    fix = conflict() or how_to_get(name)
    raise KdtoolError(f"the provider {name!r} is not installed; {has}; for {name!r}: {fix}")


def _provider_meant(name: str, present: Sequence[str]) -> str:
    """Return a hint on the provider that a user may have meant, or "".

    Args:
        name: As it was typed.
        present: Keys of `PROVIDERS` that this onnxruntime has.
    """
    short = name.lower().removesuffix("executionprovider")
    if short == "gpu":
        return f"; did you mean {next((one for one in AUTOMATIC if one in present), 'cuda')}?"
    return did_you_mean(short, ["auto", *PROVIDERS], "{}", cutoff=0.75)


def _start(
    model: str | bytes, threads: int, provider: str, *, optimize: bool = True, gpu: int = 0
) -> InferenceSession:
    """Create a session on `provider`, without a fallback.

    Args:
        model: Path or content of an ONNX file.
        threads: As in `open_session`.
        provider: Key of `PROVIDERS` that this onnxruntime has.
        optimize: As in `open_session`.
        gpu: As in `open_session`.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal only; all errors are raised
    if not optimize:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    wanted = [PROVIDERS[provider]]
    if provider == "tensorrt":  # operators that it lacks run on the same GPU
        wanted.append(PROVIDERS["cuda"])
    if provider == "cpu":
        return InferenceSession(model, options, providers=wanted)
    options.add_session_config_entry(RECORD_PROVIDERS, "1")
    numbered = [(one, {"device_id": gpu}) if gpu else one for one in wanted]
    with _captured_output() as captured:
        # Without this call, available since onnxruntime 1.21, CUDA from pip is not found.
        if provider in ("cuda", "tensorrt") and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        try:
            # Otherwise it would also switch to the CPU when a run fails.
            session = InferenceSession(model, options, providers=numbered, enable_fallback=0)
        except RuntimeError as error:  # of a provider's library, not of the file
            raise KdtoolError(why_not(provider, str(error))) from error
        captured.seek(0)
        output = captured.read()
    if session.get_providers()[0] != wanted[0]:
        raise KdtoolError(why_not(provider, output))
    if provider_share(session) == 0:
        what = "the simplest model" if isinstance(model, bytes) else model
        raise KdtoolError(
            f"the provider {provider!r} supports no operator of {what}; all would run on the CPU: "
            "use 'cpu', or export the model for this provider"
        )
    return session


@contextmanager
def _captured_output() -> Iterator[IO[str]]:
    """Capture both standard streams, including the output of C libraries."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as captured:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(1), os.dup(2)]
        try:
            os.dup2(captured.fileno(), 1)
            os.dup2(captured.fileno(), 2)
            yield captured
        finally:
            sys.stdout.flush()
            for stream, copy in enumerate(kept, start=1):
                os.dup2(copy, stream)
                os.close(copy)


def _explain(path: Path, message: str) -> str:
    """Turn a message of onnxruntime about a file into one that the user can act on.

    Raises:
        ModelFileError: The weights that it keeps in other files are missing.
    """
    # The third are the words of ONNX Runtime 1.25 for the second.
    unreadable = ("Protobuf parsing failed", "No graph was found", "does not have a graph")
    if any(words in message for words in unreadable):
        return f"{path} {describe_damage(path)}"
    if "xternal" in message:  # about weights in other files; this call raises a better error
        external_files(path, read_model(path))
    for pattern, explanation in EXPLANATIONS.items():
        if match := re.search(pattern, message, re.DOTALL):
            return f"onnxruntime cannot load {path}: {match.expand(explanation)}"
    # Remove the error code, the path, and the place in onnxruntime's source.
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed:)?", "", message)
    text = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z])", "", text)
    return f"onnxruntime cannot load {path}: {text.strip()}"
