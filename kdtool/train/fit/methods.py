"""Distillation methods that learn from a teacher's logits, other than kd; pure functions.

All get logits in float32 and return a scalar, the mean over the batch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kdtool.recipe.distill import (
    DistOptions,
    DkdOptions,
    LsOptions,
    MseOptions,
    NkdOptions,
    Options,
    RldOptions,
    WttmOptions,
)
from kdtool.train.fit.losses import kd_loss, label_loss

EPSILON_LS = 1e-7  # as the authors', against a division by 0
EPSILON_DIST = 1e-8  # as the authors', against a division by 0


def method_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    options: Options,
    share: float = 1.0,
    class_weights: Tensor | None = None,
) -> Tensor:
    """Loss of the labels, plus that of a method times its weight.

    Args:
        student_logits: `(B, C)`.
        teacher_logits: `(B, C)`; receives no gradient.
        targets: As of `label_loss`; for DKD, NKD and RLD `(B,)`.
        options: Of the method, which they name by their class.
        share: Of the method's weight, in [0, 1]: below 1 during the warm-up.
        class_weights: Of `label_loss`; the method's loss counts all images alike.

    Returns:
        Scalar, mean over the batch.
    """
    hard = label_loss(student_logits, targets, class_weights)
    soft = soft_loss(student_logits, teacher_logits.detach(), targets, options)
    return hard + share * options.soft_weight * soft


def soft_loss(student: Tensor, teacher: Tensor, targets: Tensor, options: Options) -> Tensor:
    """Return the loss of a method, without that of the labels; see `method_loss`."""
    match options:
        case LsOptions():
            loss = ls_loss(student, teacher, options.temperature)
        case DkdOptions(temperature=temperature, alpha=alpha, beta=beta):
            loss = dkd_loss(student, teacher, targets, temperature, alpha, beta)
        case DistOptions(temperature=temperature, beta=beta, gamma=gamma):
            loss = dist_loss(student, teacher, temperature, beta, gamma)
        case WttmOptions():
            loss = wttm_loss(student, teacher, options.gamma)
        case MseOptions():
            loss = mse_loss(student, teacher)
        case NkdOptions(temperature=temperature, gamma=gamma):
            loss = nkd_loss(student, teacher, targets, temperature, gamma)
        case RldOptions(temperature=temperature, alpha=alpha, beta=beta):
            loss = rld_loss(student, teacher, targets, temperature, alpha, beta)
    return loss


def ls_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """`kd_loss` of logits that have mean 0 and deviation 1 over the classes.

    The student learns the order and the ratios of the teacher's logits, not their size: a factor
    and an offset of either's logits change nothing.

    Args:
        student: Logits `(B, C)`; C of 3 or more, as two standardized logits are +-0.7071.
        teacher: Logits `(B, C)`.
        temperature: T.

    Source: Sun et al. 2024, arXiv:2403.01427, algorithm 1, with the deviation of C - 1 degrees of
    freedom as in the authors' code.
    """
    return kd_loss(standardized(student), standardized(teacher), temperature)


def standardized(logits: Tensor) -> Tensor:
    """Return `(B, C)` with mean 0 and deviation 1 in each row."""
    centred = logits - logits.mean(dim=1, keepdim=True)
    return centred / (logits.std(dim=1, keepdim=True) + EPSILON_LS)


def dkd_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float, beta: float
) -> Tensor:
    """`kd_loss` in two parts: how likely the image's class is, and how the others share the rest.

    T^2 (alpha TCKD + beta NCKD). TCKD is the divergence between the probabilities of "the image's
    class" and "another", NCKD that between the distributions over the C - 1 others. In `kd_loss`
    NCKD has the weight 1 - p of the teacher's p for the image's class, which is next to nothing for
    a sure teacher; here it has a weight of its own.

    Args:
        student: Logits `(B, C)`.
        teacher: Logits `(B, C)`.
        labels: `(B,)` int64.
        temperature: T.
        alpha: Weight of TCKD.
        beta: Weight of NCKD, which is 0 for C = 2.

    Source: Zhao et al. 2022, arXiv:2203.08679, equations 5 and 7.
    """
    own = F.one_hot(labels, student.shape[1]).bool()
    student, teacher = student / temperature, teacher / temperature
    target = divergence(in_or_out(student, own), in_or_out(teacher, own))
    others = divergence(among(student, ~own), among(teacher, ~own))
    return (alpha * target + beta * others).mean() * temperature**2


def rld_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, alpha: float, beta: float
) -> Tensor:
    """`dkd_loss` without what a teacher teaches wrongly.

    The student's probability of the image's class is to be the teacher's probability of its first
    class, whichever that is. Only classes that the teacher ranks below the image's are compared.
    Where the teacher is right this is `dkd_loss`.

    Args:
        student: Logits `(B, C)`.
        teacher: Logits `(B, C)`.
        labels: `(B,)` int64.
        temperature: T.
        alpha: Weight of the first part.
        beta: Weight of the second, which is 0 for an image whose class is ranked last or last but
            one.

    Source: Sun et al. 2024, arXiv:2408.07703, section 3, in the form of zju-SWJ/RLD.
    """
    num_classes = student.shape[1]
    own = F.one_hot(labels, num_classes).bool()
    first = F.one_hot(teacher.argmax(dim=1), num_classes).bool()
    below = teacher < teacher.gather(1, labels[:, None])
    student, teacher = student / temperature, teacher / temperature
    target = divergence(in_or_out(student, own), in_or_out(teacher, first))
    others = divergence(among(student, below), among(teacher, below))
    return (alpha * target + beta * others).mean() * temperature**2


def nkd_loss(
    student: Tensor, teacher: Tensor, labels: Tensor, temperature: float, gamma: float
) -> Tensor:
    """Cross-entropies with the teacher's probabilities: of the image's class, and of the others.

    -t log s for the probabilities t and s of the image's class, without a temperature, and gamma
    T^2 times the cross-entropy between the distributions over the other classes.

    Args:
        student: Logits `(B, C)`.
        teacher: Logits `(B, C)`.
        labels: `(B,)` int64.
        temperature: T, of the other classes.
        gamma: Weight of the other classes, which teach nothing for C = 2.

    Source: Yang et al. 2023, arXiv:2303.13005, equation 7, in the form of yzd-v/cls_KD.
    """
    own = F.one_hot(labels, student.shape[1]).bool()
    sure = F.softmax(teacher, dim=1)[own]
    target = -sure * F.log_softmax(student, dim=1)[own]
    shares = among(teacher / temperature, ~own).exp()
    log_shares = among(student / temperature, ~own).masked_fill(own, 0)
    others = -(shares * log_shares).sum(dim=1)
    return (target + gamma * temperature**2 * others).mean()


def dist_loss(
    student: Tensor, teacher: Tensor, temperature: float, beta: float, gamma: float
) -> Tensor:
    """How little the probabilities of student and teacher correlate.

    T^2 (beta (1 - r) + gamma (1 - r')), with Pearson's r over the classes, mean of the images, and
    r' over the images of the batch, mean of the classes. Scale and offset of the probabilities do
    not matter.

    Args:
        student: Logits `(B, C)`, B of 2 or more; with B = 1, r' is 0 without a gradient.
        teacher: Logits `(B, C)`.
        temperature: T.
        beta: Weight of the term over classes; for C = 2, r is 1 or -1 without a gradient.
        gamma: Weight of the term over the batch.

    Source: Huang et al. 2022, arXiv:2205.10536, equations 6 to 10.
    """
    student = F.softmax(student / temperature, dim=1)
    teacher = F.softmax(teacher / temperature, dim=1)
    over_classes = 1 - correlation(student, teacher, dim=1).mean()
    over_images = 1 - correlation(student, teacher, dim=0).mean()
    return (beta * over_classes + gamma * over_images) * temperature**2


def correlation(one: Tensor, other: Tensor, dim: int) -> Tensor:
    """Return Pearson's correlation along a dimension; 0 where one of both is constant."""
    one = one - one.mean(dim=dim, keepdim=True)
    other = other - other.mean(dim=dim, keepdim=True)
    length, other_length = (torch.linalg.vector_norm(each, dim=dim) for each in (one, other))
    found: Tensor = (one * other).sum(dim) / (length * other_length + EPSILON_DIST)
    return found


def wttm_loss(student: Tensor, teacher: Tensor, gamma: float) -> Tensor:
    """Divergence from the teacher's probabilities to a power; doubtful images count more.

    The target is p^gamma / U with U = sum p^gamma, which is the teacher at temperature 1 / gamma.
    The student has no temperature. Each image counts U times: U is 1 for a sure teacher and
    C^(1 - gamma) for one that knows nothing.

    Args:
        student: Logits `(B, C)`.
        teacher: Logits `(B, C)`.
        gamma: The power; 0 is a uniform target.

    Source: Zheng and Yang 2024, arXiv:2402.11148, sections 3 and 4.
    """
    powers = F.log_softmax(teacher, dim=1) * gamma
    weight = powers.exp().sum(dim=1)
    target = F.log_softmax(powers, dim=1)
    return (weight * divergence(F.log_softmax(student, dim=1), target)).mean()


def mse_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the logits, those of each image shifted to mean 0.

    Its gradient is twice that of `kd_loss` at a high temperature.

    Args:
        student: Logits `(B, C)`.
        teacher: Logits `(B, C)`.

    Source: Ba and Caruana 2014, arXiv:1312.6184, equation 1; Kim et al. 2021, arXiv:2105.08919,
    for the shift, which no probability depends on.
    """
    student = student - student.mean(dim=1, keepdim=True)
    teacher = teacher - teacher.mean(dim=1, keepdim=True)
    return F.mse_loss(student, teacher)


def divergence(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the KL divergence `(B,)` from teacher to student, both log-probabilities `(B, K)`."""
    return (teacher.exp() * (teacher - student)).sum(dim=1)


def in_or_out(logits: Tensor, chosen: Tensor) -> Tensor:
    """Return the log-probabilities `(B, 2)` of the chosen class and of all others together.

    Args:
        logits: `(B, C)`.
        chosen: `(B, C)`, True for one class of each image.
    """
    log_probs = F.log_softmax(logits, dim=1)
    inside = log_probs[chosen]
    # Not log(1 - p), which has no digits left where p is close to 1.
    outside = log_probs.masked_fill(chosen, -torch.inf).logsumexp(dim=1)
    return torch.stack([inside, outside], dim=1)


def among(logits: Tensor, kept: Tensor) -> Tensor:
    """Return the log-probabilities `(B, C)` among some of the classes.

    Args:
        logits: `(B, C)`.
        kept: `(B, C)`, True for the classes of each image; where it has none, all are alike.

    Returns:
        Of the classes that are not kept finite, and so low that their probability is 0.
    """
    # Not -inf: the difference of two would be NaN.
    return F.log_softmax(logits.masked_fill(~kept, torch.finfo(logits.dtype).min), dim=1)
