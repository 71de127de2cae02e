"""A study's file in the form of a target; the study's own file is only read."""

import contextlib
import io
import shutil
from pathlib import Path

import onnx
from onnx import ModelProto

import kdtool.edge.session  # noqa: F401  switches telemetry off before onnxruntime is imported
from kdtool.edge.converted import copied, front_end, quiet
from kdtool.edge.metadata import read_metadata, write_metadata
from kdtool.edge.model_file import read_model
from kdtool.edge.targets.target import Target
from kdtool.errors import GateError


def write_form(target: Target, model: Path, path: Path) -> None:
    """Write a study's file in the form of a target.

    Args:
        target: The runtime.
        model: The study's file.
        path: To write, in a temporary folder: a converter may write other files next to it.

    Raises:
        GateError: A converter failed, or ended well without a file.
    """
    source = path.with_name("source.onnx")
    shutil.copyfile(model, source)
    if not target.resizes and front_end(read := read_model(source)):
        onnx.save(without_resize(read), source)
    match target.name:
        case "ort":
            _to_ort(source)
            made = source.with_suffix(".ort")
        case _:
            made = source
    if not made.is_file():
        raise GateError(f"the converter of {target.title} ended without a file")
    made.replace(path)
    for left in (source, source.with_suffix(".required_operators.config")):
        left.unlink(missing_ok=True)  # the second names folders of this machine


def without_resize(model: ModelProto) -> ModelProto:
    """Return a file that takes images of the model's size, from one that takes any size.

    An image of that size passes the resize unchanged, so the answers are the same.
    """
    pixels = copied(model)
    names = set(front_end(model))
    front = [node for node in pixels.graph.node if node.name in names]
    rest = [node for node in pixels.graph.node if node.name not in names]
    (image,) = pixels.graph.input
    for node in rest:
        node.input[:] = [image.name if name == front[-1].output[0] else name for name in node.input]
    del pixels.graph.node[:]
    pixels.graph.node.extend(rest)
    read = {name for node in rest for name in node.input}
    kept = [one for one in pixels.graph.initializer if one.name in read]
    del pixels.graph.initializer[:]
    pixels.graph.initializer.extend(kept)
    preprocess = read_metadata(model)["preprocess"]
    assert isinstance(preprocess, dict)  # `make_onnx` wrote it
    for axis, side in ((1, "height"), (2, "width")):
        image.type.tensor_type.shape.dim[axis].dim_value = preprocess[side]
    write_metadata(pixels, {"preprocess": {**preprocess, "input": "pixels"}})
    onnx.checker.check_model(pixels, full_check=True)
    return pixels


def _to_ort(source: Path) -> None:
    """Write `source.ort` next to a file."""
    from onnxruntime.tools.convert_onnx_models_to_ort import (  # type: ignore[import-untyped]
        OptimizationStyle,
        convert_onnx_models_to_ort,
    )

    printed = io.StringIO()
    try:
        with quiet(), contextlib.redirect_stdout(printed):
            # Not the style "Runtime": its file computes 8-bit layers in floats, 4 times slower.
            convert_onnx_models_to_ort(source, optimization_styles=[OptimizationStyle.Fixed])
    except Exception as error:
        raise GateError(f"its converter failed: {' '.join(str(error).split())}") from error
