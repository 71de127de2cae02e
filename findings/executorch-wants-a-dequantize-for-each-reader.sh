#!/usr/bin/env bash
# ExecuTorch cannot lower a quantized squeeze-excite gate whose input is dequantized once for both of its readers.
#
# executorch 1.5.1, torch 2.15.0. A gate reads a tensor twice: its mean decides about a factor, and the tensor is
# multiplied by that factor. Where one dequantize node serves both readers, lowering to XNNPACK ends in
# "AssertionError: Invalid partition, found dependency cycles", an internal check that names no operator. Where each
# reader has a dequantize node of its own, which computes the same, the whole gate is lowered. Nothing in the exported
# program is wrong: PyTorch runs both forms to the same numbers.
#
# Seen: one node: AssertionError: Invalid partition, found dependency cycles; two nodes: lowered; equal in PyTorch: True
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" torch==2.15.0 executorch==1.5.1 numpy==2.4.6
"$folder/env/bin/python" - <<'PY'
import logging
import warnings

import torch
from torch.ao.quantization.fx import _decomposed  # noqa: F401  registers the operators
from torch.nn.functional import hardsigmoid

logging.disable(logging.CRITICAL)
warnings.simplefilter("ignore")
from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner  # noqa: E402
from executorch.exir import to_edge_transform_and_lower  # noqa: E402

OPERATORS = torch.ops.quantized_decomposed
SCALE = (0.05, 0, -128, 127, torch.int8)


def rounded(x):
    return OPERATORS.quantize_per_tensor(x, *SCALE)


def numbers(x):
    return OPERATORS.dequantize_per_tensor(x, *SCALE)


class Gate(torch.nn.Module):
    def __init__(self, shared):
        super().__init__()
        self.shared = shared

    def forward(self, image):
        integers = rounded(image)
        first = numbers(integers)
        second = first if self.shared else numbers(integers)
        factor = hardsigmoid(numbers(rounded(first.mean((2, 3), keepdim=True))))
        return numbers(rounded(second * numbers(rounded(factor))))


def lowered(shared):
    program = torch.export.export(Gate(shared).eval(), (image,))
    try:
        to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    except AssertionError as error:
        return f"{type(error).__name__}: {error}"
    return "lowered"


image = torch.rand(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
equal = torch.equal(Gate(True)(image), Gate(False)(image))
one, two = lowered(True), lowered(False)
print(f"one node: {one}; two nodes: {two}; equal in PyTorch: {equal}")
assert one == "AssertionError: Invalid partition, found dependency cycles", one
assert two == "lowered" and equal
PY
