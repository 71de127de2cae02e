import os
import subprocess
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from kdtool.edge import session
from kdtool.edge.count.graph import count_graph
from kdtool.edge.providers import (
    AUTOMATIC,
    PROVIDERS,
    conflict,
    provider_share,
    share_of,
    short_names,
)
from kdtool.edge.session import PROBE_MODEL, choose_provider, open_session
from kdtool.errors import KdtoolError, ModelFileError

AZURE = "AzureExecutionProvider"  # in every wheel; runs no operator of ONNX
needs_azure = pytest.mark.skipif(
    AZURE not in onnxruntime.get_available_providers()
    or not hasattr(onnxruntime.InferenceSession, "get_provider_graph_assignment_info"),
    reason="this onnxruntime does not report where nodes ran",
)


def test_session_runs_the_model_on_as_many_threads_as_asked(tiny_onnx):
    session = open_session(tiny_onnx, threads=2)
    options = session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)
    images = np.zeros((5, 8, 8, 3), np.uint8)
    logits, probs = session.run(["logits", "probs"], {"input": images})
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probs, expected, rtol=1e-5)


# Content of the file, and the message on opening it, with or without onnxruntime.
UNREADABLE = {
    "empty": (b"", "is empty"),
    "text": (b"hello, this is no model", "is not an ONNX file"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(100), "is not an ONNX file"),
    "pytorch": (b"PK\x03\x04" + bytes(100), "is not an ONNX file"),
    "no graph": (b"\x08\x0a", "is damaged or truncated"),
}


@pytest.mark.parametrize("open_file", [open_session, count_graph])
@pytest.mark.parametrize("kind", UNREADABLE)
def test_unreadable_file_gets_a_message(tmp_path, kind, open_file):
    content, message = UNREADABLE[kind]
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message) as error:
        open_file(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("open_file", [open_session, count_graph])
def test_missing_file_and_folder_get_a_message(tmp_path, open_file):
    with pytest.raises(ModelFileError, match=r"cannot read the model .*No such file"):
        open_file(tmp_path / "missing.onnx")
    with pytest.raises(ModelFileError, match="is a folder"):
        open_file(tmp_path)


@pytest.mark.parametrize("open_file", [open_session, count_graph])
def test_truncated_file_is_refused_wherever_it_was_cut(tmp_path, tiny_onnx, open_file):
    content = tiny_onnx.read_bytes()
    graph_end = content.rindex(b"probs")  # what follows is optional
    path = tmp_path / "cut.onnx"
    for length in range(1, graph_end, 41):
        path.write_bytes(content[:length])
        with pytest.raises(ModelFileError, match="is damaged or truncated"):
            open_file(path)


def edited(tiny_onnx, **changes):
    """Change the first operator or the versions of a good model."""
    model = onnx.load(tiny_onnx)
    model.graph.node[0].op_type = changes.get("op_type", "Cast")
    model.graph.node[0].domain = changes.get("domain", "")
    model.opset_import[0].version = changes.get("opset", 18)
    model.ir_version = changes.get("ir_version", 10)
    if changes.get("domain"):
        model.opset_import.add(domain=changes["domain"], version=1)
    tiny_onnx.write_bytes(model.SerializeToString())
    return tiny_onnx


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"op_type": "Frobnicate"}, "uses the operator Frobnicate, which this onnxruntime"),
        ({"op_type": "Twist", "domain": "acme"}, "uses the operator acme:Twist, which this"),
        ({"opset": 99}, r"written in opset 99 and this onnxruntime knows opsets up to \d\d;"),
        ({"ir_version": 99}, r"ONNX IR version 99 and this onnxruntime knows versions up to \d\d;"),
    ],
)
def test_a_file_too_new_for_this_runtime_is_explained(tiny_onnx, changes, message):
    with pytest.raises(ModelFileError, match=message):
        open_session(edited(tiny_onnx, **changes))


def test_unforeseen_problem_is_told_in_the_runtimes_words_alone(make_onnx):
    path = make_onnx([helper.make_node("Relu", ["z"], ["y"])], {"x": (TensorProto.FLOAT, [1, 3])})
    with pytest.raises(ModelFileError) as error:
        open_session(path)
    message = str(error.value)
    assert message.startswith(f"onnxruntime cannot load {path}: ")
    assert "'z' is not a graph input" in message
    assert "[ONNXRuntimeError]" not in message


