import math

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from torch.nn import functional as F

from kdtool.train.fit.losses import (
    auxiliary_loss,
    balanced_weights,
    distillation_loss,
    kd_loss,
    label_loss,
    subclass_teacher_loss,
)
from kdtool.train.models.predict import class_logits


def logits(seed=0, classes=5):
    return torch.randn(2, 8, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [1.0, 4.0, 20.0])
def test_kd_loss_matches_its_definition(temperature):
    student, teacher = logits().double()
    p, q = (teacher / temperature).softmax(-1), (student / temperature).softmax(-1)
    expected = temperature**2 * (p * (p / q).log()).sum(-1).mean()
    torch.testing.assert_close(kd_loss(student, teacher, temperature), expected)


def test_kd_loss_is_zero_for_equal_logits_and_for_shifted_ones():
    student, _ = logits()
    zero = torch.tensor(0.0)
    torch.testing.assert_close(kd_loss(student, student, 3.0), zero, atol=1e-6, rtol=0)
    torch.testing.assert_close(kd_loss(student, student + 7, 3.0), zero, atol=1e-5, rtol=0)


def test_kd_gradient_at_high_temperature_is_that_of_matching_logits():
    # Hinton et al. 2015, equation 4: (z - v) / C for centred logits; T^2 keeps its size
    student, teacher = (each.double() - each.double().mean(-1, keepdim=True) for each in logits())
    student = student.requires_grad_()
    (gradient,) = torch.autograd.grad(kd_loss(student, teacher, 1e4), student)
    batch, classes = student.shape
    expected = (student.detach() - teacher) / classes / batch
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-6)


def test_kd_gradient_is_that_of_finite_differences():
    student, teacher = (each.double() for each in logits())
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: kd_loss(s, teacher, 4.0), student)


def test_the_teacher_gets_no_gradient():
    student, teacher = (each.requires_grad_() for each in logits().unbind())
    kd_loss(student, teacher, 2.0).backward()
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize("scale", [1e3, 1e4])
def test_large_logits_stay_finite(scale):
    student, teacher = (each * scale for each in logits())
    assert kd_loss(student, teacher, 1.0).isfinite()


def test_soft_weight_runs_from_the_labels_to_the_teacher():
    student, teacher = logits()
    labels = torch.arange(8) % 5
    hard, soft = F.cross_entropy(student, labels), kd_loss(student, teacher, 4.0)
    for weight, expected in ((0.0, hard), (1.0, soft), (0.9, 0.9 * soft + 0.1 * hard)):
        loss = distillation_loss(student, teacher, labels, 5, 4.0, weight)
        torch.testing.assert_close(loss, expected)


def test_merged_probabilities_are_the_sums_over_subclasses_and_stay_finite():
    wide = 1e3 * torch.randn(8, 1000, generator=torch.Generator().manual_seed(0)).double()
    merged = class_logits(wide, 10).softmax(-1)
    torch.testing.assert_close(merged, wide.softmax(-1).view(8, 10, 100).sum(-1))
    assert class_logits(wide, 1000) is wide


def test_with_subclasses_the_soft_targets_are_all_and_the_labels_are_the_classes():
    student, teacher = logits(classes=15).double()
    labels = torch.arange(8) % 3
    class_probs = student.softmax(-1).view(8, 3, 5).sum(-1)
    hard = -class_probs[torch.arange(8), labels].log().mean()
    soft = kd_loss(student, teacher, 2.0)
    loss = distillation_loss(student, teacher, labels, 3, 2.0, 0.25)
    torch.testing.assert_close(loss, 0.25 * soft + 0.75 * hard)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 4.0])
def test_auxiliary_loss_matches_its_definition(temperature):
    wide = logits(classes=12)[0].double()
    rows = []
    for row in wide:
        centred = row - row.mean()
        rows.append(centred / (row.var(unbiased=False) + 1e-9).sqrt() / (temperature * 12) ** 0.5)
    products = torch.stack([torch.stack([one @ other for other in rows]) for one in rows])
    expected = products.exp().sum(1).log().mean() - 1 / temperature - math.log(8)
    torch.testing.assert_close(auxiliary_loss(wide, temperature), expected)


