"""The losses: pure functions of logits."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from kdtool.train.models.predict import class_logits


def label_loss(logits: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> Tensor:
    """Cross-entropy with the labels.

    Args:
        logits: `(B, C)`.
        targets: `(B,)` int64 in [0, C), or `(B, C)` probabilities that sum to 1.
        class_weights: `(C,)`; the mean over the batch is weighted by those of its targets, as in
            `torch.nn.functional.cross_entropy`. None: all alike.

    Returns:
        Scalar, in nats.
    """
    if class_weights is None or targets.ndim == 1:
        return F.cross_entropy(logits, targets, class_weights)
    weights = targets * class_weights
    return -(weights * F.log_softmax(logits, dim=-1)).sum() / weights.sum()


def balanced_weights(labels: Tensor, num_classes: int) -> Tensor:
    """Return class weights `(C,)` that make all classes count alike; 0 for a class without images.

    Args:
        labels: `(N,)` int64, in [0, C).
        num_classes: C.

    Source: N / (C * images of the class), scikit-learn's class_weight="balanced".
    """
    counts = torch.bincount(labels, minlength=num_classes)
    weights = len(labels) / (num_classes * counts.clamp(min=1))
    return torch.where(counts > 0, weights, 0.0)


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """KL divergence from teacher to student soft targets, times temperature squared.

    The factor keeps gradients of one size at every temperature, so `soft_weight` carries over.

    Args:
        student_logits: `(B, C)`.
        teacher_logits: `(B, C)`; receives no gradient.
        temperature: Divides both logits.

    Returns:
        Scalar, in nats, mean over the batch.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 2.
    """
    student_log_probs = F.log_softmax(student_logits / temperature, dim=-1)
    teacher_log_probs = F.log_softmax(teacher_logits.detach() / temperature, dim=-1)
    # "batchmean" is the mean over B; "mean" would also divide by C.
    kl = F.kl_div(student_log_probs, teacher_log_probs, reduction="batchmean", log_target=True)
    return kl * temperature**2


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    num_classes: int,
    temperature: float,
    soft_weight: float,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Weighted sum of the losses of soft targets and labels.

    The soft targets are those of all C * S subclasses, the labels those of the C classes; S = 1 is
    knowledge distillation.

    Args:
        student_logits: `(B, C * S)`.
        teacher_logits: `(B, C * S)`; receives no gradient.
        targets: As of `label_loss`.
        num_classes: C.
        temperature: Of `kd_loss`.
        soft_weight: Weight of `kd_loss` in [0, 1]; the rest goes to `label_loss`.
        class_weights: As of `label_loss`.

    Returns:
        Scalar, in nats, mean over the batch.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 2; with subclasses Müller et al. 2020,
    arXiv:2002.03936, in the form of google-research/subclass_distillation.
    """
    hard = label_loss(class_logits(student_logits, num_classes), targets, class_weights)
    soft = kd_loss(student_logits, teacher_logits, temperature)
    return soft_weight * soft + (1 - soft_weight) * hard


def subclass_teacher_loss(
    logits: Tensor,
    targets: Tensor,
    num_classes: int,
    weight: float,
    temperature: float,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Loss of a subclass teacher: the labels' loss, and `auxiliary_loss` to separate images.

    Args:
        logits: `(B, C * S)`.
        targets: As of `label_loss`.
        num_classes: C.
        weight: Of the auxiliary loss.
        temperature: Of the auxiliary loss.
        class_weights: As of `label_loss`.

    Returns:
        Scalar, in nats, mean over the batch.

    Source: as `auxiliary_loss`.
    """
    hard = label_loss(class_logits(logits, num_classes), targets, class_weights)
    return hard + weight * auxiliary_loss(logits, temperature)


def auxiliary_loss(logits: Tensor, temperature: float) -> Tensor:
    """Push the logits of different images of a batch apart, so that all subclasses are used.

    It is the loss of identifying each image among those of the batch by its normalized logits.

    Args:
        logits: `(B, C * S)`, B of at least 2.
        temperature: T; the products of normalized logits lie between -1 / T and 1 / T.

    Returns:
        Scalar, in nats, mean over the batch. At most 0, where all images have equal normalized
        logits. At least log(exp(1 / T) + (B - 1) exp(-1 / (T (B - 1)))) - 1 / T - log B, where
        they form a regular simplex, for which B must not exceed C * S.

    Source: Müller et al. 2020, arXiv:2002.03936, equation 6, in the form of google-research/
    subclass_distillation/mnist_colab.ipynb; by log-sum-exp, as exp(C * S) overflows from 89 on.
    """
    num_images, num_logits = logits.shape
    centred = logits - logits.mean(dim=1, keepdim=True)
    deviation = (centred.square().mean(dim=1, keepdim=True) + 1e-9).sqrt()
    # Each row then has a length of 1 / sqrt(T).
    normalized = centred / deviation / math.sqrt(temperature * num_logits)
    products = normalized @ normalized.T  # (B, B)
    spread = products.logsumexp(dim=1).mean()
    return spread - 1 / temperature - math.log(num_images)