def test_wrong_arguments_are_refused(tiny_onnx):
    with pytest.raises(KdtoolError, match="threads is 0; it must be at least 1"):
        open_session(tiny_onnx, threads=0)
    message = r"unknown provider 'tpu'; onnxruntime .*: auto, cpu"
    with pytest.raises(KdtoolError, match=message):
        open_session(tiny_onnx, provider="tpu")


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="has CUDA"
)
def test_a_missing_provider_is_an_error_not_a_slow_run(tiny_onnx):
    with pytest.raises(
        KdtoolError, match=r"'cuda' is not installed; .* \"onnxruntime-gpu\[cuda,cudnn\]"
    ):
        open_session(tiny_onnx, provider="cuda")


def test_provider_is_taken_by_name_or_the_best_that_works():
    assert choose_provider("cpu") == ("cpu", "")
    provider, line = choose_provider("auto")
    if short_names(onnxruntime.get_available_providers()) == ["cpu"] and not conflict():
        assert (provider, line) == ("cpu", "")
    else:
        assert provider in ("cpu", *AUTOMATIC)
        assert line.startswith(f"auto: runs on {provider}")


@needs_azure
def test_the_automatic_choice_gives_its_reason(monkeypatch):
    monkeypatch.setitem(PROVIDERS, "directml", AZURE)  # is there, but runs no operator
    provider, line = choose_provider("auto")
    assert provider == "cpu"
    assert line.startswith("auto: runs on cpu; the provider 'directml' supports no operator of the")


@needs_azure
def test_a_provider_that_runs_nothing_of_a_model_is_an_error(tiny_onnx, monkeypatch):
    monkeypatch.setitem(PROVIDERS, "azure", AZURE)
    with pytest.raises(KdtoolError, match=r"'azure' supports no operator of .*tiny\.onnx; all"):
        open_session(tiny_onnx, provider="azure")


@pytest.mark.parametrize(
    ("gpu", "expected"),
    [
        (0, ["CUDAExecutionProvider"]),
        (1, [("CUDAExecutionProvider", {"device_id": 1})]),
    ],
)
def test_a_gpu_is_named_to_onnxruntime(tiny_onnx, monkeypatch, gpu, expected):
    """What onnxruntime is asked for, on a machine without a GPU."""
    asked = []

    def no_gpu(_model, _options, *, providers, **_others):
        asked.append(providers)
        raise RuntimeError("no CUDA driver")

    names = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
    monkeypatch.setattr(session, "InferenceSession", no_gpu)
    with pytest.raises(KdtoolError, match="no CUDA driver"):
        open_session(tiny_onnx, provider="cuda", gpu=gpu)
    assert asked == [expected]


def test_share_of_a_provider_is_that_of_the_nodes(tiny_onnx):
    parts = [("A", 2), ("B", 1), ("A", 1)]
    assert [share_of(name, parts) for name in "ABC"] == [0.75, 0.25, 0]
    assert share_of("A", []) is None
    assert provider_share(open_session(tiny_onnx)) == 1


def test_automatic_choice_runs_the_model(tiny_onnx):
    used = open_session(tiny_onnx, provider="auto").get_providers()[0]
    assert used == PROVIDERS[choose_provider("auto")[0]]


def test_without_onnxruntime_the_message_lists_the_packages_to_install():
    # A module that is None in sys.modules cannot be imported.
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from kdtool.errors import KdtoolError\n"
        "try: import kdtool.edge.session\n"
        "except KdtoolError as error: sys.exit(str(error))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "onnxruntime>=1.25", or' in done.stderr
    assert "NVIDIA GPU: " in done.stderr
    assert done.stderr.endswith('pip install "onnxruntime-gpu[cuda,cudnn]>=1.25"\n')
    assert "Traceback" not in done.stderr


def test_onnxruntime_leaves_no_file_in_the_users_home(tmp_path, tiny_onnx):
    hidden = ("CI", "ORT_DISABLE_TELEMETRY")
    env = {k: v for k, v in os.environ.items() if k not in hidden and not k.startswith("XDG_")}
    env |= {"HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"}
    (tmp_path / "home").mkdir()
    code = (
        "import sys, pathlib; from kdtool.edge.session import open_session; "
        "open_session(pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(tiny_onnx)], env=env, check=True)
    assert list((tmp_path / "home").rglob("*")) == []


def test_the_probe_model_is_one_relu():
    model = onnx.load_model_from_string(PROBE_MODEL)
    onnx.checker.check_model(model, full_check=True)
    (node,) = model.graph.node
    assert (node.op_type, *node.input, *node.output) == ("Relu", "x", "y")
    session = onnxruntime.InferenceSession(PROBE_MODEL, providers=["CPUExecutionProvider"])
    (result,) = session.run(None, {"x": np.array([-2], np.float32)})
    assert result == [0]
