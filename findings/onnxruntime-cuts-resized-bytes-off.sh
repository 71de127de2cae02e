#!/usr/bin/env bash
# ONNX Runtime cuts the fraction off where it resizes bytes, and rounds where the same node has antialias = 1.
#
# onnxruntime 1.32.0. ONNX does not say how Resize gets from the mean of two bytes to a byte. A linear Resize of uint8 in ONNX
# Runtime cuts: 1.75 becomes 1, so images get darker by half a level on average. With `antialias = 1` the same runtime
# rounds. onnx's ReferenceEvaluator and OpenVINO 2026.4.1 round; tract 0.23.9 cuts in both. Nobody gives a warning. A
# file that resizes bytes so gives a classifier other pixels in each runtime; as floats all agree.
#
# Seen, of [0, 7] enlarged to four bytes (as floats 0, 1.75, 5.25, 7): onnxruntime and tract [0, 1, 5, 7],
#       openvino and the reference [0, 2, 5, 7]
# Seen, of [0, 0, 0, 8, 8, 8, 8, 8] shrunk to two bytes with antialias (as floats 2.25, 7.75): onnxruntime and the
#       reference [2, 8], tract [2, 7]
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


def answers(values, size, antialias, kind):
    """What each runtime makes of a row of pixels, as lists."""
    attributes = {"antialias": 1} if antialias else {}
    node = helper.make_node("Resize", ["image", "", "", "sizes"], ["out"], mode="linear", **attributes)
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("image", kind, [1, 1, 1, len(values)])],
        [helper.make_tensor_value_info("out", kind, [1, 1, 1, size])],
        [helper.make_tensor("sizes", TensorProto.INT64, [4], [1, 1, 1, size])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(model, "model.onnx")
    image = np.array(values, helper.tensor_dtype_to_np_dtype(kind)).reshape(1, 1, 1, -1)
    session = ort.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
    found = {
        "onnxruntime": session.run(None, {"image": image})[0],
        "reference": ReferenceEvaluator("model.onnx").run(None, {"image": image})[0],
        "openvino": openvino.Core().compile_model("model.onnx", "CPU")({"image": image})["out"],
        "tract": tract.onnx().load("model.onnx").into_model().into_runnable().run([image])[0].to_numpy(),
    }
    found = {name: answer.ravel().tolist() for name, answer in found.items()}
    print(f"{values} to {size}, antialias {antialias}, {np.dtype(image.dtype)}: {found}")
    return found


plain = answers([0, 7], 4, False, TensorProto.FLOAT)
assert all(answer == [0, 1.75, 5.25, 7] for answer in plain.values())
plain = answers([0, 7], 4, False, TensorProto.UINT8)
assert plain["onnxruntime"] == plain["tract"] == [0, 1, 5, 7]
assert plain["openvino"] == plain["reference"] == [0, 2, 5, 7]
smooth = answers([0, 0, 0, 8, 8, 8, 8, 8], 2, True, TensorProto.UINT8)
assert smooth["onnxruntime"] == smooth["reference"] == [2, 8]
assert smooth["tract"] == [2, 7]
PY
