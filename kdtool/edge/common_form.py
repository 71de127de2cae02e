"""The forms of operators that other runtimes than ONNX Runtime read rightly, too.

ONNX Runtime computes the same bits from both forms, in the same time. docs/runtimes.md has what
each form costs elsewhere.
"""

from collections import Counter

import numpy as np
from onnx import AttributeProto, ModelProto, NodeProto, TensorProto, numpy_helper

# The lowest in which QuantizeLinear and DequantizeLinear are part of onnx's own reference.
QUANTIZED_OPSET = 19


def leave_out_defaults(model: ModelProto) -> None:
    """Remove attributes that change nothing and that a runtime misreads, in place.

    Reshape's `allowzero`, where the shape holds no 0: onnx2torch refuses it. HardSigmoid's
    `beta`, where it is 1/2: OpenCV 5 takes the gate of a squeeze-excite block, a HardSigmoid with
    this attribute and a Mul, for a HardSwish, and computes another network.
    """
    constants = {one.name: one for one in model.graph.initializer}
    for node in model.graph.node:
        kept = [one for one in node.attribute if not _is_default(node, one, constants)]
        if len(kept) < len(node.attribute):
            del node.attribute[:]
            node.attribute.extend(kept)


def _is_default(
    node: NodeProto, attribute: AttributeProto, constants: dict[str, TensorProto]
) -> bool:
    if (node.op_type, attribute.name) == ("HardSigmoid", "beta"):
        return bool(attribute.f == 0.5)
    if (node.op_type, attribute.name) == ("Reshape", "allowzero"):
        shape = constants.get(node.input[1])
        return shape is not None and 0 not in numpy_helper.to_array(shape)
    return False


def write_weights_as_multiplied(model: ModelProto) -> None:
    """Write the weights of each Gemm as (inputs, outputs), in place.

    With 8-bit weights that have to be transposed, ONNX Runtime takes 3.7 times as long in
    WebAssembly.
    """
    constants = {one.name: one for one in model.graph.initializer}
    readers = Counter(name for node in model.graph.node for name in node.input)
    for node in model.graph.node:
        transposed = next((one for one in node.attribute if one.name == "transB"), None)
        weights = constants.get(node.input[1]) if node.op_type == "Gemm" else None
        if transposed is None or not transposed.i or weights is None or readers[weights.name] > 1:
            continue
        array = np.ascontiguousarray(numpy_helper.to_array(weights).T)
        weights.CopyFrom(numpy_helper.from_array(array, weights.name))
        transposed.i = 0


def raise_opset(quantized: ModelProto) -> None:
    """Write an 8-bit file in opset 19 at least, in place.

    It is the first whose QuantizeLinear onnx's ReferenceEvaluator runs; ONNX Runtime reads it since
    1.15.

    Biases stay 32-bit integers. As floats they would load in OpenCV 5's default engine, which then
    computes convolutions of 8 bits wrongly, and ONNX Runtime 1.20 would compute in fp32.
    """
    for entry in quantized.opset_import:
        if entry.domain == "":
            entry.version = max(QUANTIZED_OPSET, entry.version)
