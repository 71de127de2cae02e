"""A batch that does not fit into memory passes the network in parts, to the loss of the whole."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kdtool.train.models.device import is_out_of_memory

SMALLEST_PART = 2  # images: BatchNorm has no variance over one

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


def learn_what_fits(forward: Forward, model: nn.Module, warn: Callable[[str], None]) -> Learn:
    """Return the function that passes a batch in as few parts as fit into memory.

    It halves the parts when memory runs out, keeps their number, and repeats that step with the
    draws that it began with.

    Args:
        forward: Of `model`.
        model: Gets the gradients.
        warn: Is told how large the parts are.
    """
    whole, num_parts = learn_whole(forward), 1

    def learn(images: Tensor, loss_of: LossOf) -> Tensor:
        nonlocal num_parts
        draws = draws_of(images.device)
        while True:
            try:
                if num_parts == 1:
                    return whole(images, loss_of)
                return learn_in_parts(forward, model, images, loss_of, num_parts)
            except RuntimeError as error:
                if not is_out_of_memory(error) or len(images) < 2 * SMALLEST_PART * num_parts:
                    raise
            # Outside of the handler, where nothing refers to what the step had computed any more.
            model.zero_grad()
            if images.is_cuda:
                torch.cuda.empty_cache()
            set_draws(draws, images.device)
            num_parts *= 2
            warn(
                f"a batch of {len(images):,} images does not fit into memory: it passes the "
                f"network in {num_parts} parts, twice each, and its loss stays that of the whole. "
                "BatchNorm sees one part at a time; a smaller batch_size is faster"
            )

    return learn


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
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.no_grad():
        logits = torch.cat([forward(part) for part in parts])
        for buffer, before in buffers:
            buffer.copy_(before)
    set_draws(draws, images.device)
    logits.requires_grad_()
    loss = loss_of(logits)
    (gradient,) = torch.autograd.grad(loss, logits)
    for part, of_part in zip(parts, gradient.tensor_split(num_parts), strict=True):
        forward(part).backward(of_part)  # type: ignore[no-untyped-call]
    return loss.detach()


def draws_of(device: torch.device) -> list[Tensor]:
    """Return the states of the generators that draw on the CPU and on `device`."""
    states = [torch.get_rng_state()]
    return [*states, torch.cuda.get_rng_state(device)] if device.type == "cuda" else states


def set_draws(states: list[Tensor], device: torch.device) -> None:
    """Set the states that `draws_of` returned."""
    torch.set_rng_state(states[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states[1], device)
