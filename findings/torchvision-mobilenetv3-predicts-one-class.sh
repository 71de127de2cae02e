#!/usr/bin/env bash
# A MobileNetV3 of torchvision that was trained for 300 steps predicts a single class in eval mode.
#
# torch 2.15.0, torchvision 0.29.2, scikit-learn's digits. In train mode the network recognizes nearly all of its
# training images; in eval mode the same weights give one class for every image, and the accuracy is that of chance.
# Its BatchNorm layers have momentum 0.01 instead of PyTorch's default 0.1: after 300 steps the running statistics
# still hold 5 % of their initial values and describe weights of long ago, and 34 layers multiply the error.
# One pass over the training images that recomputes the statistics, and changes no weight, repairs it.
# Nothing in the call or in the training loss hints at it.
#
# Seen: BatchNorm momentum [0.01]
#       train mode 0.991, eval mode 0.101 with 1 classes predicted
#       the same weights after update_bn: 0.990
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet uv==0.13.9
"$folder/env/bin/uv" pip install --quiet --python "$folder/env/bin/python" \
    torch==2.15.0 torchvision==0.29.2 scikit-learn==1.9.1 numpy==2.4.6
"$folder/env/bin/python" - <<'PY'
import torch
import torchvision
from sklearn.datasets import load_digits
from torch import nn
from torch.optim.swa_utils import update_bn

torch.manual_seed(0)
digits = load_digits()
images = torch.tensor(digits.images[:800] / 16, dtype=torch.float32)[:, None]
images = nn.functional.interpolate(images, 32).expand(-1, 3, -1, -1).contiguous()
labels = torch.tensor(digits.target[:800])
network = torchvision.models.mobilenet_v3_small(num_classes=10)
momenta = sorted({layer.momentum for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)})
optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
for step in range(300):
    batch = torch.randint(0, 800, (32,))
    loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


@torch.no_grad()
def predicted():
    return torch.cat([network(part) for part in images.split(100)]).argmax(1)


def accuracy(classes):
    return (classes == labels).float().mean().item()


weights = {name: value.clone() for name, value in network.named_parameters()}
state = {name: value.clone() for name, value in network.state_dict().items()}
in_train = accuracy(predicted())
network.load_state_dict(state)  # the pass in train mode moved the statistics
network.eval()
classes = predicted()
in_eval, num_classes = accuracy(classes), len(classes.unique())
network.train()
update_bn(images.split(100), network)
network.eval()
repaired = accuracy(predicted())
print(f"torchvision {torchvision.__version__}: BatchNorm momentum {momenta}")
print(f"train mode {in_train:.3f}, eval mode {in_eval:.3f} with {num_classes} classes predicted")
print(f"the same weights after update_bn: {repaired:.3f}")
assert all(torch.equal(value, weights[name]) for name, value in network.named_parameters())
assert momenta == [0.01]
assert in_train > 0.9
assert in_eval < 0.3
assert repaired > 0.9
PY
