"""An ONNX file of kdtool as a PyTorch module that learns: in fp32, or as ONNX Runtime's int8 file.

The module of an int8 file has the nodes of that file, so it rounds where ONNX Runtime rounds: each
activation with the scale of the file, each weight with the scale that quantization gives it now.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, numpy_helper
from torch import Tensor, nn

from kdtool.edge.converted import FRONT_END
from kdtool.errors import KdtoolError
from kdtool.train.export.operators import OPERATORS
from kdtool.train.export.rounding import UnsupportedError, in_steps, weight_scale

LAYERS = frozenset(("Conv", "Gemm", "MatMul"))  # their weights learn
ROUNDING = frozenset(("QuantizeLinear", "DequantizeLinear"))
OUTPUT = "logits"
INT32 = 2**31


@dataclass(frozen=True)
class Step:
    """One node of a graph."""

    operator: str
    name: str
    inputs: tuple[str, ...]  # an empty name: not given
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    freed: tuple[str, ...]  # values that no later step reads

    @property
    def words(self) -> str:
        """The node in a message."""
        return f"{self.operator} ({self.name or self.outputs[0]})"


@dataclass(frozen=True)
class WeightRounding:
    """How a weight is rounded: symmetric, its largest value in each channel to the last integer."""

    result: str  # name of the rounded weight
    axis: int | None  # of the channels; None: one scale for all
    largest: int  # integer


@dataclass(frozen=True)
class BiasRounding:
    """How a bias is rounded: in steps of the scale of a layer's input times that of its weight."""

    result: str  # name of the rounded bias
    input_scale: str
    weight: str


class TrainableGraph(nn.Module):
    """The nodes of a file from its images to its logits; weights of layers are parameters."""

    def __init__(
        self,
        graph: GraphProto,
        weights: Mapping[str, Tensor],
        roundings: Mapping[str, WeightRounding | BiasRounding],
    ) -> None:
        """Read a graph.

        Args:
            graph: Of the file.
            weights: That learn, by the names of their initializers in fp32.
            roundings: How each of them is rounded; weights that have none are used unrounded.

        Raises:
            KdtoolError: An operator has no form in PyTorch.
        """
        super().__init__()
        image = graph.input[0]
        self.takes_pixels = image.type.tensor_type.elem_type == TensorProto.UINT8
        rounded_here = {one.result for one in roundings.values()}
        nodes = [node for node in graph.node if not rounded_here & set(node.output)]
        self.steps, self.entry = steps_to_logits(nodes, image.name)
        self.names = list(weights)
        self.weights = nn.ParameterList(weights.values())
        self.roundings = dict(roundings)
        self.constants: dict[str, str] = {}  # name -> name of its buffer
        self.sizes: dict[str, Tensor] = {}  # whole numbers, on the CPU
        read = {name for step in self.steps for name in step.inputs}
        on_device = {n for step in self.steps if step.operator in ROUNDING for n in step.inputs}
        for number, tensor in enumerate(graph.initializer):
            if tensor.name not in read or tensor.name in weights:
                continue
            value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
            if value.is_floating_point() or tensor.name in on_device:
                self.constants[tensor.name] = f"constant{number}"
                self.register_buffer(f"constant{number}", value, persistent=False)
            else:
                self.sizes[tensor.name] = value

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits `(B, C)` of images `(B, C, H, W)` in [0, 1]."""
        values: dict[str, Any] = {"": None, **self.sizes}
        values |= {name: self.get_buffer(buffer) for name, buffer in self.constants.items()}
        values |= self._weights(values)
        values[self.entry] = images.permute(0, 2, 3, 1) * 255 if self.takes_pixels else images
        for step in self.steps:
            given = [values[name] for name in step.inputs]
            try:
                found = OPERATORS[step.operator](*given, **step.attributes)
            except UnsupportedError as error:
                raise _refusal([f"{step.words}: {error}"]) from error
            many = found if isinstance(found, tuple) else (found,)
            values |= zip(step.outputs, many, strict=True)
            for name in step.freed:
                del values[name]
        logits: Tensor = values[OUTPUT]
        return logits

    def _weights(self, constants: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights and biases by the names that the steps read, rounded if they are."""
        by_name = dict(zip(self.names, self.weights, strict=True))
        given, scales = {}, {}
        for name, rounding in self.roundings.items():
            if isinstance(rounding, WeightRounding):
                weight = by_name[name]
                scale = weight_scale(weight, rounding.axis, rounding.largest)
                given[rounding.result] = in_steps(weight, scale, rounding.largest)
                scales[name] = scale
        for name, rounding in self.roundings.items():
            if isinstance(rounding, BiasRounding):
                bias = by_name[name]
                scale = constants[rounding.input_scale] * scales[rounding.weight].flatten()
                given[rounding.result] = in_steps(bias, scale, INT32)
        unrounded = {name: one for name, one in by_name.items() if name not in self.roundings}
        return given | unrounded


def trainable(model: ModelProto) -> TrainableGraph:
    """Return the module of an fp32 file.

    Args:
        model: Of `make_onnx`, in any input form; its logits are those of the module.

    Raises:
        KdtoolError: An operator has no form in PyTorch; all of them are listed.
    """
    return TrainableGraph(model.graph, weights_of(model.graph), {})


def fake_quantized(int8: ModelProto, model: ModelProto) -> TrainableGraph:
    """Return the module of an int8 file, with the weights of the fp32 file that it was made from.

    Args:
        int8: Of `to_int8`.
        model: The fp32 file.

    Raises:
        KdtoolError: As of `trainable`, or `int8` was not made from `model`.
    """
    weights = weights_of(model.graph)
    return TrainableGraph(int8.graph, weights, roundings_of(int8.graph, weights))


