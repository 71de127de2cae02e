"""Small networks in ONNX, each with one thing that 8 bits do not bear."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from kdtool.edge.session import open_session

SIDE, NUM_CLASSES = 6, 4


def _images(num, seed=0):
    """Pictures of two colours, one on each side of a line, and some noise."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(num, 2, 1, 1))
    rows, columns = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    is_one = (direction[:, 0] * rows + direction[:, 1] * columns > 0)[..., None]
    colours = rng.uniform(0, 230, (2, num, 1, 1, 3))
    noise = rng.uniform(0, 25, (num, SIDE, SIDE, 3))
    images = (np.where(is_one, *colours) + noise).astype(np.uint8)
    images[0, 0, 0] = 0, 255, 255  # the only one; and all steps of 8 bits are whole numbers
    return images


IMAGES = _images(200)


def network(layers, seed=0, **changed):
    """Convolutions of `layers`: (name, channels, group), each with a Relu; then a mean and a Gemm.

    `changed` has functions by name of a constant, such as `conv2_w`, that change it in place.
    """
    rng, node = np.random.default_rng(seed), helper.make_node
    nodes = [
        node("Transpose", ["image"], ["first"], "turn", perm=[0, 3, 1, 2]),
        node("Cast", ["first"], ["floats"], "cast", to=TensorProto.FLOAT),
        node("Div", ["floats", "full"], ["scaled"], "scale"),
    ]
    constants, given, num_given = {"full": np.array(255)}, "scaled", 3
    for name, channels, is_depthwise in layers:
        group = num_given if is_depthwise else 1
        size = (channels, num_given // group, 3, 3)
        constants[f"{name}_w"] = rng.normal(0, np.sqrt(2 / np.prod(size[1:])), size)
        constants[f"{name}_b"] = rng.normal(0, 0.1, channels)
        inputs = [given, f"{name}_w", f"{name}_b"]
        nodes.append(node("Conv", inputs, [f"{name}_y"], name, pads=[1] * 4, group=group))
        nodes.append(node("Relu", [f"{name}_y"], [f"{name}_out"], f"{name}_relu"))
        given, num_given = f"{name}_out", channels
    constants["head_w"] = rng.normal(0, 1, (num_given, NUM_CLASSES))
    constants["head_b"] = np.zeros(NUM_CLASSES)
    nodes += [
        node("GlobalAveragePool", [given], ["pooled"], "pool"),
        node("Flatten", ["pooled"], ["flat"], "flatten"),
        node("Gemm", ["flat", "head_w", "head_b"], ["logits"], "head"),
        node("Softmax", ["logits"], ["probabilities"], "softmax", axis=1),
    ]
    for name, change in changed.items():
        change(constants[name])
    return as_model(nodes, constants)


def as_model(nodes, constants, shape=(SIDE, SIDE, 3), outputs=("logits", "probabilities")):
    """A model of uint8 images."""
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", *shape])],
        [helper.make_tensor_value_info(one, TensorProto.FLOAT, None) for one in outputs],
        [
            numpy_helper.from_array(np.asarray(array, np.float32), name)
            for name, array in constants.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    inferred = onnx.shape_inference.infer_shapes(model)
    del model.graph.output[:]
    model.graph.output.extend(inferred.graph.output)
    return model


def centred(model, logits):
    """Move the biases of the head, so that each class is called about as often."""
    (bias,) = [one for one in model.graph.initializer if one.name == "head_b"]
    array = numpy_helper.to_array(bias) - logits.mean(axis=0)
    bias.CopyFrom(numpy_helper.from_array(array.astype(np.float32), "head_b"))
    return model


def run(model, path, images=IMAGES, names=("logits",)):
    """Values of tensors for all images, computed by ONNX Runtime."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    have = {one.name for one in copy.graph.output}
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in have)
    onnx.save(copy, path / "run.onnx")
    return open_session(path / "run.onnx").run(list(names), {"image": images})


PLAIN = [("conv1", 8, False), ("conv2", 8, True), ("conv3", 12, False), ("conv4", 12, True)]


def plain():
    """Nothing that 8 bits do not bear."""
    return network([*PLAIN, ("conv5", 12, False)])


def loud_channel(gain=3000):
    """A depthwise convolution with a channel far louder than the others; the next one undoes it."""

    def louder(array):
        array[0] *= gain

    def undone(array):
        array[:, 0] /= gain

    changed = {"conv2_w": louder, "conv2_b": louder, "conv3_w": undone}
    return network([*PLAIN, ("conv5", 12, False)], **changed)
