#!/usr/bin/env bash
# pnnx converts a classifier of bytes to a file that ncnn does not load, and ends with status 0; ncnn's Python raises nothing.
#
# pnnx 20261020, ncnn 1.0.20261020. The Cast from bytes to floats at the start of an ONNX file has no layer in ncnn: pnnx writes it
# down as a layer "Tensor.to" all the same. It says "ignore Tensor.to" on stderr, among its usual lines, and ends with status
# 0. ncnn's load_param then returns -1, where Python libraries raise; a script that does not look at that number goes
# on with a network that has no layers. The network without its Cast, of the same file format, loads.
#
# Seen: pnnx 0 and 0; load_param -1 with Cast ("layer Tensor.to not exists or registered"), 0 without
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet pnnx==20261020 ncnn==1.0.20261020 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" - <<'PY'
import subprocess
import sys
from pathlib import Path

import ncnn
import onnx
from onnx import TensorProto, helper

PNNX = str(Path(sys.executable).parent / "pnnx")


def loaded(name, kind, suffix, nodes):
    """Convert a file, and return pnnx's status and what ncnn's load_param returns."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, f"{name}.onnx")
    done = subprocess.run([PNNX, f"{name}.onnx", f"inputshape=[1,4]{suffix}"], capture_output=True)
    found = ncnn.Net().load_param(f"{name}.ncnn.param")
    print(f"{name}: pnnx ends with {done.returncode}, load_param returns {found}")
    return done.returncode, found


cast = helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT)
bytes_ = loaded("bytes", TensorProto.UINT8, "u8", [cast, helper.make_node("Relu", ["f"], ["y"])])
floats = loaded("floats", TensorProto.FLOAT, "", [helper.make_node("Relu", ["x"], ["y"])])
assert floats == (0, 0)
assert bytes_ == (0, -1), "pnnx or ncnn says it otherwise now"
PY
