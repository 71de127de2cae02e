"""What an ONNX file says of itself: JSON under `kdtool.*` keys, and ONNX's own `Image.*` keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from onnx import ModelProto

from kdtool.errors import ModelFileError

if TYPE_CHECKING:  # reading what a model carries needs no runtime
    from kdtool.edge.session import InferenceSession

PREFIX = "kdtool."


def image_properties(channels: int) -> dict[str, str]:
    """Return ONNX's keys for a model that takes pixels as a decoder gives them, 0 to 255.

    Args:
        channels: 1, grey, or 3, red, green and blue.

    Source: docs/MetadataProps.md of onnx.
    """
    return {
        "Image.BitmapPixelFormat": {1: "Gray8", 3: "Rgb8"}[channels],
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": "NominalRange_0_255",
    }


def write_metadata(
    model: ModelProto, values: dict[str, object], standard: dict[str, str] | None = None
) -> None:
    """Write into `model`, in place, and sort what kdtool wrote.

    Args:
        model: Its other metadata stays as it is, and comes first.
        values: Key without the prefix -> anything that JSON can hold, but no NaN. A key that the
            model already carries is replaced.
        standard: Whole key -> plain text, for the keys that ONNX defines.
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
    """Return what `write_metadata` wrote, by key without the prefix; other keys are left out.

    Raises:
        ModelFileError: A value under a `kdtool.*` key is not JSON.
    """
    if isinstance(source, ModelProto):
        props = {prop.key: prop.value for prop in source.metadata_props}
    else:
        props = source.get_modelmeta().custom_metadata_map
    return {
        key.removeprefix(PREFIX): _parse(key, props[key])
        for key in sorted(props)
        if key.startswith(PREFIX)
    }


def shape_of_image(model: ModelProto) -> dict[str, tuple[int, ...]]:
    """Return the shape that kdtool's own files of any size are made for, as `--shape` gives it.

    Returns:
        Under "", the only input: height, width and channels; empty for all other files.

    Raises:
        ModelFileError: The file says that it takes any size, but not for which it is made.
    """
    preprocess = read_metadata(model).get("preprocess")
    if not isinstance(preprocess, dict) or preprocess.get("input") != "resize":
        return {}
    sides = [preprocess.get(side) for side in ("height", "width", "channels")]
    sizes = tuple(side for side in sides if type(side) is int and side > 0)
    if len(sizes) < len(sides):
        raise ModelFileError(
            "the model's metadata 'kdtool.preprocess' should give height, width and channels, "
            f"whole numbers above 0, but gives {str(sides)[:80]}; export the model again"
        )
    return {"": sizes}


def _parse(key: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"the model's metadata {key!r} is not JSON but {text[:40]!r}; export the model again"
        ) from error
