"""Image classifiers with answers in closed form."""

from types import SimpleNamespace

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kdtool.edge.metadata import write_metadata

HEIGHT, WIDTH = 4, 6
INPUTS = {
    "pixels": (TensorProto.UINT8, lambda h, w, c: ["batch", h, w, c]),
    "resize": (TensorProto.UINT8, lambda h, w, c: ["batch", "height", "width", c]),
    "tensor": (TensorProto.FLOAT, lambda h, w, c: ["batch", c, h, w]),
}


def write_classifier(
    path, form="pixels", channels=1, classes=("a", "b", "c"), decision=None, size=(HEIGHT, WIDTH)
):
    """Write a classifier as kdtool exports them, by default of 4 x 6 images.

    Its logits are a linear function of all pixels scaled to [0, 1], in the order channel, row,
    column; of the mean pixel of each channel for the form `resize`.

    Returns the path, `weight`, `bias`, and `answer`: uint8 `(N, H, W, C)` -> `(N, K)` in [0, 1].
    """
    height, width = size
    num_features = channels * (1 if form == "resize" else height * width)
    generator = np.random.default_rng(0)
    weight = generator.normal(size=(len(classes), num_features)).astype(np.float32)
    bias = generator.normal(size=len(classes)).astype(np.float32)
    node = helper.make_node
    nodes = []
    if form != "tensor":
        nodes = [
            node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT),
            node("Div", ["cast", "255"], ["scaled"]),
            node("Transpose", ["scaled"], ["tensor"], perm=[0, 3, 1, 2]),
        ]
    last = "image" if form == "tensor" else "tensor"
    if form == "resize":
        nodes.append(node("GlobalAveragePool", [last], ["mean"]))
        last = "mean"
    nodes += [
        node("Flatten", [last], ["features"]),
        node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
        node("Softmax", ["logits"], ["probabilities"]),
    ]
    stored = {"255": np.array(255, np.float32), "weight": weight, "bias": bias}
    elem_type, dims = INPUTS[form]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("image", elem_type, dims(height, width, channels))],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
            for name in ("logits", "probabilities")
        ],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    values = {"classes": list(classes), "provenance": {"model": "linear", "seed": 0}}
    write_metadata(model, values | ({"decision": decision} if decision else {}))
    onnx.save(model, path)

    def answer(images):
        tensor = images.transpose(0, 3, 1, 2) / 255
        if form == "resize":
            tensor = tensor.mean(axis=(2, 3), keepdims=True)
        logits = tensor.reshape(len(images), -1) @ weight.T.astype(np.float64) + bias
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    return SimpleNamespace(path=path, answer=answer, weight=weight, bias=bias)
