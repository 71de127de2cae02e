#!/usr/bin/env bash
# The option of onnxruntime's quantization that bounds the memory of calibration throws the images away unseen.
#
# onnxruntime 1.32.0. `CalibMaxIntermediateOutputs = K` of quantize_static bounds the outputs that are held at once, and its
# description promises the same ranges as without it. With MinMax, the default method, nothing is computed in between: after
# each K images what they gave is dropped, and the ranges are those of the images after the last multiple of K. A file that
# was calibrated with 300 images so has the ranges of a few of them and clips the others, without a warning. Only where K
# divides the number of images, and none are left, there is an error: "No data is collected."
#
# Seen, of six images whose largest values are 10, 1, 2, 3, 1, 1: scale 10 / 255 without the option; 1 / 255 with K = 4;
#       ValueError with K = 3
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
export ORT_DISABLE_TELEMETRY=1
"$folder/env/bin/python" - <<'PY' 2>&1 | grep -v 'pre-processing'
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static

graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "w"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
    [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
onnx.save(model, "model.onnx")


class Images(CalibrationDataReader):
    def __init__(self):
        self.values = iter([10, 1, 2, 3, 1, 1])

    def get_next(self):
        value = next(self.values, None)
        return None if value is None else {"x": np.full((1, 4), value, np.float32)}


def largest(**options):
    """The largest input value that the 8-bit file can hold."""
    quantize_static("model.onnx", "int8.onnx", Images(), quant_format=QuantFormat.QDQ, extra_options=options)
    stored = {one.name: numpy_helper.to_array(one) for one in onnx.load("int8.onnx").graph.initializer}
    return round(float(stored["x_scale"]) * 255, 3)


without, with_four = largest(), largest(CalibMaxIntermediateOutputs=4)
print(f"largest value: {without} without the option, {with_four} with 4")
assert without == 10
assert with_four == 1, "the option no longer drops images"
try:
    largest(CalibMaxIntermediateOutputs=3)
except ValueError as error:
    print(f"with 3: {error}")
else:
    raise SystemExit("with 3 there is no error any more")
PY
