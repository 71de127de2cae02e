import os
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
from onnx import TensorProto, helper

from kdtool.edge.latency.job import Job, random_input
from kdtool.edge.profile import ProfileOptions, profile_models
from kdtool.edge.session import open_session
from kdtool.errors import KdtoolError

HAS_OPENVINO = find_spec("openvino") is not None
needs_openvino = pytest.mark.skipif(not HAS_OPENVINO, reason="needs kdtool[openvino]")


@pytest.mark.skipif(HAS_OPENVINO, reason="openvino is installed")
def test_without_openvino_the_message_says_what_to_install(tiny_onnx):
    with pytest.raises(KdtoolError, match=r'openvino: (uv )?pip install "openvino>='):
        profile_models([tiny_onnx], ProfileOptions(runtimes=("onnxruntime", "openvino")))


@needs_openvino
def test_both_runtimes_time_the_same_file(tiny_onnx):
    options = ProfileOptions(runtimes=("onnxruntime", "openvino"), seconds=0.05)
    report = profile_models([tiny_onnx], options)
    plain, other = report.models
    assert (plain.name, other.name) == (str(tiny_onnx), f"{tiny_onnx} (openvino)")
    assert plain.path == other.path
    assert (plain.latency.runtime, plain.latency.arithmetic) == ("onnxruntime", None)
    assert (other.latency.runtime, other.latency.arithmetic) == ("openvino", "f32")
    assert [(c.of, c.against) for c in report.comparisons] == [(other.name, plain.name)]


@needs_openvino
def test_outputs_equal_those_of_onnxruntime_in_float32(make_onnx):
    from kdtool.edge.latency.openvino import load_in_openvino

    weights = np.random.default_rng(0).normal(size=(64, 300)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    path = make_onnx(nodes, {"x": (TensorProto.FLOAT, ["n", 64])}, {"w": weights})
    model = load_in_openvino(Job(path=str(path), batch_size=3))
    feed = random_input({"x": (["n", 64], np.float32)}, 3, {})
    (expected,) = open_session(path).run(None, feed)
    (answer,) = model.run().values()
    # bfloat16, which OpenVINO would choose by itself, is off by 1e-2.
    np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-4)


@needs_openvino
@pytest.mark.parametrize(
    ("provider", "size", "message"),
    [
        ("cuda", None, "the provider 'cuda' belongs to onnxruntime"),
        ("cpu", 200, "OpenVINO cannot load"),
    ],
)
def test_what_openvino_cannot_do_is_said_in_one_line(tiny_onnx, provider, size, message):
    from kdtool.edge.latency.openvino import load_in_openvino

    tiny_onnx.write_bytes(tiny_onnx.read_bytes()[:size])
    with pytest.raises(KdtoolError, match=message) as error:
        load_in_openvino(Job(path=str(tiny_onnx), provider=provider))
    assert "\n" not in str(error.value)


NO_CONNECTIONS = """
import socket, sys
def refuse(*args, **kwargs):
    sys.stderr.write("a connection was tried\\n")
    raise SystemExit(7)
socket.socket.connect = refuse
socket.getaddrinfo = refuse
"""


@needs_openvino
def test_openvino_sends_no_telemetry_and_writes_no_file(tiny_onnx, tmp_path):
    home, hooks = tmp_path / "home", tmp_path / "hooks"
    home.mkdir()
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(NO_CONNECTIONS)
    code = f"""
import sys
from kdtool.edge.latency.openvino import load_in_openvino
from kdtool.edge.latency.job import Job
load_in_openvino(Job(path={str(tiny_onnx)!r})).run()
assert sys.modules["openvino_telemetry"] is None
"""
    env = {key: value for key, value in os.environ.items() if key != "CI"}
    env |= dict.fromkeys(("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "APPDATA"), str(home))
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=env | {"PYTHONPATH": str(hooks)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "a connection was tried" not in done.stderr
    assert list(home.iterdir()) == []
