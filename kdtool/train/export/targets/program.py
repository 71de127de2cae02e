"""An int8 file of kdtool as a PyTorch program that rounds to integers, as compilers expect it.

The program rounds where the file rounds, with its scales: it is that file in another form, and not
a network that was quantized a second time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, numpy_helper
from torch import Tensor, nn
from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers the operators of ROUND
from torch.nn import functional as F

from kdtool.edge.model_file import read_model
from kdtool.errors import GateError, KdtoolError
from kdtool.train.export.operators import OPERATORS
from kdtool.train.export.rounding import UnsupportedError
from kdtool.train.export.trainable import LAYERS, OUTPUT, Step, steps_to_logits
from kdtool.train.models.networks import ImageShape

ROUND = torch.ops.quantized_decomposed
INT8 = (-128, 127, torch.int8)  # lowest and highest integer, type
UNSIGNED = 128  # a uint8 of the file less the int8 of the program

Arrays = Mapping[str, NDArray[Any]]


def program_of(path: Path, image_shape: ImageShape) -> "QuantizedProgram":
    """Return the program of an int8 file of a study.

    Args:
        path: Of the file.
        image_shape: C, H, W.

    Raises:
        GateError: It has none.
    """
    try:
        return QuantizedProgram(read_model(path), image_shape).eval()
    except (KdtoolError, UnsupportedError) as error:
        raise GateError(f"its int8 file has no form in PyTorch: {error}") from error


@dataclass(frozen=True, slots=True)
class Rounding:
    """How an activation is rounded; its numbers are (integer - zero_point) * scale."""

    scale: float
    zero_point: int  # of int8
    factor: float  # of what is rounded: `fold_sixths` divides in the scales

    def quantize(self, x: Tensor) -> Tensor:
        """Return integers."""
        x = x if self.factor == 1 else x * self.factor
        return ROUND.quantize_per_tensor(x, self.scale, self.zero_point, *INT8)  # type: ignore[no-any-return]

    def dequantize(self, x: Tensor) -> Tensor:
        """Return numbers."""
        return ROUND.dequantize_per_tensor(x, self.scale, self.zero_point, *INT8)  # type: ignore[no-any-return]


PIXELS = Rounding(scale=1.0, zero_point=-UNSIGNED, factor=1.0)


class QuantizedProgram(nn.Module):
    """The nodes of an int8 file, from one image to its logits and probabilities."""

    def __init__(self, model: ModelProto, image_shape: ImageShape) -> None:
        """Read a file.

        Args:
            model: Of `to_int8`, in any input form.
            image_shape: C, H, W.

        Raises:
            KdtoolError: An operator has no form in PyTorch.
            UnsupportedError: An operator is used in a way that has none.
        """
        super().__init__()
        self.image_shape = image_shape
        graph = model.graph
        steps, self.entry = steps_to_logits(graph.node, graph.input[0].name)
        self.takes_pixels = graph.input[0].type.tensor_type.elem_type == TensorProto.UINT8
        arrays = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
        self.roundings = _roundings(steps, arrays)
        computed = _computed(steps, self.entry)
        self.steps = [step for step in steps if step.outputs[0] in computed]
        self.weights = self._add_weights(steps, arrays)
        self.numbers: dict[str, Any] = {}
        self.arrays: dict[str, str] = {}  # name -> name of its buffer
        values = _values(steps, arrays, self.entry, self._given(self.example()))
        known = {name for step in self.steps for name in step.inputs} - computed - {self.entry, ""}
        for number, name in enumerate(sorted(known - set(self.weights))):
            value = values[name]
            if value.dtype == torch.int64:
                self.numbers[name] = value.numpy()
            elif value.ndim == 0:
                self.numbers[name] = value.item()
            else:
                self.arrays[name] = f"array{number}"
                self.register_buffer(self.arrays[name], value)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities, `(1, C)`, of an image.

        Args:
            image: int8 `(1, H, W, C)`, pixels less 128, of a file that takes pixels; else float32
                `(1, C, H, W)` in [0, 1].
        """
        values: dict[str, Any] = {"": None, self.entry: self._given(image), **self.numbers}
        values |= {name: self.get_buffer(buffer) for name, buffer in self.arrays.items()}
        values |= {name: self._weight(buffer) for name, buffer in self.weights.items()}
        integers: dict[str, tuple[Rounding, Tensor]] = {}  # by the name of the numbers

        def numbers(name: str) -> Any:
            if name not in integers:
                return values[name]
            rounding, found = integers[name]  # once for each reader, or they cannot be fused
            return rounding.dequantize(found)

        result: Any
        for step in self.steps:
            match step.operator:
                case "DequantizeLinear" if step.inputs[0] in self.roundings:
                    found = (self.roundings[step.inputs[0]], values[step.inputs[0]])
                    integers[step.outputs[0]] = found
                    continue
                case "QuantizeLinear":
                    result = self.roundings[step.outputs[0]].quantize(numbers(step.inputs[0]))
                case "Gemm" | "MatMul" if step.inputs[1] in self.weights:
                    result = F.linear(*map(numbers, step.inputs))
                case _:
                    operator = OPERATORS[step.operator]
                    result = operator(*map(numbers, step.inputs), **step.attributes)
            many = result if isinstance(result, tuple) else (result,)
            values |= zip(step.outputs, many, strict=True)
        logits: Tensor = numbers(OUTPUT)
        return logits, logits.softmax(dim=1)

    def _given(self, image: Tensor) -> Tensor:
        """Return an image as the file takes it, but as float32."""
        return PIXELS.dequantize(image) if self.takes_pixels else image

    def example(self) -> Tensor:
        """Return an image as `forward` takes it."""
        channels, height, width = self.image_shape
        if self.takes_pixels:
            return torch.zeros(1, height, width, channels, dtype=torch.int8)
        return torch.zeros(1, *self.image_shape)

    def _weight(self, buffer: str) -> Tensor:
        parts = [self.get_buffer(f"{buffer}_{part}") for part in ("integers", "scales", "zeros")]
        return ROUND.dequantize_per_channel(*parts, 0, *INT8)  # type: ignore[no-any-return]

    def _add_weights(self, steps: Sequence[Step], arrays: Arrays) -> dict[str, str]:
        """Add the integer weights of layers, output channels first; return names, and buffers."""
        back = {step.outputs[0]: step for step in steps if step.operator == "DequantizeLinear"}
        buffers: dict[str, str] = {}
        for layer in self.steps:
            step = back.get(layer.inputs[1]) if layer.operator in LAYERS else None
            if step is None or arrays[step.inputs[0]].dtype != np.int8:
                continue
            if {layer.attributes.get(one, 1) for one in ("alpha", "beta")} != {1}:
                raise UnsupportedError(f"{layer.words}: alpha or beta other than 1")
            integers, scales = (arrays[name] for name in step.inputs[:2])
            if layer.operator != "Conv" and not layer.attributes.get("transB"):
                integers = integers.T
            buffer = buffers[step.outputs[0]] = f"weight{len(buffers)}"
            channels = len(integers)
            for part, array in (
                ("integers", integers),
                ("scales", np.broadcast_to(scales.reshape(-1), channels)),
                ("zeros", np.zeros(channels, np.int64)),
            ):
                value = torch.from_numpy(np.array(array))
                self.register_buffer(f"{buffer}_{part}", value)
        return buffers


