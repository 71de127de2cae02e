"""Metadata of an ONNX file: JSON under `kdtool.*` keys, and ONNX's own `Image.*` keys."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from kdtool.errors import ModelFileError

if TYPE_CHECKING:  # reading metadata needs neither onnx nor onnxruntime
    from onnx import ModelProto

    from kdtool.edge.session import InferenceSession

PREFIX = "kdtool."


def image_properties(channels: int) -> dict[str, str]:
    """Return ONNX's keys for a model that takes decoded pixels, 0 to 255.

    Args:
        channels: 1 (gray) or 3 (RGB).

    Source: docs/MetadataProps.md of onnx.
    """
    return {
        "Image.BitmapPixelFormat": {1: "Gray8", 3: "Rgb8"}[channels],
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": "NominalRange_0_255",
    }


def model_api_properties(classes: Sequence[str]) -> dict[str, str]:
    """Return the keys by which OpenVINO's Model API knows a classifier of RGB pixels.

    It splits labels at spaces, so those of a name are written as underscores.

    Source: load_parameters_from_onnx of openvino-model-api 0.4.7, adapters/utils.py.
    """
    return {
        "model_info model_type": "Classification",
        "model_info labels": " ".join("_".join(name.split()) for name in classes),
    }


def write_metadata(
    model: ModelProto, values: dict[str, object], standard: dict[str, str] | None = None
) -> None:
    """Write metadata into `model`, in place, with kdtool's keys sorted.

    Args:
        model: Its other metadata stay unchanged, and come first.
        values: Key without the prefix -> JSON value without NaN; replaces an existing key.
        standard: Full key -> plain text, for the keys that ONNX defines.
    """
    ours = dict(standard or {}) | {
        PREFIX + key: json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
        for key, value in values.items()
    }
    props = {prop.key: prop.value for prop in model.metadata_props}
    kept = {key: props.pop(key) for key in list(props) if key in ours or key.startswith(PREFIX)}
    del model.metadata_props[:]
    for key, value in [*props.items(), *sorted((kept | ours).items())]:
        model.metadata_props.add(key=key, value=value)


def read_metadata(source: ModelProto | InferenceSession) -> dict[str, object]:
    """Return the values of `write_metadata`, by key without the prefix; other keys are ignored.

    Raises:
        ModelFileError: A value under a `kdtool.*` key is not JSON.
    """
    if hasattr(source, "get_modelmeta"):
        props = source.get_modelmeta().custom_metadata_map
    else:
        props = {prop.key: prop.value for prop in source.metadata_props}
    return {
        key.removeprefix(PREFIX): _parse(key, props[key])
        for key in sorted(props)
        if key.startswith(PREFIX)
    }


def shape_of_image(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the image shape of a file of kdtool that takes images of any size, as for `--shape`.

    Returns:
        Under the key "", the only input: height, width and channels; empty for all other files.

    Raises:
        ModelFileError: The file takes any size, and its metadata lack the size it is made for.
    """
    preprocess = read_metadata(model).get("preprocess")
    if not isinstance(preprocess, dict) or preprocess.get("input") != "resize":
        return {}
    sides = [preprocess.get(side) for side in ("height", "width", "channels")]
    sizes = tuple(side for side in sides if type(side) is int and side > 0)
    if len(sizes) < len(sides):
        raise ModelFileError(
            "the model's metadata kdtool.preprocess have height, width and channels "
            f"{str(sides)[:80]}; expected three whole numbers above 0; export the model again"
        )
    return {"": sizes}


def _parse(key: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"the model's metadata {key} are not JSON: {text[:40]}; export the model again"
        ) from error
