#!/usr/bin/env bash
# The first optimizer that a program makes, and `import torchvision`, import PyTorch's compiler and sympy.
#
# torch 2.15.0, torchvision 0.29.2. Nothing is compiled and torch.compile is never called: `torch.optim.SGD(...)` alone
# imports torch._dynamo, torch._inductor and sympy, hundreds of modules, in about as much time as `import torch` itself.
# A process that only trains for a second pays it, and so does each worker process that makes an optimizer.
# `import torchvision`, if only for its transforms or its data sets, does the same through torchvision.ops.
#
# Seen: import torch: no torch._dynamo, no torch._inductor, no sympy
#       torch.optim.SGD: torch._dynamo, torch._inductor, sympy; more than 500 modules
#       import torchvision: torch._dynamo, torch._inductor, sympy
# On two cores: import torch 1.9 s, the optimizer 1.3 s more.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" torch==2.15.0 torchvision==0.29.2 numpy==2.4.6
"$folder/env/bin/python" - <<'PY'
import sys

import torch

HEAVY = {"torch._dynamo", "torch._inductor", "sympy"}
assert not HEAVY & sys.modules.keys(), "import torch loads the compiler now"
before = len(sys.modules)
torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
more = len(sys.modules) - before
print(f"torch.optim.SGD: {', '.join(sorted(HEAVY & sys.modules.keys()))}; {more} modules more")
assert HEAVY <= sys.modules.keys(), "an optimizer no longer loads the compiler"
assert more > 500
PY
"$folder/env/bin/python" - <<'PY'
import sys

import torch

assert "torch._dynamo" not in sys.modules
import torchvision  # noqa: E402, F401

found = {"torch._dynamo", "torch._inductor", "sympy"} & sys.modules.keys()
print(f"import torchvision: {', '.join(sorted(found))}")
assert len(found) == 3, "torchvision no longer loads the compiler"
PY
