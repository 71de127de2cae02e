#!/usr/bin/env bash
# torch.onnx.export stores, for each operator, the Python call stack with absolute paths and source lines of your program.
#
# torch 2.15.0, onnxscript 0.7.2, onnx 1.23.2, default options. Each node of the file has metadata entries, among them
# `pkg.torch.onnx.stack_trace`: file names of the exporting machine, such as a home folder with its user's name, and the
# lines of the network's source. It is in every file that is given away, and no option of torch.onnx.export
# leaves it out.
#
# Seen: a network of 5,130 parameters, whose weights take 20,520 bytes: the path and a source line are in the file of
#       27,451 bytes; without the metadata of its nodes it has 23,603
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" torch==2.15.0 onnxscript==0.7.2 onnx==1.23.2 numpy==2.4.6
mkdir "$folder/home-of-somebody"
cat > "$folder/home-of-somebody/network.py" <<'PY'
from torch import nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3)
        self.second = nn.Conv2d(16, 32, 3)
        self.last = nn.Linear(32, 10)

    def forward(self, images):
        secret_name_of_a_variable = self.first(images).relu()
        return self.last(self.second(secret_name_of_a_variable).relu().mean(dim=(2, 3)))
PY
cd "$folder"
PYTHONPATH="$folder/home-of-somebody" "$folder/env/bin/python" - <<'PY'
import logging
from pathlib import Path

import onnx
import torch
from network import Network

logging.disable(logging.WARNING)
network = Network().eval()
torch.onnx.export(
    network, (torch.zeros(1, 1, 28, 28),), "m.onnx", external_data=False, verbose=False
)
data = Path("m.onnx").read_bytes()
found = [text for text in (b"/home-of-somebody/network.py", b"secret_name_of_a_variable") if text in data]
model = onnx.load("m.onnx")
for node in model.graph.node:
    del node.metadata_props[:]
size = len(model.SerializeToString())
weights = 4 * sum(parameter.numel() for parameter in network.parameters())
print(f"in the file: {found}; {len(data):,} bytes, {size:,} without metadata of nodes, weights {weights:,}")
assert len(found) == 2
assert len(data) > 1.1 * size
PY
