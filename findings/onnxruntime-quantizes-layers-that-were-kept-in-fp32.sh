#!/usr/bin/env bash
# onnxruntime rounds the fp32 weights of a layer between 8-bit tensors to 8 bits when it loads the file.
#
# onnxruntime 1.32.0. A layer that loses too much in 8 bits is left in fp32 (nodes_to_exclude of quantize_static): its
# weights are floats in the file, between a DequantizeLinear and a QuantizeLinear. With the default optimizations the
# session quantizes them all the same (optimizer WeightBiasQuantization): to int8, with one scale for the whole tensor,
# even where every other layer has one scale per channel. So the exclusion makes such a layer worse than per-channel
# int8, without a message; only a node other than Relu or Clip behind the layer, or a bias that is computed, prevents
# it. Without optimization, or with disabled_optimizers=["WeightBiasQuantization"], the file computes what it says.
#
# Seen, largest error of a channel relative to its largest value, for two channels whose weights are +-1 and 0.0035:
#       as the file says: 0.008 and 0.029        by default: 0.009 and 1.000 (the weights of the second became 0)
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" - <<'PY'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

weights = np.zeros((2, 1, 8, 8), np.float32)
weights[0, 0, 0, :2] = 1, -1  # the first channel is the difference of two pixels
weights[1] = 0.0035  # the second one the sum of 64 pixels, made small
constants = {
    "weights": weights,
    "bias": np.zeros(2, np.float32),
    "step": np.float32(1 / 255),
    "zero": np.uint8(0),
    "wide_step": np.float32(2 / 255),
    "middle": np.uint8(128),
}
nodes = [
    helper.make_node("QuantizeLinear", ["x", "step", "zero"], ["x8"]),
    helper.make_node("DequantizeLinear", ["x8", "step", "zero"], ["rounded"]),
    helper.make_node("Conv", ["rounded", "weights", "bias"], ["y"], name="kept_in_fp32"),
    helper.make_node("QuantizeLinear", ["y", "wide_step", "middle"], ["y8"]),
    helper.make_node("DequantizeLinear", ["y8", "wide_step", "middle"], ["answer"]),
]
graph = helper.make_graph(
    nodes,
    "net",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 16, 16])],
    [helper.make_tensor_value_info("answer", TensorProto.FLOAT, [1, 2, 9, 9])],
    [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "kept.onnx")

x = np.random.default_rng(0).uniform(0, 1, (1, 1, 16, 16)).astype(np.float32)
windows = np.lib.stride_tricks.sliding_window_view(x[0, 0], (8, 8))  # (9, 9, 8, 8)
expected = np.einsum("ijkl,ckl->cij", windows, weights[:, 0])[None]
print("onnxruntime", onnxruntime.__version__)
errors = {}
for name, disabled in (("as the file says", ["WeightBiasQuantization"]), ("by default", [])):
    session = onnxruntime.InferenceSession(
        "kept.onnx", providers=["CPUExecutionProvider"], disabled_optimizers=disabled
    )
    (answer,) = session.run(None, {"x": x})
    error = (np.abs(answer - expected) / np.abs(expected).max(axis=(2, 3), keepdims=True)).max(axis=(0, 2, 3))
    errors[name] = error
    print(f"{name}: channel 0 {error[0]:.3f}, channel 1 {error[1]:.3f}")
assert (errors["as the file says"] < 0.04).all()
assert errors["by default"][0] < 0.04
assert errors["by default"][1] > 0.5, "onnxruntime keeps a layer in fp32 that is in fp32 now"
PY
