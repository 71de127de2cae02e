#!/usr/bin/env bash
# torch.onnx.export reads and parses the Python source of 497 of its operators again in every call.
#
# torch 2.15.0, onnxscript 0.7.2. Before a model is exported, the exporter builds a table of all operators that it
# knows: for 497 of them, onnxscript finds the source (inspect.getsource), parses it and translates it. The table
# depends on nothing but the opset and is only read, but it is thrown away and built anew for the next model, also in
# the same process and for the same model. Exporting one ReLU pays it in full: for small networks it is half of the
# time of each export after the first.
#
# Seen: first export: 548 functions read (with those that imports read); second: 497; third: 497
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" torch==2.15.0 onnxscript==0.7.2 numpy==2.4.6
"$folder/env/bin/python" - <<'PY'
import inspect
import logging
import time
import warnings

import torch

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
original, calls, seconds = inspect.getsource, [], []


def counted(thing):
    calls.append(thing)
    return original(thing)


inspect.getsource = counted
model, example = torch.nn.Sequential(torch.nn.ReLU()).eval(), (torch.zeros(1, 2),)
found = []
for name in ("first", "second", "third"):
    calls.clear()
    began = time.perf_counter()
    torch.onnx.export(model, example, dynamo=True, verbose=False)
    found.append(len(calls))
    print(f"{name} export: {len(calls)} functions read, {time.perf_counter() - began:.1f} s")
assert found[1] > 400, "the exporter no longer reads the source of all operators in each call"
assert found[2] == found[1]
PY
