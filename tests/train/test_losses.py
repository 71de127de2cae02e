import pytest
import torch
from torch.nn import functional as F

from kdtool.train.losses import class_logits, distillation_loss, kd_loss


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
        loss = distillation_loss(student, teacher, labels, 4.0, weight)
        torch.testing.assert_close(loss, expected)


def test_merged_probabilities_are_the_sums_over_subclasses_and_stay_finite():
    wide = 1e3 * torch.randn(8, 1000, generator=torch.Generator().manual_seed(0)).double()
    merged = class_logits(wide, 10).softmax(-1)
    torch.testing.assert_close(merged, wide.softmax(-1).view(8, 10, 100).sum(-1))
    assert class_logits(wide, 1000) is wide
