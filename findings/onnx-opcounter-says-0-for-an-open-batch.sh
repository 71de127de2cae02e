#!/usr/bin/env bash
# onnx-opcounter counts 0 multiply-adds in a file whose batch size is open, without an error.
#
# onnx-opcounter 0.0.4. Exporters write classifiers with a symbolic batch dimension. onnx-opcounter gives such a dimension the size
# 0 and multiplies by it: `calculate_macs` returns 0, and its command ends in "ValueError: math domain error", as it
# also prints the logarithm. With the batch fixed to 1 the same network gets about its number.
#
# Seen: batch fixed to 1: 221,328; batch open: 0. Exact: 221,304
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet onnx-opcounter==0.0.4 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
export ORT_DISABLE_TELEMETRY=1
"$folder/env/bin/python" - <<'PY'
import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper
from onnx_opcounter import calculate_macs

CHANNELS, CLASSES, SIDE = 12, 10, 32
generator = np.random.default_rng(0)


def model_of(batch):
    shapes = {"w": (CHANNELS, 2, 3, 3), "b": (CHANNELS,), "v": (CHANNELS, CLASSES), "c": (CLASSES,)}
    nodes = [
        helper.make_node("Conv", ["image", "w", "b"], ["x"], pads=[1] * 4, kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["x"], ["y"]),
        helper.make_node("Flatten", ["y"], ["z"]),
        helper.make_node("Gemm", ["z", "v", "c"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 2, SIDE, SIDE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES])],
        [
            numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name)
            for name, shape in shapes.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    checker.check_model(model, full_check=True)
    return model


exact = CHANNELS * 2 * 3 * 3 * SIDE * SIDE + CHANNELS * CLASSES
found = {str(batch): int(calculate_macs(model_of(batch))) for batch in (1, "batch")}
print(f"exact {exact}, found by batch size: {found}")
assert found["batch"] == 0
assert abs(found["1"] / exact - 1) < 0.01
PY
