"""The logits of a model on a whole split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kdtool.results.base import Metric
from kdtool.stats.metrics import score
from kdtool.train.data.splits import Split
from kdtool.train.models.device import exact_arithmetic, explain_out_of_memory
from kdtool.train.models.networks import as_input
from kdtool.train.models.preprocess import Enlarge
from kdtool.train.ranks.group import Ranks

# A batch must fit the caches of a CPU: mnist-cnn then sees 4 times the images of 1,024 a batch.
CPU_BATCH, GPU_BATCH = 128, 1024
# And the memory: MobileNetV2 holds 5 MB an image of 224 x 224 in one layer.
CPU_PIXELS, GPU_PIXELS = 40 * 224**2, 160 * 224**2
ALL = slice(None)
SMALLER = (
    "end other programs on the device, make the images smaller (--set data.size), or use another "
    "--device"
)


@torch.no_grad()
def predict(
    model: nn.Module,
    split: Split,
    prepare: Callable[[Tensor, Tensor], Tensor] | None = None,
    rows: slice = ALL,
) -> Tensor:
    """Return the logits `(N, C * S)` of a split in its order, float32, without dropout.

    Args:
        model: On the device of the split.
        split: The images.
        prepare: Makes of uint8 images `(B, C, H, W)` and their positions what the model is given;
            None: `as_input`.
        rows: Those to answer; there must be some.

    Raises:
        KdtoolError: A batch does not fit into memory.
    """
    device = split.device
    model.eval()
    model.to(memory_format=torch.channels_last)
    index = torch.arange(len(split), device=device)[rows]
    size = images_at_once(model, split)
    parts = torch.split(index, size)
    whole: Tensor | None = None
    with exact_arithmetic(), explain_out_of_memory(size, split.image_shape, SMALLER):
        for number, part in enumerate(parts, start=1):
            pixels, _ = split.batch(part)
            split.expect(index[number * size : (number + 1) * size])
            images = as_input(pixels) if prepare is None else prepare(pixels, part)
            logits = model(images.contiguous(memory_format=torch.channels_last))
            # What is kept lies in one place: small tensors that stay in the gaps between large
            # ones make these too small for the next batch, and memory grows by one a batch.
            whole = room_like(logits, len(index)) if whole is None else whole
            whole[(number - 1) * size :][: len(part)] = logits
    assert whole is not None  # there are images
    return whole


def together(model: nn.Module, split: Split, ranks: Ranks) -> Tensor:
    """Return what `predict` does; called on every rank, each of which computes a part."""
    part = predict(model, split, rows=ranks.rows(len(split)))
    return ranks.whole(part, len(split))


def room_like(rows: Tensor, num: int) -> Tensor:
    """Return room for `num` rows of the shape and memory layout of `rows` `(B, ...)`."""
    last = rows.ndim == 4 and rows.is_contiguous(memory_format=torch.channels_last)
    return torch.empty(
        (num, *rows.shape[1:]),
        dtype=rows.dtype,
        device=rows.device,
        memory_format=torch.channels_last if last else torch.contiguous_format,
    )


def images_at_once(model: nn.Module, split: Split) -> int:
    """Return how many images a model without gradients is given at a time.

    Args:
        model: May enlarge its images, which are then counted so.
        split: On the device of the model; at most its number of images is returned.
    """
    cpu = split.device.type == "cpu"
    most, pixels = (CPU_BATCH, CPU_PIXELS) if cpu else (GPU_BATCH, GPU_PIXELS)
    return min(most, images_within(pixels, model, split.image_shape), len(split))


def images_within(pixels: int, model: nn.Module, image_shape: Sequence[int]) -> int:
    """Return how many images have at most so many pixels, at least one.

    Args:
        pixels: Height times width, summed over the images.
        model: May enlarge its images, which are then counted so.
        image_shape: C, H, W.
    """
    _, height, width = image_shape
    for part in model.modules():
        if isinstance(part, Enlarge):
            height, width = part.size
    return max(1, pixels // (height * width))


def channels_last_input(images: Tensor) -> Tensor:
    """Return `as_input`, channels last: convolutions then take about half the time."""
    return as_input(images).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, slots=True)
class Validation:
    """Scores of a model on the validation split."""

    loss: float  # cross-entropy with the labels of the classes, in nats
    accuracy: float  # in [0, 1]
    score: float  # the study's metric, in [0, 1]


def validate(
    model: nn.Module,
    validation: Split,
    num_classes: int,
    metric: Metric = "accuracy",
    positive: int | None = None,
) -> Validation:
    """Evaluate a model on the validation split.

    Args:
        model: Gives `(B, C * S)` logits.
        validation: The split.
        num_classes: C.
        metric: Of the study.
        positive: The positive class of AUCs, with two classes.

    Raises:
        KdtoolError: A batch does not fit into memory.
    """
    return scored(predict(model, validation), validation, num_classes, metric, positive)


def scored(
    logits: Tensor,
    validation: Split,
    num_classes: int,
    metric: Metric = "accuracy",
    positive: int | None = None,
) -> Validation:
    """Score the logits `(V, C * S)` of a model on the validation split; see `validate`."""
    logits = class_logits(logits, num_classes)
    loss = F.cross_entropy(logits, validation.labels)
    accuracy = (logits.argmax(dim=1) == validation.labels).float().mean().item()
    if metric == "accuracy" or not loss.isfinite():
        return Validation(loss.item(), accuracy, accuracy)
    labels, probabilities = validation.labels.cpu().numpy(), logits.softmax(dim=1).cpu().numpy()
    return Validation(loss.item(), accuracy, score(metric, labels, probabilities, positive))


def class_logits(logits: Tensor, num_classes: int) -> Tensor:
    """Merge subclasses: the softmax of a class is then the sum of those of its subclasses.

    Args:
        logits: `(B, C * S)`, subclass s of class c at c * S + s; with S = 1 returned unchanged.
        num_classes: C.

    Returns:
        `(B, C)`, the log-sum-exp over the subclasses of each class.

    Source: Müller, Kornblith and Hinton 2020, arXiv:2002.03936.
    """
    if logits.shape[1] == num_classes:
        return logits
    merged: Tensor = logits.unflatten(1, (num_classes, -1)).logsumexp(dim=2)  # type: ignore[no-untyped-call]
    return merged
