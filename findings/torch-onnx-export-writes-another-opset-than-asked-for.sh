#!/usr/bin/env bash
# torch.onnx.export with opset_version=17 writes opset 18 where the network averages over height and width, and returns as usual.
#
# torch 2.15.0, onnxscript 0.7.2, onnx 1.23.2. The exporter builds opset 18 and converts it down. Where that fails, it logs a traceback
# among its other lines, and writes opset 18: no exception, no Python warning, and nothing at all where logging is above WARNING. Which
# opset comes out depends on the operators: 17 fails for each global average pool (the axes of its ReduceMean are an
# input since 18), 13 for each Flatten. So that one network's file loads in a device's old runtime says
# nothing about the next one's: read the opset back from the file.
#
# Seen: asked for 17 and 13, a convolution 17 and 13; with a flatten and a linear layer 17 and 18; with a pool 18 and
#       18; no warning
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" torch==2.15.0 onnxscript==0.7.2 onnx==1.23.2 numpy==2.4.6
cd "$folder"
"$folder/env/bin/python" - <<'PY'
import logging
import warnings

import onnx
import torch
from torch import nn

logging.disable(logging.WARNING)
convolution = nn.Conv2d(3, 8, 3)
flat = nn.Sequential(convolution, nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10))
pooled = nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


def written(network, asked):
    """The opset of the file, and the number of warnings."""
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        torch.onnx.export(
            network.eval(), (torch.zeros(2, 3, 8, 8),), "m.onnx", opset_version=asked, verbose=False
        )
    (opset,) = onnx.load("m.onnx", load_external_data=False).opset_import
    return opset.version, len(shown)


for asked, expected in ((17, [17, 17, 18]), (13, [13, 18, 18])):
    found = [written(network, asked) for network in (convolution, flat, pooled)]
    print(f"asked for {asked}: convolution, with a flatten, with a pool: (opset, warnings) {found}")
    assert found == [(opset, 0) for opset in expected]
PY
