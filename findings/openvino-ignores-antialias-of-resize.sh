#!/usr/bin/env bash
# OpenVINO reads ONNX's Resize with antialias = 1 and computes it without, and gives no error or warning.
#
# openvino 2026.4.1. A linear Resize with `antialias = 1` (ONNX, since opset 18) takes the weighted mean of all pixels that
# fall into one; without it, of the nearest two. A classifier whose file shrinks its images sees others in OpenVINO than in
# training: thin lines vanish or stay whole. ONNX Runtime, onnx's ReferenceEvaluator and tract compute what the file says.
#
# Seen, of [0, 0, 0, 8, 8, 8, 8, 8] shrunk to two values: openvino [0.0, 8.0], the others [2.25, 7.75]
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet openvino==2026.4.1 tract==0.23.9 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
export ORT_DISABLE_TELEMETRY=1
"$folder/env/bin/python" - <<'PY'
import sys

sys.modules["openvino_telemetry"] = None  # it is not asked for

import numpy as np
import onnx
import onnxruntime as ort
import openvino
import tract
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

node = helper.make_node("Resize", ["image", "", "", "sizes"], ["small"], mode="linear", antialias=1)
graph = helper.make_graph(
    [node],
    "g",
    [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 1, 8])],
    [helper.make_tensor_value_info("small", TensorProto.FLOAT, [1, 1, 1, 2])],
    [helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 1, 1, 2])],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "model.onnx")
image = np.array([0, 0, 0, 8, 8, 8, 8, 8], np.float32).reshape(1, 1, 1, 8)

# A triangle 4 pixels wide on either side of 1.5 and of 5.5; beyond an end its pixel is repeated.
place = np.arange(-3, 11)
repeated = image.ravel()[place.clip(0, 7)]
expected = [float(np.maximum(0, 1 - np.abs(place - centre) / 4) @ repeated) / 4 for centre in (1.5, 5.5)]

answers = {
    "onnxruntime": ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"]).run(None, {"image": image})[0],
    "onnx reference": ReferenceEvaluator("model.onnx").run(None, {"image": image})[0],
    "tract": tract.onnx().load("model.onnx").into_model().into_runnable().run([image])[0].to_numpy(),
    "openvino": openvino.Core().compile_model("model.onnx", "CPU")({"image": image})["small"],
}
print(f"by hand: {expected}")
for name, answer in answers.items():
    print(f"{name}: {answer.ravel().tolist()}")
    is_right = np.allclose(answer.ravel(), expected, atol=1e-5)
    assert is_right == (name != "openvino"), f"{name} answers otherwise than before"
assert answers["openvino"].ravel().tolist() == [0, 8]
PY
