"""The losses on this device, against their values by hand in double precision."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from kdtool.format import plural
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
from kdtool.recipe.schema import Recipe
from kdtool.results.commands.doctor import Finding
from kdtool.train.fit.losses import (
    auxiliary_loss,
    distillation_loss,
    kd_loss,
    label_loss,
    subclass_teacher_loss,
)
from kdtool.train.fit.methods import method_loss

TOLERANCE = 1e-4  # relative, and absolute for values near 0; float32 has seven digits
# Logits of the teacher and of the student of an image of class 0, beside zeros.
TEACHER, STUDENT = 2.0, 0.5
SUBCLASSES = 3


@dataclass(frozen=True, slots=True)
class Compared:
    """A value that was computed on the device."""

    name: str
    expected: float  # by hand
    got: float

    @property
    def error(self) -> float:
        """Relative to the value, or absolute where that is below 1."""
        return abs(self.got - self.expected) / max(1.0, abs(self.expected))

    @property
    def is_right(self) -> bool:
        """Whether it is within `TOLERANCE`; NaN is not."""
        return self.error <= TOLERANCE


def arithmetic(recipe: Recipe, device: torch.device) -> Finding:
    """Return whether the losses of a recipe, and what they are made of, are right on a device."""
    return judge([*products(device), *losses(recipe, device)], str(device))


def judge(compared: Iterable[Compared], device: str) -> Finding:
    """Return what is to be said of computed values."""
    values = [*compared]
    if wrong := [one for one in values if not one.is_right]:
        first = wrong[0]
        return Finding(
            topic="arithmetic",
            mark="fails",
            found=f"{first.name} is {first.got:.6g} on {device}, expected {first.expected:.6g}"
            + (f"; so are {plural(len(wrong) - 1, 'more value')}" if len(wrong) > 1 else ""),
            means="models would learn something else than the recipe says",
            fix="--device cpu if another device is used, else install PyTorch again: "
            "pip install --force-reinstall torch",
        )
    most = max(one.error for one in values)
    return Finding(
        topic="arithmetic",
        mark="ok",
        found=f"{len(values)} losses, products and gradients on {device} are within {most:.0e} of "
        "their values by hand",
        means="the device computes what the recipe says",
    )


def products(device: torch.device) -> Iterator[Compared]:
    """Yield a matrix product and a convolution of small integers, which are exact in float32."""
    rng = np.random.default_rng(0)
    left, right = rng.integers(-8, 9, (2, 64, 64))
    product = as_tensor(left, device) @ as_tensor(right, device)
    yield Compared("a matrix product (its largest error)", 0.0, largest(product, left @ right))
    images, weights = rng.integers(-8, 9, (2, 3, 12, 12)), rng.integers(-8, 9, (5, 3, 3, 3))
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), axis=(2, 3))
    expected = np.einsum("bchwij,kcij->bkhw", windows, weights)
    found = F.conv2d(as_tensor(images, device), as_tensor(weights, device))
    # Some algorithms transform the images, and round.
    scale = float(np.abs(expected).max())
    yield Compared("a convolution (its largest error)", 0.0, largest(found, expected) / scale)


def losses(recipe: Recipe, device: torch.device) -> Iterator[Compared]:
    """Yield the losses of a recipe at logits for which they are known."""

    def logits(*rows: tuple[float, ...]) -> Tensor:
        return torch.tensor(rows, dtype=torch.float32, device=device)

    def labels(*classes: int) -> Tensor:
        return torch.tensor(classes, device=device)

    table, subclass = recipe.distill, recipe.subclass
    student, teacher, own = logits((STUDENT, 0, 0)), logits((TEACHER, 0, 0)), labels(0)
    hard = cross_entropy(STUDENT)
    yield of("the cross-entropy", hard, label_loss(student, own))
    even = logits((1, 1, 1, 1), (5, 5, 5, 5))
    yield of("the cross-entropy of equal logits", math.log(4), label_loss(even, labels(3, 1)))
    weights = torch.tensor([1.0, 3.0, 1.0], device=device)
    both = label_loss(logits((STUDENT, 0, 0), (STUDENT, 0, 0)), labels(0, 1), weights)
    yield of("the weighted cross-entropy", (hard + 3 * cross_entropy(0, STUDENT)) / 4, both)

    soft = kd(TEACHER, STUDENT, table.temperature)
    yield of("kd of equal logits", 0.0, kd_loss(teacher, teacher, table.temperature))
    yield of("kd", soft, kd_loss(student, teacher, table.temperature))
    yield of("the gradient of kd", *gradient(student, teacher, table.temperature))
    share = table.soft_weight
    mixed = distillation_loss(student, teacher, own, 3, table.temperature, share)
    yield of("the loss of distillation", share * soft + (1 - share) * hard, mixed)

    num_images, weight, heat = 2, subclass.auxiliary_weight, subclass.auxiliary_temperature
    opposite = logits(*[(sign, sign, sign, -sign, -sign, -sign) for sign in (1, -1)])
    apart = math.log(math.exp(1 / heat) + math.exp(-1 / heat)) - 1 / heat - math.log(num_images)
    yield of("the auxiliary loss of opposite images", apart, auxiliary_loss(opposite, heat))
    alike = torch.zeros(num_images, 2 * SUBCLASSES, device=device)
    alike[:, 0] = 1
    classes = subclass_teacher_loss(alike * 0, labels(0, 1), 2, 0.0, heat)
    yield of("the cross-entropy of equal subclasses", math.log(2), classes)
    yield of("the auxiliary loss of equal images", 0.0, weight * auxiliary_loss(alike, heat))

    if table.chosen is not None:
        yield from method(table.chosen, device)


def method(options: Options, device: torch.device) -> Iterator[Compared]:
    """Yield the loss of a method, with that of the labels."""
    rows = [(STUDENT, 0.0, 0.0)], [(TEACHER, 0.0, 0.0)]
    if isinstance(options, LsOptions | MseOptions | DistOptions):
        rows = [(1.0, 0.0, -1.0), (-1.0, 0.0, 1.0)], [(-1.0, 0.0, 1.0), (1.0, 0.0, -1.0)]
    student, teacher = (torch.tensor(each, device=device) for each in rows)
    targets = torch.zeros(len(student), dtype=torch.int64, device=device)
    hard = sum(cross_entropy(*row) for row in rows[0]) / len(student)
    found = method_loss(student, teacher, targets, options)
    yield of("the loss of the method", hard + options.soft_weight * by_hand(options), found)


def by_hand(options: Options) -> float:
    """Return the loss of a method at the logits of `method`, by its formula with three classes."""
    match options:
        case LsOptions(temperature=heat):
            return mirrored_divergence(heat) * heat**2
        case MseOptions():
            return 8 / 3  # (2, 0, -2) squared, mean
        case DistOptions(temperature=heat, beta=beta, gamma=gamma):
            first, middle, last = shares(1 / heat, 0, -1 / heat)
            parts = [first - 1 / 3, middle - 1 / 3, last - 1 / 3]
            length = sum(part**2 for part in parts)
            over_classes = sum(a * b for a, b in zip(parts, parts[::-1], strict=True)) / length
            # Over the two images, classes 0 and 2 are mirrored (-1), and class 1 is constant (0).
            return (beta * (1 - over_classes) + gamma * (1 + 2 / 3)) * heat**2
        case DkdOptions(temperature=heat, alpha=alpha) | RldOptions(temperature=heat, alpha=alpha):
            # The other two classes are alike in both, so only "this class or another" is left.
            sure, known = shares(TEACHER / heat, 0, 0)[0], shares(STUDENT / heat, 0, 0)[0]
            return alpha * heat**2 * divergence((sure, 1 - sure), (known, 1 - known))
        case NkdOptions(temperature=heat, gamma=gamma):
            sure = shares(TEACHER, 0, 0)[0]
            return sure * cross_entropy(STUDENT) + gamma * heat**2 * math.log(2)
        case WttmOptions(gamma=gamma):
            weight = sum(math.pow(share, gamma) for share in shares(TEACHER, 0, 0))
            return weight * divergence(shares(gamma * TEACHER, 0, 0), shares(STUDENT, 0, 0))


def kd(teacher: float, student: float, temperature: float) -> float:
    """Return T^2 times the divergence between the softened `(logit, 0, 0)`."""
    soft, own = (shares(each / temperature, 0, 0) for each in (teacher, student))
    return temperature**2 * divergence(soft, own)


def gradient(student: Tensor, teacher: Tensor, temperature: float) -> tuple[float, Tensor]:
    """Return the derivative of kd by the student's first logit, T (s - t): by hand, and found."""
    soft, own = (shares(each / temperature, 0, 0)[0] for each in (TEACHER, STUDENT))
    with torch.enable_grad():
        leaf = student.clone().requires_grad_()
        (found,) = torch.autograd.grad(kd_loss(leaf, teacher, temperature), leaf)
    return temperature * (own - soft), found[0, 0]


