"""A batch that does not fit into memory passes the network in parts, to the loss of the whole."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from kdtool.train.fit.memory import free_memory, give_back_memory
from kdtool.train.models.device import is_out_of_memory

SMALLEST_PART = 2  # images: BatchNorm has no variance over one
# Times the bytes of its images that a batch keeps for the backward pass at most; MobileNetV2: 250.
# Where so much is free, no time is spent on finding out.
MOST_KEPT = 2000
# Times what is kept for the backward pass that a step takes at its peak: 1.15 to 1.7 in seven
# networks of torchvision.
PEAK = 1.5
PER_WEIGHT = 3  # times the bytes of the weights: gradients, and two moments of the optimizer
KERNELS = 2**28  # bytes that kernels for another size of a batch reserve

Forward = Callable[[Tensor], Tensor]  # images -> logits
LossOf = Callable[[Tensor], Tensor]  # logits of the whole batch -> loss, a scalar
Learn = Callable[[Tensor, LossOf], Tensor]  # adds the gradient of a batch, and returns its loss


def learn_whole(forward: Forward) -> Learn:
    """Return the function that passes all images of a batch at once."""

    def learn(images: Tensor, loss_of: LossOf) -> Tensor:
        loss = loss_of(forward(images))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    return learn


class LearnWhatFits:
    """Passes a batch in as few parts as fit into memory.

    On a CPU it foresees how many. Where memory runs out nevertheless it halves the parts, keeps
    their number, and repeats that step with the draws that it began with.
    """

    def __init__(self, forward: Forward, model: nn.Module, warn: Callable[[str], None]) -> None:
        """Pass the images of each batch through `forward`.

        Args:
            forward: Of `model`.
            model: Gets the gradients.
            warn: Is told how large the parts are.
        """
        self.forward, self.model, self.warn = forward, model, warn
        self.whole = learn_whole(forward)
        self.num_parts = 0  # not known yet

    def __call__(self, images: Tensor, loss_of: LossOf) -> Tensor:
        """Add the gradient of a batch, and return its loss, as of `Learn`."""
        if self.num_parts == 0:
            self._cut(images, parts_that_fit(self.forward, self.model, images))
        draws = draws_of(images.device)
        # Outside of the handler nothing refers to what the step had computed any more.
        while (loss := self._attempt(images, loss_of)) is None:
            self.model.zero_grad()
            if images.is_cuda:
                torch.cuda.empty_cache()
            set_draws(draws, images.device)
            self._cut(images, 2 * self.num_parts)
        return loss

    def _cut(self, images: Tensor, num_parts: int) -> None:
        self.num_parts = num_parts
        if num_parts > 1:
            self.warn(
                f"a batch of {len(images):,} images does not fit into memory: it passes the "
                f"network in {num_parts} parts, twice each, and its loss stays that of the whole. "
                "BatchNorm sees one part at a time; a smaller batch_size is faster"
            )

    def _attempt(self, images: Tensor, loss_of: LossOf) -> Tensor | None:
        """Return the loss; None: it did not fit."""
        num_parts = max(1, min(self.num_parts, len(images) // SMALLEST_PART))  # of a last batch
        try:
            if num_parts == 1:
                return self.whole(images, loss_of)
            return learn_in_parts(self.forward, self.model, images, loss_of, num_parts)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error) or len(images) < 2 * SMALLEST_PART * num_parts:
                raise
            return None


def learn_in_parts(
    forward: Forward, model: nn.Module, images: Tensor, loss_of: LossOf, num_parts: int
) -> Tensor:
    """Add the gradient of a batch to that of the model; return its loss.

    Some losses compare the images of a batch, so all logits come first, without what a backward
    pass needs; then each part passes again, with the same draws, and takes the gradient of its
    logits.

    Args:
        forward: Of `model`.
        model: Gets the gradients.
        images: `(B, ...)`.
        loss_of: Loss of the logits `(B, C * S)`.
        num_parts: At most B.

    Source: gradient caching, Gao et al. 2021, arXiv:2101.06983, section 3.2.
    """
    parts = images.tensor_split(num_parts)
    draws = draws_of(images.device)
    with torch.no_grad(), same_buffers(model):
        logits = torch.cat([forward(part) for part in parts])
    set_draws(draws, images.device)
    logits.requires_grad_()
    loss = loss_of(logits)
    (gradient,) = torch.autograd.grad(loss, logits)
    for part, of_part in zip(parts, gradient.tensor_split(num_parts), strict=True):
        forward(part).backward(of_part)  # type: ignore[no-untyped-call]
    return loss.detach()


def parts_that_fit(forward: Forward, model: nn.Module, images: Tensor) -> int:
    """Return in how many parts a batch fits into the memory that is free; 1: all, or not known.

    Args:
        forward: Of `model`.
        model: Nothing of it is changed.
        images: `(B, ...)`.
    """
    free = free_memory() if images.device.type == "cpu" else None
    if free is None or MOST_KEPT * images.nbytes < free or len(images) < 4 * SMALLEST_PART:
        return 1
    give_back_memory()
    free = free_memory() or 0
    step = step_memory(forward, model, images)
    num_parts = 1
    while (
        step.each * len(images) > num_parts * (free - step.fixed)
        and len(images) >= 2 * SMALLEST_PART * num_parts
    ):
        num_parts *= 2
    return num_parts


@dataclass(frozen=True)
class StepMemory:
    """About how many bytes a training step takes on a CPU."""

    each: float  # for each image that passes at once
    fixed: int  # for any number of them


def step_memory(forward: Forward, model: nn.Module, images: Tensor) -> StepMemory:
    """Foresee the memory of a training step from a few images.

    Args:
        forward: Of `model`.
        model: In the mode in which it is trained. Nothing of it is changed.
        images: `(B, ...)`, at least twice `SMALLEST_PART`.
    """
    draws = draws_of(images.device)
    with same_buffers(model):
        few, more = (kept_bytes(forward, images[: n * SMALLEST_PART]) for n in (1, 2))
    set_draws(draws, images.device)
    weights = sum(weight.nbytes for weight in model.parameters())
    # The difference leaves out what does not grow with the batch, such as weights in bfloat16.
    return StepMemory(PEAK * (more - few) / SMALLEST_PART, KERNELS + PER_WEIGHT * weights)


def kept_bytes(forward: Forward, images: Tensor) -> int:
    """Return the bytes that a forward pass leaves for the backward pass."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        forward(images)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@contextmanager
def same_buffers(model: nn.Module) -> Iterator[None]:
    """Undo what the block does to buffers, such as the running statistics of BatchNorm."""
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    yield
    with torch.no_grad():
        for buffer, before in buffers:
            buffer.copy_(before)


def draws_of(device: torch.device) -> list[Tensor]:
    """Return the states of the generators that draw on the CPU and on `device`."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def set_draws(states: list[Tensor], device: torch.device) -> None:
    """Set the states that `draws_of` returned."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