def weights_of(graph: GraphProto) -> dict[str, Tensor]:
    """Return what the layers of an fp32 graph learn, weights and biases, by name."""
    read = dict.fromkeys(
        name for node in graph.node if node.op_type in LAYERS for name in node.input[1:]
    )
    arrays = {tensor.name: tensor for tensor in graph.initializer}
    return {
        name: torch.from_numpy(numpy_helper.to_array(arrays[name]).copy())
        for name in read
        if name in arrays and arrays[name].data_type == TensorProto.FLOAT
    }


def roundings_of(
    graph: GraphProto, weights: Mapping[str, Tensor]
) -> dict[str, WeightRounding | BiasRounding]:
    """Return how an int8 graph rounds weights and biases, by their names in fp32.

    Raises:
        KdtoolError: One of the weights is not in the graph.
    """
    constants = {tensor.name: tensor for tensor in graph.initializer}
    reader = {node.input[0]: node for node in graph.node if node.op_type == "DequantizeLinear"}
    found = {name: reader[of_int8(name)] for name in weights if of_int8(name) in reader}
    if missing := [name for name in weights if name not in found and name not in constants]:
        raise KdtoolError(f"the int8 file has no weight {missing[0]}; make it from this fp32 file")
    is_weight = {name: constants[of_int8(name)].data_type == TensorProto.INT8 for name in found}
    integers = [numpy_helper.to_array(constants[of_int8(n)]) for n in found if is_weight[n]]
    # 127, or 64 of a portable file: the largest weight of each channel is the last integer
    largest = max((int(abs(array.astype(int)).max()) for array in integers), default=0)
    roundings: dict[str, WeightRounding | BiasRounding] = {}
    for name, node in found.items():
        if is_weight[name]:
            scales = constants[node.input[1]].dims
            axis = _attributes(node).get("axis", 1) if list(scales) else None
            roundings[name] = WeightRounding(node.output[0], axis, max(1, largest))
    by_result = {one.result: name for name, one in roundings.items()}
    producer = {name: node for node in graph.node for name in node.output}
    for name, node in found.items():
        if not is_weight[name]:
            layer = next(one for one in graph.node if node.output[0] in one.input[2:])
            scale = producer[layer.input[0]].input[1]
            roundings[name] = BiasRounding(node.output[0], scale, by_result[layer.input[1]])
    return roundings


def of_int8(name: str) -> str:
    """Return the name that `quantize_static` gives the integers of a weight."""
    return f"{name}_quantized"


def with_weights(model: ModelProto, module: TrainableGraph) -> ModelProto:
    """Return a copy of an fp32 file with the weights of a module.

    Args:
        model: That the module was made from.
        module: On any device.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    learned = dict(zip(module.names, module.weights, strict=True))
    for tensor in changed.graph.initializer:
        if tensor.name in learned:
            array = learned[tensor.name].detach().cpu().contiguous().numpy()
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    onnx.checker.check_model(changed, full_check=True)
    return changed


def steps_to_logits(nodes: Sequence[NodeProto], image: str) -> tuple[list[Step], str]:
    """Return the steps to the logits, and the name of the images that the first one reads.

    Nodes that resize images are left out: the images of a study have the size of the model.
    """
    front = [node for node in nodes if node.name.startswith(FRONT_END)]
    resized = {name for node in front for name in node.output}
    needed, kept = {OUTPUT}, []
    for node in reversed(nodes):
        if needed & set(node.output) and not node.name.startswith(FRONT_END):
            needed |= set(node.input)
            kept.append(node)
    kept.reverse()
    _check(kept)
    last: dict[str, int] = {}
    made = {name for node in kept for name in node.output}
    for number, node in enumerate(kept):
        last |= dict.fromkeys((name for name in node.input if name in made), number)
        last |= {name: number for name in node.output if name not in needed}
    freed: dict[int, list[str]] = {}
    for name, number in last.items():
        if name != OUTPUT:
            freed.setdefault(number, []).append(name)
    steps = [_step(node, freed.get(number, ())) for number, node in enumerate(kept)]
    return steps, next(iter(resized & needed), image)


def _step(node: NodeProto, freed: Sequence[str]) -> Step:
    return Step(
        node.op_type,
        node.name,
        tuple(node.input),
        tuple(node.output),
        _attributes(node),
        tuple(freed),
    )


def _check(nodes: Sequence[NodeProto]) -> None:
    """Raise KdtoolError that lists the nodes without a form in PyTorch."""
    refused = []
    for node in nodes:
        step = _step(node, ())
        function = OPERATORS.get(node.op_type) if node.domain in ("", "ai.onnx") else None
        if function is None:
            refused.append(step.words)
            continue
        try:
            inspect.signature(function).bind(*step.inputs, **step.attributes)
        except TypeError as error:
            refused.append(f"{step.words}: {error}")
    if refused:
        raise _refusal(refused)


def _refusal(nodes: Sequence[str]) -> KdtoolError:
    shown = ", ".join(nodes[:3]) + (f" and {len(nodes) - 3} more" if len(nodes) > 3 else "")
    return KdtoolError(
        f"PyTorch has no form of its nodes {shown}; ship the fp32 file, or choose a student "
        "without them"
    )


def _attributes(node: NodeProto) -> dict[str, Any]:
    found = {one.name: onnx.helper.get_attribute_value(one) for one in node.attribute}
    return {name: one.decode() if isinstance(one, bytes) else one for name, one in found.items()}
