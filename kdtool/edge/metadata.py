"""JSON values under `kdtool.*` keys in the metadata of an ONNX file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from onnx import ModelProto

from kdtool.errors import ModelFileError

if TYPE_CHECKING:  # reading what a model carries needs no runtime
    from kdtool.edge.session import InferenceSession

PREFIX = "kdtool."


def write_metadata(model: ModelProto, values: dict[str, object]) -> None:
    """Write `values` into `model`, in place, and sort all `kdtool.*` keys.

    Args:
        model: Its other metadata stays as it is, and comes first.
        values: Key without the prefix -> anything that JSON can hold, but no NaN. A key that the
            model already carries is replaced.
    """
    ours = {
        PREFIX + key: json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)
        for key, value in values.items()
    }
    props = {prop.key: prop.value for prop in model.metadata_props}
    foreign = {key: value for key, value in props.items() if not key.startswith(PREFIX)}
    kept = {key: value for key, value in props.items() if key.startswith(PREFIX)}
    del model.metadata_props[:]
    for key, value in [*foreign.items(), *sorted((kept | ours).items())]:
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


def _parse(key: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(
            f"the model's metadata {key!r} is not JSON but {text[:40]!r}; export the model again"
        ) from error
