#!/usr/bin/env bash
# PyTorch's own FLOP counter leaves out a third of a vision transformer, but only in eval mode.
#
# torch 2.15.0, torchvision 0.29.2. In eval mode without gradients nn.MultiheadAttention runs as one fused operator, for which
# torch.utils.flop_counter has no formula: its projections and products count as 0, and nothing says so. The same
# network in train mode, or with torch.backends.mha.set_fastpath_enabled(False), gets the whole number. A student that is
# chosen by its FLOPs so looks a third cheaper than it is, in the very mode in which it ships.
#
# Seen, ViT-B/16 at 224 x 224: 22.5 GFLOP (multiply-adds twice) in eval mode, 35.1 without the fused operator: 0.64. PyTorch's
#       build for CPUs only says 33.7: it does not count the two products of attention either way.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" torch==2.15.0 torchvision==0.29.2 numpy==2.4.6
"$folder/env/bin/python" - <<'PY'
import torch
import torchvision
from torch.utils.flop_counter import FlopCounterMode

network, image = torchvision.models.vit_b_16().eval(), torch.zeros(1, 3, 224, 224)


def count():
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return counter.get_total_flops()


fused = count()
torch.backends.mha.set_fastpath_enabled(False)
whole = count()
torch.backends.mha.set_fastpath_enabled(True)
# 12 layers of 197 tokens: projections to q, k, v and back, and two products of 197 x 197 x 768
projections, products = 2 * 12 * 197 * 768 * 4 * 768, 2 * 12 * 2 * 197 * 197 * 768
print(f"fused {fused:,}, whole {whole:,}, ratio {fused / whole:.2f}; by hand {projections:,} and {products:,}")
assert whole - fused in {projections, projections + products}, "the counter sees attention now"
network.train()
assert count() == whole
PY
