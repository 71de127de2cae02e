"""What an ONNX file of kdtool's form takes and answers, as the scripts of targets need it."""

from pathlib import Path
from typing import Any

from onnx import ModelProto, TensorProto

from kdtool.edge.latency.job import PROBABILITIES
from kdtool.edge.metadata import read_metadata, shape_of_image
from kdtool.edge.model_file import read_model
from kdtool.results.base import Precision

OUTPUTS = ["logits", PROBABILITIES]  # the first ones
FORMS = {TensorProto.UINT8: "pixels", TensorProto.FLOAT: "tensor"}


def facts_of(path: Path) -> dict[str, Any] | None:
    """Return what `model.json` of a target has, for an ONNX file; None: not of kdtool's form.

    That form is one input `image`, of uint8 `(N, H, W, C)` or float32 `(N, C, H, W)`, and the
    outputs `logits` and `probabilities`.
    """
    model = read_model(path)
    inputs, outputs = model.graph.input, model.graph.output
    if [one.name for one in inputs] != ["image"]:
        return None
    tensor = inputs[0].type.tensor_type
    dims = [one.dim_value for one in tensor.shape.dim]
    names = [one.name for one in outputs][: len(OUTPUTS)]
    if len(dims) != 4 or names != OUTPUTS or tensor.elem_type not in FORMS:
        return None
    form = FORMS[tensor.elem_type]
    if form == "tensor":
        channels, height, width = dims[1:]
    elif resized := shape_of_image(model).get(""):
        form, (height, width, channels) = "resize", resized
    else:
        height, width, channels = dims[1:]
    if not (height and width and channels in (1, 3)):
        return None
    sizes = {"height": height, "width": width, "channels": channels}
    takes = "tensor" if form == "tensor" else "pixels"
    given = {"precision": precision_of(model), "input": form, "takes": takes}
    return {**given, **sizes, **_decision(model)}


def precision_of(model: ModelProto) -> Precision:
    """Return in which numbers most of a file is stored."""
    if any(node.op_type == "DequantizeLinear" for node in model.graph.node):
        return "int8"
    halves = any(one.data_type == TensorProto.FLOAT16 for one in model.graph.initializer)
    return "fp16" if halves else "fp32"


def _decision(model: ModelProto) -> dict[str, Any]:
    """Return the index of the positive class and its threshold, or None for both."""
    metadata = read_metadata(model)
    chosen, classes = metadata.get("decision"), metadata.get("classes")
    if not isinstance(chosen, dict) or not isinstance(classes, list):
        return {"positive": None, "threshold": None}
    if chosen.get("positive") not in classes or chosen.get("rule") == "argmax":
        return {"positive": None, "threshold": None}
    return {
        "positive": classes.index(chosen["positive"]),
        "threshold": float(chosen["threshold"]),
    }