def test_auxiliary_loss_is_zero_for_equal_images_whatever_their_size_and_offset():
    row = torch.randn(1, 10, generator=torch.Generator().manual_seed(0)).double()
    factors = torch.linspace(1, 9, 16, dtype=torch.float64)[:, None]
    zero = torch.tensor(0.0, dtype=torch.float64)
    torch.testing.assert_close(auxiliary_loss(row * factors + factors, 1.0), zero)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_auxiliary_loss_is_lowest_on_a_simplex(temperature):
    # One-hot logits, centred, are the corners of a regular simplex.
    num_images = 10
    corners = torch.eye(num_images, dtype=torch.float64)
    far = math.exp(-1 / (temperature * (num_images - 1)))
    lowest = math.log(math.exp(1 / temperature) + (num_images - 1) * far)
    lowest -= 1 / temperature + math.log(num_images)
    loss = auxiliary_loss(corners, temperature).item()
    assert loss == pytest.approx(lowest, abs=1e-6)
    generator = torch.Generator().manual_seed(0)
    others = torch.randn(50, num_images, 10, generator=generator).double()
    assert min(auxiliary_loss(one, temperature).item() for one in others) > lowest


def test_auxiliary_loss_of_random_logits_is_that_of_the_authors_scale():
    """Without 1 / sqrt(C * S) it would be at -log 256 = -5.55, without any gradient."""
    random = torch.randn(256, 50, generator=torch.Generator().manual_seed(0))
    assert auxiliary_loss(random, 1.0).item() == pytest.approx(-0.98, abs=0.005)


@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_auxiliary_loss_of_1000_logits_is_finite_and_so_is_its_gradient(scale):
    # exp(1000 * mean square) overflows float32 from 89 logits on
    wide = scale * torch.randn(64, 1000, generator=torch.Generator().manual_seed(0))
    wide.requires_grad_()
    loss = auxiliary_loss(wide, 1.0)
    (gradient,) = torch.autograd.grad(loss, wide)
    assert loss.isfinite()
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_auxiliary_loss_of_constant_logits_is_finite():
    flat = torch.zeros(4, 6, requires_grad=True)
    loss = auxiliary_loss(flat, 1.0)
    (gradient,) = torch.autograd.grad(loss, flat)
    assert loss.item() == pytest.approx(-1.0)  # no image is separated from any other
    assert gradient.isfinite().all()


def test_gradients_with_subclasses_are_those_of_finite_differences():
    student, teacher = logits(classes=6).double()
    labels = torch.arange(8) % 2
    student.requires_grad_()
    assert torch.autograd.gradcheck(lambda s: auxiliary_loss(s, 0.7), student)
    assert torch.autograd.gradcheck(lambda s: class_logits(s, 2), student)
    assert torch.autograd.gradcheck(
        lambda s: subclass_teacher_loss(s, labels, 2, 0.5, 1.0), student
    )
    assert torch.autograd.gradcheck(
        lambda s: distillation_loss(s, teacher, labels, 2, 4.0, 0.5), student
    )


def test_the_auxiliary_weight_counts_on_top_of_the_labels():
    wide = logits(classes=6)[0]
    labels = torch.arange(8) % 2
    hard, auxiliary = F.cross_entropy(class_logits(wide, 2), labels), auxiliary_loss(wide, 1.0)
    for weight in (0.0, 0.1, 3.0):
        loss = subclass_teacher_loss(wide, labels, 2, weight, 1.0)
        torch.testing.assert_close(loss, hard + weight * auxiliary)


def test_class_weights_are_those_of_pytorch_for_labels_and_for_their_one_hot():
    logits, labels = torch.randn(40, 3), torch.randint(0, 3, (40,))
    weights = balanced_weights(labels, 3)
    expected = F.cross_entropy(logits, labels, weight=weights)
    torch.testing.assert_close(label_loss(logits, labels, weights), expected)
    one_hot = F.one_hot(labels, 3).float()
    torch.testing.assert_close(label_loss(logits, one_hot, weights), expected)
    torch.testing.assert_close(label_loss(logits, one_hot), F.cross_entropy(logits, labels))


def test_balanced_weights_are_those_of_scikit_learn():
    labels = torch.tensor([0] * 7 + [1] * 2 + [2] * 3)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels.numpy())
    assert balanced_weights(labels, 3).tolist() == pytest.approx(expected.tolist())
    assert balanced_weights(torch.tensor([0, 0, 2]), 3).tolist() == [0.5, 0.0, 1.0]


def test_class_weights_reach_the_labels_part_of_every_loss():
    logits, teacher, labels = torch.randn(8, 6), torch.randn(8, 6), torch.tensor([0, 1] * 4)
    weights = torch.tensor([1.0, 5.0])
    weighted = label_loss(class_logits(logits, 2), labels, weights)
    found = distillation_loss(logits, teacher, labels, 2, 3.0, 0.25, weights)
    torch.testing.assert_close(found, 0.25 * kd_loss(logits, teacher, 3.0) + 0.75 * weighted)
    found = subclass_teacher_loss(logits, labels, 2, 0.5, 1.0, weights)
    torch.testing.assert_close(found, weighted + 0.5 * auxiliary_loss(logits, 1.0))
