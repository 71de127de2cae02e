"""What conversions of a file to int8 and fp16 share."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import onnx
from onnx import ModelProto

# Name prefix of the nodes that resize an image: they compute with sizes.
FRONT_END = "resize_"


def copied(model: ModelProto) -> ModelProto:
    """Return a copy of a model."""
    copy = ModelProto()
    copy.CopyFrom(model)
    return copy


def front_end(model: ModelProto) -> list[str]:
    """Return the names of the nodes that resize an image."""
    return [node.name for node in model.graph.node if node.name.startswith(FRONT_END)]


def as_ours(smaller: ModelProto, model: ModelProto) -> ModelProto:
    """Remove leftovers of the tools from the file, and copy the metadata of `model`."""
    used = {node.domain for node in smaller.graph.node} | {""}
    opsets = {entry.domain: entry.version for entry in smaller.opset_import if entry.domain in used}
    del smaller.opset_import[:], smaller.metadata_props[:], smaller.graph.value_info[:]
    smaller.opset_import.extend(onnx.helper.make_opsetid(*pair) for pair in sorted(opsets.items()))
    smaller.metadata_props.extend(model.metadata_props)
    smaller.producer_name, smaller.producer_version = model.producer_name, model.producer_version
    smaller.graph.name, smaller.graph.doc_string = model.graph.name, ""
    onnx.checker.check_model(smaller, full_check=True)
    return smaller


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress the tools' advice, which does not apply to these graphs."""
    level = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # every error is raised as well
    try:
        yield
    finally:
        logging.disable(level)
