#!/usr/bin/env bash
# OpenCV 5 computes MobileNetV3 wrongly: it takes a squeeze-excite gate for a hard-swish. Its classic engine also computes a
# depthwise convolution of one pixel wrongly. Neither gives a message.
#
# opencv-python-headless 5.0.0.93. The ONNX reader replaces HardSigmoid(a) with alpha = 1/6 and beta = 1/2, followed by a Mul,
# by HardSwish(a), whatever the other factor of the Mul is. A hard-swish is a * HardSigmoid(a); a squeeze-excite block is
# x * HardSigmoid(a), with a of 1 x 1 pixels: the result has the shape and the values of HardSwish(a). PyTorch's exporter writes
# such files of MobileNetV3. The rule wants the attribute `beta` to be present: without it (1/2 is the default) the answer is
# right. Both engines do so.
#
# Seen: shape (1, 3, 1, 1) in place of (1, 3, 4, 4) with beta, equal to onnxruntime within 1e-6 without;
#       depthwise 3 x 3 of 1 x 1 pixels, largest error relative to the largest value: 0 with ENGINE_NEW, 0.74 with ENGINE_CLASSIC.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet opencv-python-headless==5.0.0.93 onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" - <<'PY'
import cv2
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

rng = np.random.default_rng(0)


def answers(nodes, shape, constants=()):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.save(onnx.shape_inference.infer_shapes(model), "net.onnx")
    x = rng.normal(size=shape).astype(np.float32)
    found = [onnxruntime.InferenceSession("net.onnx").run(None, {"x": x})[0]]
    for engine in (cv2.dnn.ENGINE_NEW, cv2.dnn.ENGINE_CLASSIC):
        network = cv2.dnn.readNetFromONNX("net.onnx", engine)
        network.setInput(x, "x")
        found.append(network.forward())
    return found


print("OpenCV", cv2.__version__)
for given in ({"beta": 0.5}, {}):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("HardSigmoid", ["mean"], ["gate"], alpha=1 / 6, **given),
        helper.make_node("Mul", ["gate", "x"], ["y"]),
    ]
    right, *others = answers(nodes, (1, 3, 4, 4))
    print("squeeze-excite", given, [one.shape for one in others])
    for one in others:
        if given:
            assert one.shape == (1, 3, 1, 1), "OpenCV reads the gate rightly now"
        else:
            np.testing.assert_allclose(one, right, atol=1e-6)

weights = [("w", rng.normal(size=(32, 1, 3, 3)).astype(np.float32))]
convolution = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, group=32)
right, new, classic = answers([convolution], (1, 32, 1, 1), weights)
errors = [float(np.abs(one - right).max() / np.abs(right).max()) for one in (new, classic)]
print("depthwise convolution of one pixel, new and classic engine:", errors)
assert errors[0] < 1e-5
assert errors[1] > 0.1, "the classic engine computes it rightly now"
PY
