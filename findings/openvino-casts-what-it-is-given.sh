#!/usr/bin/env bash
# OpenVINO's Python turns floats in [0, 1] into zeros where a model takes bytes, and answers without an error.
#
# openvino 2026.4.1. A compiled model that is called with a NumPy array casts it to the type of the input, as `astype` does:
# the fraction is cut off, so pixels that were already divided by 255 become 0 (or 1). Only the shape is checked. A caller
# that scales its images for a model that does so itself gets one and the same answer for all of them. ONNX Runtime
# refuses the same array: "Unexpected input data type".
#
# Seen, of a model that returns its input of type uint8: openvino: [0.25, 0.9] -> [0.0, 0.0]; [7.9, 255.0] -> [7.0, 255.0]
#       onnxruntime: INVALID_ARGUMENT for both
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet openvino==2026.4.1 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
export ORT_DISABLE_TELEMETRY=1
"$folder/env/bin/python" - <<'PY'
import sys

sys.modules["openvino_telemetry"] = None  # it is not asked for

import numpy as np
import onnx
import onnxruntime as ort
import openvino
from onnx import TensorProto, helper

given = helper.make_tensor_value_info("image", TensorProto.UINT8, [2])
found = helper.make_tensor_value_info("seen", TensorProto.FLOAT, [2])
cast = helper.make_node("Cast", ["image"], ["seen"], to=TensorProto.FLOAT)
graph = helper.make_graph([cast], "g", [given], [found])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "model.onnx")
compiled = openvino.Core().compile_model("model.onnx", "CPU")
session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])

for values, expected in (([0.25, 0.9], [0, 0]), ([7.9, 255.0], [7, 255])):
    array = np.array(values, np.float32)
    seen = compiled({"image": array})["seen"].tolist()
    print(f"openvino: {values} -> {seen}")
    assert seen == expected
    try:
        session.run(None, {"image": array})
    except ort.capi.onnxruntime_pybind11_state.InvalidArgument as error:
        print(f"onnxruntime: {str(error)[:120]}")
    else:
        raise SystemExit("onnxruntime accepts it")
PY
