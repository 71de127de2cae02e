"""The losses: pure functions of logits."""

import torch
from torch import Tensor
from torch.nn import functional as F


def kd_loss(student_logits: Tensor, teacher_logits: Tensor, temperature: float) -> Tensor:
    """KL divergence from teacher to student soft targets, times temperature squared.

    The factor keeps gradients of one size at every temperature, so `soft_weight` carries over.

    Args:
        student_logits: `(B, C)`.
        teacher_logits: `(B, C)`; receives no gradient.
        temperature: Divides both logits; 1 leaves them as they are.

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
    labels: Tensor,
    temperature: float,
    soft_weight: float,
) -> Tensor:
    """Weigh the teacher's soft targets against the labels.

    Args:
        student_logits: `(B, C)`.
        teacher_logits: `(B, C)`; receives no gradient.
        labels: `(B,)` int64.
        temperature: Of `kd_loss`.
        soft_weight: Weight of `kd_loss` in [0, 1]; the rest goes to the cross-entropy.

    Returns:
        Scalar, in nats, mean over the batch.

    Source: Hinton et al. 2015, arXiv:1503.02531, section 2.
    """
    soft = kd_loss(student_logits, teacher_logits, temperature)
    hard = F.cross_entropy(student_logits, labels)
    return soft_weight * soft + (1 - soft_weight) * hard


def class_logits(logits: Tensor, num_classes: int) -> Tensor:
    """Merge subclasses: the softmax of a class is then the sum of those of its subclasses.

    Args:
        logits: `(B, C * S)`, subclass s of class c at c * S + s; with S = 1 returned as they are.
        num_classes: C.

    Returns:
        `(B, C)`, the log-sum-exp over the subclasses of each class.

    Source: Müller, Kornblith and Hinton 2020, arXiv:2002.03936.
    """
    if logits.shape[1] == num_classes:
        return logits
    return torch.logsumexp(logits.unflatten(1, (num_classes, -1)), dim=2)  # type: ignore[no-untyped-call]
