"""Sources of targets: files with their answers in ONNX Runtime."""

import numpy as np
import onnx

from kdtool.edge.session import open_session
from kdtool.edge.targets.write import Source
from kdtool.files import sha256_of

NUM_IMAGES = 40


def noise(channels=1, size=(4, 6), num=NUM_IMAGES):
    return np.random.default_rng(2).integers(0, 256, (num, *size, channels), dtype=np.uint8)


def source_of(path, images, precision="fp32"):
    """A file with its answers in ONNX Runtime; its outputs get shapes, as kdtool writes them."""
    with_output_shapes(path)
    session = open_session(path)
    given = images
    if session.get_inputs()[0].type != "tensor(uint8)":
        given = images.transpose(0, 3, 1, 2).astype(np.float32) / 255
    (probabilities,) = session.run(["probabilities"], {"image": given})
    return Source(
        precision=precision, path=path, sha256=sha256_of(path), probabilities=probabilities
    )


def with_output_shapes(path):
    """Write the shapes of outputs into a file that has none."""
    model = onnx.load(path)
    inferred = onnx.shape_inference.infer_shapes(model).graph.output
    if any(not one.type.tensor_type.HasField("shape") for one in model.graph.output):
        del model.graph.output[:]
        model.graph.output.extend(inferred)
        onnx.save(model, path)
    return path
