import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from scipy.stats import t as student_t
from torch import nn

from kdtool.edge.explain.curves import area
from kdtool.train.evaluation.attribution import last_convolution, saliency
from kdtool.train.evaluation.faithfulness import agreement, curve_of, curves_of, mean_of
from kdtool.train.evaluation.saliency import extreme_rows


def test_the_saliency_of_a_linear_model_is_its_weight():
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 3 * 4, 3)).eval()
    images = torch.randint(0, 256, (5, 2, 3, 4), dtype=torch.uint8)
    chosen = model(images / 255).argmax(dim=1)
    weights = model[1].weight.detach()[chosen].abs().reshape(5, 2, 3, 4).amax(dim=1)
    expected = weights / weights.amax(dim=(1, 2), keepdim=True)
    np.testing.assert_allclose(saliency("gradient", model, images, 3), expected.numpy(), rtol=1e-5)


def test_each_image_has_its_own_map_and_no_gradient_is_left_behind():
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.Tanh(), nn.Linear(8, 3)).eval()
    images = torch.randint(0, 256, (6, 1, 3, 3), dtype=torch.uint8)
    together = saliency("gradient", model, images, 3)
    apart = np.concatenate([saliency("gradient", model, image[None], 3) for image in images])
    np.testing.assert_allclose(together, apart, rtol=1e-4, atol=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert together.min() >= 0
    np.testing.assert_allclose(together.max(axis=(1, 2)), 1)


def test_a_model_that_ignores_the_image_has_an_empty_map():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    nn.init.zeros_(model[1].weight)
    assert saliency("gradient", model, torch.zeros(1, 1, 2, 2, dtype=torch.uint8), 2).max() == 0


def test_the_saliency_with_subclasses_is_that_of_the_class():
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 6)).eval()
    images = torch.randint(0, 256, (4, 1, 3, 3), dtype=torch.uint8)
    logits = model(images / 255).view(4, 2, 3)
    chosen = logits.logsumexp(dim=2).argmax(dim=1)
    shares = logits[torch.arange(4), chosen].softmax(dim=1)  # of the class's gradient
    weights = model[1].weight.detach().view(2, 3, 9)[chosen]
    expected = (shares[..., None] * weights).sum(dim=1).abs().detach().reshape(4, 3, 3)
    expected /= expected.amax(dim=(1, 2), keepdim=True)
    found = saliency("gradient", model, images, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


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
    together = saliency("gradient", model.eval(), images, 4)
    assert sum(parts) == 40
    assert max(parts) == 20
    apart = np.concatenate([saliency("gradient", model, image[None], 4) for image in images[-3:]])
    np.testing.assert_allclose(together[-3:], apart, rtol=1e-4, atol=1e-6)


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 3), nn.Tanh(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(5 * 16, 3)).eval()


@pytest.mark.parametrize("method", ["gradient", "smoothgrad", "integrated-gradients", "grad-cam"])
def test_maps_are_of_the_image_alone_and_the_same_each_time(method):
    model = network()
    images = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    together = saliency(method, model, images, 3)
    assert together.shape == (6, 8, 8)
    assert together.min() >= 0
    assert together.max() == pytest.approx(1)
    apart = np.concatenate([saliency(method, model, image[None], 3) for image in images])
    np.testing.assert_allclose(together, apart, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(saliency(method, model, images, 3), together)


def test_integrated_gradients_of_a_linear_model_are_weight_times_input():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    images = torch.randint(1, 256, (4, 1, 4, 4), dtype=torch.uint8)
    chosen = model(images / 255).argmax(dim=1)
    expected = (model[1].weight.detach()[chosen].reshape(4, 4, 4) * (images[:, 0] / 255)).abs()
    expected /= expected.amax(dim=(1, 2), keepdim=True)
    found = saliency("integrated-gradients", model, images, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_integrated_gradients_add_up_to_the_change_of_the_logit():
    """Completeness, the axiom that defines them: sampled finely enough."""
    from captum.attr import IntegratedGradients

    model = network()
    inputs = torch.rand(3, 1, 8, 8)
    target = model(inputs).argmax(dim=1)
    parts = IntegratedGradients(model).attribute(inputs, target=target, n_steps=32)
    rows = torch.arange(3)
    change = model(inputs)[rows, target] - model(torch.zeros_like(inputs))[rows, target]
    torch.testing.assert_close(parts.sum(dim=(1, 2, 3)).float(), change, rtol=0.01, atol=0.01)


def test_smoothgrad_of_a_linear_model_is_its_gradient():
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3)).eval()
    images = torch.randint(0, 256, (4, 1, 4, 4), dtype=torch.uint8)
    plain, smooth = (saliency(method, model, images, 3) for method in ("gradient", "smoothgrad"))
    np.testing.assert_allclose(smooth, plain, rtol=1e-4, atol=1e-6)


