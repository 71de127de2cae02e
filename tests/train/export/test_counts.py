"""Files of small networks count what PyTorch's own counter does.

tests/benchmarks/counts.py does the same with published networks.
"""

import runpy
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import SwinTransformer

from kdtool.edge.count.graph import count_model

PATH = Path(__file__).parents[2] / "benchmarks" / "counts.py"
BENCHMARK = runpy.run_path(str(PATH))
SHAPE = (3, 32, 32)


class Standardized(nn.Conv2d):
    """A convolution with a standardized weight, as in Big Transfer (BiT)."""

    def forward(self, images):
        flat = self.weight.flatten(1)[None]
        weight = F.batch_norm(flat, None, None, training=True).view_as(self.weight)
        return F.conv2d(images, weight, self.bias, padding=1)


NETWORKS = {
    "window attention": lambda: SwinTransformer([4, 4], 12, [2], [3], [4, 4], num_classes=5),
    "convolutions": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.Hardswish(),
        nn.Conv2d(8, 12, 3, bias=False),
        nn.BatchNorm2d(12),
        nn.AdaptiveAvgPool2d(4),
        nn.GroupNorm(3, 12),
        nn.Flatten(),
        nn.Linear(12 * 16, 5),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_files_count_as_pytorch_does(name):
    torch.manual_seed(0)
    model = BENCHMARK["randomize"](NETWORKS[name]().eval())
    image = torch.rand(1, *SHAPE)
    expected = (BENCHMARK["params_of"](model, image), BENCHMARK["macs_of"](model, image), ())
    files = BENCHMARK["files_of"](model, SHAPE, 5, image)
    for form in ("fp32", "int8"):
        made, file = next(files)
        cost = count_model(file)
        assert (made, cost.num_params, cost.num_macs, cost.uncounted_ops) == (form, *expected)


def test_a_standardized_weight_counts_once():
    model = BENCHMARK["randomize"](
        nn.Sequential(Standardized(3, 8, 3), nn.Flatten(), nn.Linear(8 * 32 * 32, 5)).eval()
    )
    image = torch.rand(1, *SHAPE)
    cost = count_model(BENCHMARK["written"](model, image, is_open=True))
    num_params = sum(parameter.numel() for parameter in model.parameters())
    assert (cost.num_params, cost.num_bn_statistics) == (num_params, 0)
    assert cost.num_macs == BENCHMARK["macs_of"](model, image)
