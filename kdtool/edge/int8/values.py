"""Values of tensors inside a network, image by image, so that memory stays bounded."""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto

from kdtool.edge.converted import copied
from kdtool.edge.session import open_session
from kdtool.files import scratch_folder


def each_image(
    model: ModelProto, names: Sequence[str], images: NDArray[np.generic]
) -> Iterator[list[NDArray[np.float32]]]:
    """Yield the values of some tensors for one image after the other.

    Only what these tensors depend on is computed.

    Args:
        model: With one input.
        names: Of tensors of its graph.
        images: `(N, ...)`, inputs of the model.
    """
    part = up_to(model, names)
    with scratch_folder() as folder:
        path = folder / "part.onnx"
        onnx.save(part, path)
        session = open_session(path)
    feed = part.graph.input[0].name
    for image in images:
        yield session.run(list(names), {feed: image[None]})


def up_to(model: ModelProto, names: Sequence[str]) -> ModelProto:
    """Return the part of a model that computes some of its tensors, with these as its outputs."""
    needed, nodes = set(names), list[NodeProto]()
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            nodes.append(node)
            needed |= set(node.input)
    part = copied(model)
    del part.graph.node[:], part.graph.output[:], part.graph.initializer[:]
    part.graph.node.extend(reversed(nodes))
    part.graph.initializer.extend(one for one in model.graph.initializer if one.name in needed)
    part.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return part
