#!/usr/bin/env bash
# A network that was counted by thop cannot be loaded again: its state_dict has 106 entries more.
#
# thop 0.1.1.post2209072238, torch 2.15.0, torchvision 0.29.2. thop.profile registers two buffers, total_ops and total_params, on
# each module and removes them from the counted layers only; those of the containers stay. Weights that are saved
# afterwards hold them, and load_state_dict of a fresh network refuses the file ("Unexpected key(s)"). Optimizers and exports do
# not see them. Count a copy, or before the network that is trained is made.
#
# Seen, MobileNetV2: 106 entries more, all of float64
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" torch==2.15.0 torchvision==0.29.2 numpy==2.4.6 \
    thop==0.1.1.post2209072238 "setuptools<81"
"$folder/env/bin/python" - <<'PY'
import thop
import torch
import torchvision

network = torchvision.models.mobilenet_v2()
before = set(network.state_dict())
thop.profile(network, (torch.zeros(1, 3, 32, 32),), verbose=False)
more = {name: value for name, value in network.state_dict().items() if name not in before}
print(f"{len(more)} entries more: {', '.join(sorted(more)[:3])} ...")
assert len(more) == 106, "thop leaves another number behind"
assert all(value.dtype == torch.float64 for value in more.values())
try:
    torchvision.models.mobilenet_v2().load_state_dict(network.state_dict())
except RuntimeError as error:
    print(str(error)[:120])
else:
    raise SystemExit("the weights can be loaded now")
PY
