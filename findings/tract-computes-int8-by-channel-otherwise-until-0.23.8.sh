#!/usr/bin/env bash
# Until 0.23.8 tract computes convolutions whose int8 weights have a scale for each channel otherwise, without an error.
#
# tract 0.23.7 and 0.23.8, onnxruntime 1.32.0, onnx 1.23.2, numpy 2.4.6. One convolution with ReLU, a mean and a linear layer, quantized by
# ONNX Runtime's `quantize_static` (QDQ). With one scale for all weights of a layer both releases give ONNX Runtime's answers; with a scale
# for each channel (`per_channel=True`, the usual choice) 0.23.7 is off by a third of the largest logit, 0.23.8 is not. Both belong to the
# range ">=0.23,<0.24". kdtool asks for 0.23.8, and compares the answers of each runtime on all test images before a folder gets its name.
#
# Seen: tract 0.23.7: fp32 as ONNX Runtime, int8 as ONNX Runtime, int8 by channel off by 0.302 of logits up to 0.93
#       tract 0.23.8: fp32 as ONNX Runtime, int8 as ONNX Runtime, int8 by channel as ONNX Runtime
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
cat >"$folder/compare.py" <<'PY'
import logging
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tract
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

logging.disable()
here = Path(sys.argv[1])
rng = np.random.default_rng(0)
stored = {"kernel": rng.normal(0, 0.3, (8, 3, 3, 3)), "bias": rng.normal(0, 0.1, 8), "linear": rng.normal(0, 0.3, (8, 5))}
graph = helper.make_graph(
    [
        helper.make_node("Conv", ["x", "kernel", "bias"], ["c"], kernel_shape=[3, 3], pads=[1] * 4),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["m"]),
        helper.make_node("Flatten", ["m"], ["f"]),
        helper.make_node("Gemm", ["f", "linear"], ["y"]),
    ],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
    [numpy_helper.from_array(value.astype(np.float32), name) for name, value in stored.items()],
)
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9), here / "fp32.onnx")
images = rng.normal(0, 1, (20, 1, 3, 16, 16)).astype(np.float32)


class Images(CalibrationDataReader):
    def __init__(self):
        self.left = iter(images)

    def get_next(self):
        image = next(self.left, None)
        return None if image is None else {"x": image}


for name, by_channel in (("int8", False), ("int8 by channel", True)):
    quantize_static(
        here / "fp32.onnx", here / f"{name}.onnx", Images(), quant_format=QuantFormat.QDQ, per_channel=by_channel,
        weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
    )
said = []
for name in ("fp32", "int8", "int8 by channel"):
    session = onnxruntime.InferenceSession(here / f"{name}.onnx")
    model = tract.onnx().load(str(here / f"{name}.onnx")).into_model().into_runnable()
    expected = np.concatenate([session.run(None, {"x": image})[0] for image in images])
    found = np.concatenate([model.run([image])[0].to_numpy() for image in images])
    off = np.abs(found - expected).max()
    large = f"off by {off:.3f} of logits up to {np.abs(expected).max():.2f}"
    said.append(f"{name} {'as ONNX Runtime' if off < 1e-4 else large}")
print(f"tract {version('tract')}: {', '.join(said)}")
PY
for tract in 0.23.7 0.23.8; do
    python3 -m venv "$folder/$tract"
    "$folder/$tract/bin/pip" install --quiet tract=="$tract" onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
    mkdir "$folder/files-$tract"
    "$folder/$tract/bin/python" "$folder/compare.py" "$folder/files-$tract"
done | tee "$folder/seen"
grep -q "^tract 0.23.7: fp32 as ONNX Runtime, int8 as ONNX Runtime, int8 by channel off by " "$folder/seen"
grep -q "^tract 0.23.8: fp32 as ONNX Runtime, int8 as ONNX Runtime, int8 by channel as ONNX Runtime$" "$folder/seen"
