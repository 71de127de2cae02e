"""Saliency: which pixels the answer of a model depends on, and how far two models agree."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from kdtool.train.losses import class_logits
from kdtool.train.models import as_input
from kdtool.train.predict import images_within

# ResNet50 holds 0.1 GB of gradients an image of 224 x 224.
MOST_AT_ONCE, PIXELS_AT_ONCE = 128, 16 * 224**2


def gradient_saliency(model: nn.Module, images: Tensor, num_classes: int) -> NDArray[np.float32]:
    """Return how much each pixel moves the logit of the class that `model` predicts.

    Args:
        model: In eval mode; its parameters are frozen.
        images: `(B, C, H, W)` uint8.
        num_classes: Subclasses, if the model has any, are merged into these.

    Returns:
        `(B, H, W)` in [0, 1]: the largest absolute gradient over the channels, divided by the
        largest of its image.

    Source: Simonyan et al. 2014, arXiv:1312.6034, section 3.1.
    """
    at_once = min(MOST_AT_ONCE, images_within(PIXELS_AT_ONCE, model, images))
    model.requires_grad_(False)
    heatmaps = torch.cat(
        [_gradients(model, part, num_classes) for part in torch.split(images, at_once)]
    )
    heatmaps /= heatmaps.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return np.asarray(heatmaps.cpu().numpy(), dtype=np.float32)


def _gradients(model: nn.Module, images: Tensor, num_classes: int) -> Tensor:
    inputs = as_input(images).requires_grad_()
    with torch.enable_grad():
        # An image's logits depend on that image alone, so one backward pass serves the batch.
        score = class_logits(model(inputs), num_classes).max(dim=1).values.sum()
        (gradients,) = torch.autograd.grad(score, inputs)
    largest: Tensor = gradients.abs().amax(dim=1)  # (B, H, W)
    return largest


def agreement(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of two sets of heatmaps, image by image.

    Args:
        first: `(B, H, W)`.
        second: `(B, H, W)`.

    Returns:
        `(B,)` in [-1, 1]; 0 where a heatmap is the same everywhere.

    Source: Adebayo et al. 2018, arXiv:1810.03292, section 3, for comparing maps by rank.
    """
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    product = (centred[0] * centred[1]).sum(axis=1)
    norm = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    correlation = np.divide(product, norm, out=np.zeros_like(product), where=norm > 0)
    return np.asarray(correlation, dtype=np.float64)
