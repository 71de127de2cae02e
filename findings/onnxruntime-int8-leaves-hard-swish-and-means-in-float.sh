#!/usr/bin/env bash
# onnxruntime's static quantization leaves HardSwish, HardSigmoid and ReduceMean in float, between a Q and a DQ each.
#
# onnxruntime 1.32.0. PyTorch exports hard-swish as one HardSwish, and the mean over height and width (adaptive average
# pooling to 1 x 1) as ReduceMean; MobileNetV3-Small has 19 HardSwish, 9 HardSigmoid and 10 ReduceMean. quantize_static
# names none of them as unsupported: it quantizes the convolutions on both sides, and each of these nodes stays a float
# island that costs a DequantizeLinear before it and a QuantizeLinear after it. That is why such an int8 network may be
# slower than its fp32 file. Written in other operators that compute the same (GlobalAveragePool for the mean; Add,
# Clip, Mul, Mul for hard-swish), everything between the first and the last node runs in 8 bits. The optimized graphs
# show it, on any machine; the runtime itself writes HardSwish as HardSigmoid and Mul.
#
# Seen: as exported: in float ['HardSigmoid', 'Mul', 'ReduceMean'], 6 QuantizeLinear and DequantizeLinear
#       rewritten:   in float [], 2 QuantizeLinear and DequantizeLinear
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6 sympy
cd "$folder"
"$folder/env/bin/python" - <<'PY'
import logging

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

logging.disable(logging.CRITICAL)
onnxruntime.set_default_logger_severity(3)
random = np.random.default_rng(0)
FLOATING = {"HardSwish", "HardSigmoid", "ReduceMean", "Conv", "Add", "Clip", "Mul", "GlobalAveragePool"}
HARD_SWISH = {
    "as exported": [("HardSwish", ["a"], ["b"])],
    "rewritten": [
        ("Add", ["a", "three"], ["shifted"]),
        ("Clip", ["shifted", "zero", "six"], ["clipped"]),
        ("Mul", ["a", "clipped"], ["product"]),
        ("Mul", ["product", "sixth"], ["b"]),
    ],
}
MEAN = {"as exported": ("ReduceMean", ["c", "axes"], ["d"]), "rewritten": ("GlobalAveragePool", ["c"], ["d"])}


class Images(CalibrationDataReader):
    def __init__(self):
        self.images = iter([{"x": random.normal(size=(1, 8, 12, 12)).astype(np.float32)} for _ in range(8)])

    def get_next(self):
        return next(self.images, None)


def network(form):
    nodes = [("Conv", ["x", "w1"], ["a"]), *HARD_SWISH[form], ("Conv", ["b", "w2"], ["c"]), MEAN[form]]
    nodes.append(("Conv", ["d", "w3"], ["y"]))
    constants = {name: random.normal(0, 0.3, (8, 8, 1, 1)).astype(np.float32) for name in ("w1", "w2", "w3")}
    constants |= {name: np.array(value, np.float32) for name, value in
                  (("three", 3), ("zero", 0), ("six", 6), ("sixth", 1 / 6))}
    constants["axes"] = np.array([2, 3])
    used = {name for _, inputs, _ in nodes for name in inputs}
    graph = helper.make_graph(
        [helper.make_node(*node, name=f"n{place}") for place, node in enumerate(nodes)],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 12, 12])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 1, 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def optimized(form):
    name = form.replace(" ", "-")
    onnx.save(network(form), f"{name}.onnx")
    quantize_static(f"{name}.onnx", f"{name}.int8.onnx", Images(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = f"{name}.optimized.onnx"
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(f"{name}.int8.onnx", options, providers=["CPUExecutionProvider"])
    operators = [node.op_type for node in onnx.load(f"{name}.optimized.onnx").graph.node]
    return sorted(FLOATING & set(operators)), sum(one.endswith("uantizeLinear") for one in operators)


print("onnxruntime", onnxruntime.__version__)
found = {form: optimized(form) for form in HARD_SWISH}
for form, (in_float, number) in found.items():
    print(f"{form + ':':12} in float {in_float}, {number} QuantizeLinear and DequantizeLinear")
assert found["as exported"][0] == ["HardSigmoid", "Mul", "ReduceMean"]
assert found["rewritten"][0] == []
assert found["as exported"][1] > found["rewritten"][1]
PY
