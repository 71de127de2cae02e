"""The ranks that train one model together, and what they exchange."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")
CHUNK = 2**26  # bytes of a file that are sent at a time


@dataclass(frozen=True)
class Ranks:
    """This process among those that train one model together; by default it is alone.

    What is called on one rank must be called on all of them, in one order.
    """

    number: int = 0
    count: int = 1
    # On the CPU, and patient: a rank may wait in it for long. None: this process is alone.
    group: "dist.ProcessGroup | None" = None
    all_threads: int = 1  # of this one when the others have left

    @property
    def leads(self) -> bool:
        """Whether this rank runs the command, writes and reports."""
        return self.number == 0

    @property
    def are_several(self) -> bool:
        """Whether there are others."""
        return self.count > 1

    def rows(self, num: int) -> slice:
        """Return which of `num` images in a row are those of this rank.

        The parts follow each other, and differ by one image at most. Of fewer images than ranks,
        each rank has all: no network is given an empty batch.
        """
        if num < self.count:
            return slice(0, num)
        size, more = divmod(num, self.count)
        begin = self.number * size + min(self.number, more)
        return slice(begin, begin + size + (self.number < more))

    def whole(self, part: Tensor, num: int) -> Tensor:
        """Return the rows of all ranks.

        Every rank may compute one loss of all rows then: its gradient reaches the rows of this rank
        only, times the number of ranks, so that the mean over the ranks is the gradient of that
        loss.

        Args:
            part: `(rows, ...)` floating-point numbers, as many as `rows(num)` has.
            num: Of all rows.

        Returns:
            `(num, ...)`
        """
        if not self.are_several or num < self.count:
            return part
        whole: Tensor = Whole.apply(part, self.rows(num), num, self.count)
        return whole

    def same(self, value: T) -> T:
        """Return the value of rank 0."""
        if not self.are_several:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.group)
        return values[0]

    def gathered(self, value: T) -> list[T]:
        """Return the values of all ranks."""
        if not self.are_several:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self.group)
        return values

    def copy(self, model: nn.Module) -> None:
        """Give a model the weights and buffers of rank 0, in place; wait for all ranks before."""
        if not self.are_several:
            return
        self.gathered(None)  # with the patience of `group`
        for tensor in model.state_dict().values():
            values = tensor.contiguous()
            dist.broadcast(values, src=0)
            tensor.copy_(values)

    def copy_buffers(self, model: nn.Module) -> None:
        """Give a model the buffers of rank 0, in place."""
        if not self.are_several:
            return
        for buffer in model.buffers():
            values = buffer.contiguous()
            dist.broadcast(values, src=0)
            buffer.copy_(values)

    def average(self, tensors: Iterable[Tensor], weight: float) -> None:
        """Replace tensors by their mean over the ranks, in place.

        Args:
            tensors: The same on all ranks, but for their values.
            weight: Of this rank; with 0 its values do not count, whatever they are.
        """
        if not self.are_several:
            return
        for tensor in tensors:
            share = tensor.new_full((1,), weight)
            total = torch.cat([tensor.flatten() * weight, share]) if weight else None
            total = tensor.new_zeros(tensor.numel() + 1) if total is None else total
            dist.all_reduce(total)
            tensor.copy_((total[:-1] / total[-1]).view_as(tensor))

    def carry(self, path: Path) -> None:
        """Copy the file `path` of rank 0 to `path` of the others; nothing if rank 0 has none."""
        if not self.are_several:
            return
        size = self.same(path.stat().st_size if self.leads and path.exists() else None)
        if size is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb" if self.leads else "wb") as file:
            for begin in range(0, size, CHUNK):
                part = torch.empty(min(CHUNK, size - begin), dtype=torch.uint8)
                if self.leads:
                    file.readinto(part.numpy())  # type: ignore[attr-defined]
                dist.broadcast(part, src=0, group=self.group)
                if not self.leads:
                    file.write(part.numpy().data)

    def leave(self) -> None:
        """Leave the other ranks, at the end.

        A process that ends as one of them may be aborted by gloo, whose thread finds the others
        gone.
        """
        dist.destroy_process_group()

    def dismiss(self) -> None:
        """Let the other ranks end, as rank 0 needs no help any more; nothing if they have left."""
        if self.are_several and dist.is_initialized():
            self.same(None)
            self.leave()
            torch.set_num_threads(self.all_threads)


ALONE = Ranks()


class Whole(torch.autograd.Function):
    """The rows of all ranks; see `Ranks.whole`."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, rows: slice, num: int, count: int) -> Tensor:
        """Add up what has the rows of one rank and is 0 elsewhere."""
        ctx.rows, ctx.count = rows, count
        whole = part.new_zeros(num, *part.shape[1:])
        whole[rows] = part
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient of the rows of this rank."""
        (gradient,) = gradients
        return gradient[ctx.rows] * ctx.count, None, None, None