def mirrored_divergence(temperature: float) -> float:
    """Return the divergence between the softened (1, 0, -1) and (-1, 0, 1)."""
    first, middle, last = shares(1 / temperature, 0, -1 / temperature)
    return divergence((last, middle, first), (first, middle, last))


def cross_entropy(own: float, *others: float) -> float:
    """Return the cross-entropy of an image with this logit of its class, of three classes."""
    return -math.log(shares(own, *(*others, 0.0, 0.0)[:2])[0])


def shares(*logits: float) -> tuple[float, ...]:
    """Return the softmax."""
    odds = [math.exp(logit) for logit in logits]
    return tuple(each / sum(odds) for each in odds)


def divergence(teacher: Iterable[float], student: Iterable[float]) -> float:
    """Return the KL divergence from teacher to student."""
    return sum(p * math.log(p / q) for p, q in zip(teacher, student, strict=True))


def of(name: str, expected: float, got: Tensor) -> Compared:
    """Return a computed scalar with its value by hand."""
    return Compared(name, expected, float(got))


def as_tensor(values: np.ndarray, device: torch.device) -> Tensor:
    """Return integers as float32 on a device."""
    return torch.from_numpy(values.astype(np.float32)).to(device)


def largest(found: Tensor, expected: np.ndarray) -> float:
    """Return the largest difference."""
    return float(np.abs(found.double().cpu().numpy() - expected).max())
