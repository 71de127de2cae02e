"""How strongly each pixel of an image changes a model's answer, by its gradients."""

from collections.abc import Callable

import numpy as np
import torch
from captum.attr import (  # type: ignore[import-untyped]
    IntegratedGradients,
    LayerAttribution,
    LayerGradCam,
)
from numpy.typing import NDArray
from torch import Tensor, nn

from kdtool.recipe.schema import Attribution
from kdtool.train.models.device import exact_arithmetic
from kdtool.train.models.networks import as_input
from kdtool.train.models.predict import class_logits, images_within

# ResNet50 holds 0.1 GB of gradients an image of 224 x 224.
MOST_AT_ONCE, PIXELS_AT_ONCE = 128, 16 * 224**2
NOISY, NOISE = 16, 0.15  # images of SmoothGrad, and their noise as a share of the range
STEPS = 32  # of integrated gradients


class Classes(nn.Module):
    """A model from pixels in [0, 1] to the logits of the classes."""

    def __init__(self, model: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.model, self.num_classes = model, num_classes

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits `(B, num_classes)` of inputs `(B, C, H, W)`."""
        return class_logits(self.model(inputs), self.num_classes)


def saliency(
    method: Attribution, model: nn.Module, images: Tensor, num_classes: int
) -> NDArray[np.float32]:
    """Return how strongly each pixel changes the logit of the class that `model` predicts.

    Args:
        method: Of the recipe.
        model: In eval mode; its parameters are frozen, but for Grad-CAM.
        images: `(B, C, H, W)` uint8.
        num_classes: Subclasses, if the model has any, are merged into these.

    Returns:
        `(B, H, W)` in [0, 1], divided by the largest of its image.

    Raises:
        ValueError: Grad-CAM of a model without a convolution; see `last_convolution`.
    """
    of_batch: dict[Attribution, Callable[[Classes, Tensor], Tensor]] = {
        "gradient": gradient,
        "smoothgrad": smoothgrad,
        "integrated-gradients": integrated_gradients,
        "grad-cam": grad_cam,
    }
    at_once = min(MOST_AT_ONCE, images_within(PIXELS_AT_ONCE, model, images.shape[1:]))
    wrapped = Classes(model, num_classes).eval()
    if method != "grad-cam":  # which needs the gradient of a layer within
        model.requires_grad_(False)
    with exact_arithmetic():
        parts = [of_batch[method](wrapped, part) for part in torch.split(images, at_once)]
    heatmaps = torch.cat(parts)
    heatmaps /= heatmaps.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return np.asarray(heatmaps.cpu().numpy(), dtype=np.float32)


def gradient(model: Classes, images: Tensor) -> Tensor:
    """Return the largest absolute gradient over the channels, `(B, H, W)`.

    Source: Simonyan et al. 2014, arXiv:1312.6034, section 3.1.
    """
    return _gradients(model, as_input(images)).abs().amax(dim=1)


def smoothgrad(model: Classes, images: Tensor) -> Tensor:
    """Return the same of the mean gradient of noisy copies, whose noise is always the same.

    Source: Smilkov et al. 2017, arXiv:1706.03825; of their range of 10 to 20 % noise the middle.
    """
    inputs = as_input(images)
    with torch.no_grad():
        target = model(inputs).argmax(dim=1)
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros_like(inputs)
    for _ in range(NOISY):
        noise = NOISE * torch.randn(inputs.shape[1:], generator=generator).to(inputs.device)
        total += _gradients(model, inputs + noise, target)
    return (total / NOISY).abs().amax(dim=1)


def integrated_gradients(model: Classes, images: Tensor) -> Tensor:
    """Return the sum over the channels of |gradients along the way from black x the way|.

    Source: Sundararajan et al. 2017, arXiv:1703.01365, by Captum.
    """
    inputs = as_input(images)
    with torch.no_grad():
        target = model(inputs).argmax(dim=1)
    found: Tensor = IntegratedGradients(model).attribute(
        inputs, target=target, n_steps=STEPS, internal_batch_size=len(inputs)
    )
    return found.detach().to(torch.float32).abs().sum(dim=1)


def grad_cam(model: Classes, images: Tensor) -> Tensor:
    """Return the map of the last convolution, enlarged to the image.

    Source: Selvaraju et al. 2017, arXiv:1610.02391, by Captum.
    """
    layer = last_convolution(model)
    if layer is None:
        raise ValueError("grad-cam needs a convolution, and the model has none")
    inputs = as_input(images)
    with torch.no_grad():
        target = model(inputs).argmax(dim=1)
    found = LayerGradCam(model, layer).attribute(inputs, target=target, relu_attributions=True)
    scaled: Tensor = LayerAttribution.interpolate(found, tuple(inputs.shape[2:]), "bilinear")
    return scaled.detach().squeeze(1)


def last_convolution(model: nn.Module) -> nn.Module | None:
    """Return the last convolution of a model, by the order of its modules; None: it has none."""
    found = [one for one in model.modules() if isinstance(one, nn.Conv2d)]
    return found[-1] if found else None


def _gradients(model: Classes, inputs: Tensor, target: Tensor | None = None) -> Tensor:
    """Return the gradient of the target's logit, of the predicted class without a target."""
    inputs = inputs.detach().requires_grad_()
    with torch.enable_grad():
        # The logits of an image depend only on this image, so one backward pass serves the batch.
        logits = model(inputs)
        chosen = logits.max(dim=1).values
        if target is not None:
            chosen = logits.gather(1, target[:, None])
        (gradients,) = torch.autograd.grad(chosen.sum(), inputs)
    return gradients
