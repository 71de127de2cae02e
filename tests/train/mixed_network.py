"""What small classifiers are made of, in one network."""

import torch
from torch import nn
from torch.nn import functional as F

SHAPE = (3, 16, 16)


class Mixed(nn.Module):
    """What small classifiers are made of, in one network."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16))
        self.depth = nn.Sequential(
            nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.Hardswish()
        )
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.wide = nn.Sequential(nn.Conv2d(16, 32, 1), nn.SiLU(), nn.MaxPool2d(3, 2, 1))
        self.norm, self.hidden, self.head = nn.BatchNorm2d(32), nn.Linear(32, 24), nn.Linear(24, 5)

    def forward(self, images):
        x = F.relu6(self.stem(images))
        y = self.depth(x)
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(y.mean((2, 3), keepdim=True)))))
        x = self.wide(x + y * gate)
        one, other = x.chunk(2, dim=1)  # and a channel shuffle
        x = torch.cat([F.relu(self.norm(x))[:, :16], one], 1)
        x = x.unflatten(1, (2, 16)).transpose(1, 2).flatten(1, 2) + torch.cat([other, other], 1)
        return self.head(F.gelu(self.hidden(F.avg_pool2d(x, 4).flatten(1))))


def with_statistics(network):
    """As after training: running statistics that are not those of a new network."""
    draws = torch.Generator().manual_seed(0)
    for name, buffer in network.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=draws))
    return network.eval()
