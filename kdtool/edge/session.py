"""ONNX Runtime sessions; the only module that imports onnxruntime."""

import difflib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from onnx import TensorProto, helper

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
from kdtool.environment import install_command
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
        f"running a model needs onnxruntime: {install_command('cpu')}, "
        f"or on a machine with an NVIDIA GPU: {install_command('gpu')}"
    ) from error

__all__ = ["RUNTIME_ERRORS", "InferenceSession", "choose_provider", "open_session", "probe_model"]

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

RECORD_PROVIDERS = "session.record_ep_graph_assignment_info"

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
        provider: Key of `PROVIDERS`, or `auto` as in `choose_provider`. Operators that it lacks
            run on the processor.

    Raises:
        ModelFileError: The file is missing, damaged, not ONNX or beyond this onnxruntime.
        KdtoolError: No such provider, it does not work here, or runs nothing of this model; never a
            silent run on another.
    """
    if threads < 1:
        raise KdtoolError(f"threads is {threads}; it must be at least 1")
    check_file(path)
    provider, _ = choose_provider(provider)
    try:
        return _start(str(path), threads, provider)
    except RUNTIME_ERRORS as error:
        raise ModelFileError(_explain(path, str(error))) from error


def choose_provider(name: str) -> tuple[str, str]:
    """Find out where models are to run.

    Args:
        name: Key of `PROVIDERS`; `auto` is the first of `AUTOMATIC` that really works, else `cpu`.

    Returns:
        Key of `PROVIDERS`, and for `auto` a line that says which and why, "" where there
        was no choice.

    Raises:
        KdtoolError: No such provider, or none in this onnxruntime.
    """
    present = short_names(onnxruntime.get_available_providers())
    if name == "auto":
        failures = []
        for candidate in (short for short in AUTOMATIC if short in present):
            try:
                _start(probe_model(), 1, candidate)
            except (KdtoolError, *RUNTIME_ERRORS) as error:
                failures.append(str(error))
            else:
                return candidate, f"auto: runs on {candidate}"
        reasons = failures or [text for text in [conflict()] if text]
        return "cpu", "; ".join(["auto: runs on cpu", *reasons]) if reasons else ""
    if name in present:
        return name, ""
    has = f"this onnxruntime {onnxruntime.__version__} has: {', '.join(['auto', *present])}"
    if name not in PROVIDERS:
        raise KdtoolError(f"there is no provider {name!r}{_did_you_mean(name, present)}; {has}")
    mend = conflict() or how_to_get(name)
    raise KdtoolError(f"the provider {name!r} is not installed; {has}; for {name!r}: {mend}")


def _did_you_mean(name: str, present: Sequence[str]) -> str:
    """Return a hint on the provider that a user may have meant, or "".

    Args:
        name: As it was typed.
        present: Keys of `PROVIDERS` that this onnxruntime has.
    """
    short = name.lower().removesuffix("executionprovider")
    if short == "gpu":
        return f"; did you mean {next((one for one in AUTOMATIC if one in present), 'cuda')}?"
    close = difflib.get_close_matches(short, ["auto", *PROVIDERS], n=1, cutoff=0.75)
    return f"; did you mean {close[0]}?" if close else ""


def _start(model: str | bytes, threads: int, provider: str) -> InferenceSession:
    """Make a session on `provider`, or none.

    Args:
        model: Path or content of an ONNX file.
        threads: As in `open_session`.
        provider: Key of `PROVIDERS` that this onnxruntime has.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # fatal only; every error is raised as well
    wanted = [PROVIDERS[provider]]
    if provider == "tensorrt":  # what it lacks runs on the same GPU
        wanted.append(PROVIDERS["cuda"])
    if provider == "cpu":
        return InferenceSession(model, options, providers=wanted)
    options.add_session_config_entry(RECORD_PROVIDERS, "1")
    with _words_of_libraries() as words:
        # CUDA from pip is found only after this call, which onnxruntime has since 1.21.
        if provider in ("cuda", "tensorrt") and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()
        try:
            # Without this it would also move to the processor when a run fails.
            session = InferenceSession(model, options, providers=wanted, enable_fallback=0)
        except RuntimeError as error:  # of a provider's library; those of the file are not
            raise KdtoolError(why_not(provider, str(error))) from error
        words.seek(0)
        said = words.read()
    if session.get_providers()[0] != wanted[0]:
        raise KdtoolError(why_not(provider, said))
    if provider_share(session) == 0:
        what = "the simplest model" if isinstance(model, bytes) else model
        raise KdtoolError(
            f"{provider!r} can run no operator of {what}, which would all run on the processor: "
            "ask for 'cpu', or export the model for this provider"
        )
    return session


@contextmanager
def _words_of_libraries() -> Iterator[IO[str]]:
    """Collect what is written to both standard streams, also by libraries in C."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as words:
        sys.stdout.flush()
        sys.stderr.flush()
        kept = [os.dup(1), os.dup(2)]
        try:
            os.dup2(words.fileno(), 1)
            os.dup2(words.fileno(), 2)
            yield words
        finally:
            sys.stdout.flush()
            for stream, copy in enumerate(kept, start=1):
                os.dup2(copy, stream)
                os.close(copy)


def probe_model() -> bytes:
    """Return the smallest ONNX file that a provider can run."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    opset = helper.make_opsetid("", 13)
    return bytes(helper.make_model(graph, opset_imports=[opset], ir_version=8).SerializeToString())


def _explain(path: Path, said: str) -> str:
    """Turn what onnxruntime said about a file into a message that the user can act on.

    Raises:
        ModelFileError: The weights that it keeps in other files are not there.
    """
    if "Protobuf parsing failed" in said or "No graph was found" in said:
        return f"{path} {describe_damage(path)}"
    if "xternal" in said:  # of weights in other files; this tells what is wrong with them
        external_files(path, read_model(path))
    for pattern, explanation in EXPLANATIONS.items():
        if match := re.search(pattern, said, re.DOTALL):
            return f"onnxruntime cannot load {path}: {match.expand(explanation)}"
    # The code, the path again, and the place in onnxruntime's source help nobody.
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .* failed:)?", "", said)
    text = re.sub(r"^/\S+:\d+ .*?\) (?=[A-Z])", "", text)
    return f"onnxruntime cannot load {path}: {text.strip()}"
