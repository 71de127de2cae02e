import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from kdtool.train.evaluation.saliency import agreement, gradient_saliency


def test_the_saliency_of_a_linear_model_is_its_weight():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 4, 3)).eval()
    images = torch.randint(0, 256, (5, 2, 3, 4), dtype=torch.uint8)
    chosen = model(images / 255).argmax(dim=1)
    weights = model[1].weight.detach()[chosen].abs().reshape(5, 2, 3, 4).amax(dim=1)
    expected = weights / weights.amax(dim=(1, 2), keepdim=True)
    np.testing.assert_allclose(gradient_saliency(model, images, 3), expected.numpy(), rtol=1e-5)


def test_each_image_has_its_own_map_and_no_gradient_is_left_behind():
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    images = torch.randint(0, 256, (6, 1, 3, 3), dtype=torch.uint8)
    together = gradient_saliency(model, images, 3)
    apart = np.concatenate([gradient_saliency(model, image[None], 3) for image in images])
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert together.min() >= 0
    np.testing.assert_allclose(together.max(axis=(1, 2)), 1)


def test_a_model_that_ignores_the_image_has_an_empty_map():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    nn.init.zeros_(model[1].weight)
    assert gradient_saliency(model, torch.zeros(1, 1, 2, 2, dtype=torch.uint8), 2).max() == 0


def test_the_saliency_with_subclasses_is_that_of_the_class():
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 6)).eval()
    images = torch.randint(0, 256, (4, 1, 3, 3), dtype=torch.uint8)
    logits = model(images / 255).view(4, 2, 3)
    chosen = logits.logsumexp(dim=2).argmax(dim=1)
    shares = logits[torch.arange(4), chosen].softmax(dim=1)  # of the class's gradient
    weights = model[1].weight.detach().view(2, 3, 9)[chosen]
    expected = (shares[..., None] * weights).sum(dim=1).abs().detach().reshape(4, 3, 3)
    expected /= expected.amax(dim=(1, 2), keepdim=True)
    np.testing.assert_allclose(gradient_saliency(model, images, 2), expected, rtol=1e-5)


def test_agreement_is_spearmans_rank_correlation():
    rng = np.random.default_rng(0)
    # rounded, so that there are ties
    first, second = (rng.random((4, 5, 6)).round(1).astype(np.float32) for _ in "ab")
    expected = [
        spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(first, second, strict=True)
    ]
    np.testing.assert_allclose(agreement(first, second), expected)
    np.testing.assert_allclose(agreement(first, first), 1)
    np.testing.assert_allclose(agreement(first, -first), -1)
    assert agreement(first, np.zeros_like(first)) == pytest.approx(0)


def test_many_large_images_are_taken_in_parts():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.randint(0, 256, (40, 3, 200, 200), dtype=torch.uint8)
    parts = []
    model.register_forward_hook(lambda _model, given, _logits: parts.append(len(given[0])))
    together = gradient_saliency(model.eval(), images, 4)
    assert sum(parts) == 40
    assert max(parts) == 20
    apart = np.concatenate([gradient_saliency(model, image[None], 4) for image in images[-3:]])
    np.testing.assert_allclose(together[-3:], apart, rtol=1e-4, atol=1e-6)
