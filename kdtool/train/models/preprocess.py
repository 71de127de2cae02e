"""Preprocessing inside the model and its exported file: enlarge and normalize images."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Normalize(nn.Module):
    """Subtract the mean of each channel and divide by its standard deviation."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return images `(B, C, H, W)` normalized.

        Args:
            images: `(B, C, H, W)` in [0, 1].
        """
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        """Return mean and standard deviation."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


class Enlarge(nn.Module):
    """Scale images up, bilinear."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = height, width

    def forward(self, images: Tensor) -> Tensor:
        """Return `(B, C, height, width)`."""
        return F.interpolate(images, size=self.size, mode="bilinear", align_corners=False)

    def extra_repr(self) -> str:
        """Return the size."""
        return str(self.size)


class Prepared(nn.Module):
    """A network behind its preprocessing."""

    def __init__(self, prepare: nn.Module, network: nn.Module) -> None:
        super().__init__()
        self.prepare, self.network = prepare, network

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of images `(B, C, H, W)` in [0, 1]."""
        logits: Tensor = self.network(self.prepare(images))
        return logits


def network_of(model: nn.Module) -> nn.Module:
    """Return the network of a model, without its preprocessing."""
    return model.network if isinstance(model, Prepared) else model