def test_grad_cam_weighs_the_last_convolution_by_its_gradients():
    model = network()
    images = torch.randint(0, 256, (6, 1, 8, 8), dtype=torch.uint8)
    activations = model[:3](images / 255)
    with torch.enable_grad():
        held = activations.detach().requires_grad_()
        logits = model[3:](held)
        (gradients,) = torch.autograd.grad(logits.max(dim=1).values.sum(), held)
    coarse = (gradients.mean(dim=(2, 3), keepdim=True) * activations).sum(dim=1).relu()
    expected = nn.functional.interpolate(coarse[:, None], size=(8, 8), mode="bilinear")[:, 0]
    highest = expected.amax(dim=(1, 2), keepdim=True)
    assert (highest > 0).any()  # where no place speaks for the class, the map is empty
    expected = expected / highest.clamp_min(1e-30)
    found = saliency("grad-cam", model, images, 3)
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-3, atol=1e-4)


def test_grad_cam_needs_a_convolution():
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).eval()
    assert last_convolution(model) is None
    with pytest.raises(ValueError, match="needs a convolution"):
        saliency("grad-cam", model, torch.zeros(1, 1, 2, 2, dtype=torch.uint8), 2)


def test_a_faithful_map_deletes_fast_and_inserts_fast():
    """A model that looks at the first pixel only, and the maps that know and do not know it."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2)).eval()
    nn.init.zeros_(model[1].weight)
    nn.init.zeros_(model[1].bias)
    with torch.no_grad():
        model[1].weight[1, 0] = 20
    image = np.zeros((8, 8, 1), np.uint8)
    image[0, 0] = 255
    first, last = np.zeros((2, 8, 8), np.float32)
    first[0, 0], last[-1, -1], last[0, 0] = 1, 1, -1
    deletion, insertion, *_ = map(area, curves_of(model, image, first, 1, 2))
    worst_deletion, worst_insertion, *_ = map(area, curves_of(model, image, last, 1, 2))
    assert deletion < 0.62
    assert worst_insertion < 0.62
    assert insertion > 0.95
    assert worst_deletion > 0.95


def test_a_mean_has_the_interval_of_students_t():
    values = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    found = mean_of(values)
    low, high = student_t.interval(0.95, 4, loc=3, scale=values.std(ddof=1) / np.sqrt(5))
    assert (found.value, *found.ci95) == pytest.approx((3, low, high))
    assert mean_of(values[:4]).ci95 is None


def test_a_curve_has_a_mean_and_its_interval_at_each_step():
    values = np.random.default_rng(0).random((6, 17))
    found = curve_of(values)
    expected = [mean_of(values[:, step]) for step in range(17)]
    assert found.means == [one.value for one in expected]
    assert found.ci95 == [one.ci95 for one in expected]
    assert curve_of(values[:4]).ci95 is None
    # the area under the mean curve is the mean of the areas
    assert area(np.array(found.means)) == pytest.approx(np.mean([area(one) for one in values]))


def test_the_images_of_least_and_most_agreement_are_shown_once():
    wanted = np.array([7, 8, 1, 8, 3, 4, 5])  # 7 and 8 are shown in any case
    agreements = {"teacher": np.ones(7), "student": np.array([0, 0, 0.5, -1, 0.1, 0.9, 0.2])}
    rows = extreme_rows(wanted, agreements, 2, 4)
    assert rows == [
        (4, "least agreement"), (6, "least agreement"),
        (5, "most agreement"), (2, "most agreement"),
    ]  # fmt: skip
    assert extreme_rows(wanted, {"teacher": np.ones(7)}, 2, 4) == []
    assert len(extreme_rows(wanted[:5], agreements, 2, 4)) == 2  # of two that are left