def _computed(steps: Sequence[Step], image: str) -> set[str]:
    """Return the names of values that depend on the pixels of an image."""
    found: set[str] = set()
    for step in steps:
        if step.operator != "Shape" and ({image} | found) & set(step.inputs):
            found |= set(step.outputs)
    return found


def _values(steps: Sequence[Step], arrays: Arrays, entry: str, image: Tensor) -> dict[str, Tensor]:
    """Return all values of a run on one image."""
    values: dict[str, Any] = {"": None, entry: image}
    values |= {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
    for step in steps:
        found = OPERATORS[step.operator](*(values[one] for one in step.inputs), **step.attributes)
        many = found if isinstance(found, tuple) else (found,)
        values |= zip(step.outputs, many, strict=True)
    return values


def _roundings(steps: Sequence[Step], arrays: Arrays) -> dict[str, Rounding]:
    """Return how activations are rounded, by the names of their integers.

    Raises:
        UnsupportedError: Integers are read with several scales.
    """
    found: dict[str, Rounding] = {}
    for step in steps:
        if step.operator != "QuantizeLinear":
            continue
        name = step.outputs[0]
        own, zero_point = (arrays[one] for one in step.inputs[1:])
        scales = {float(arrays[one.inputs[1]]) for one in steps if name in one.inputs}
        if len(scales) != 1:
            raise UnsupportedError(f"{step.words}: its integers are read with several scales")
        (scale,) = scales
        less = UNSIGNED if zero_point.dtype == np.uint8 else 0
        found[name] = Rounding(scale, int(zero_point) - less, scale / float(own))
    return found
