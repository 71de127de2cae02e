"""The forward pass of a network in training, with parts that are computed faster."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn

from kdtool.train.fit.dropout import dropout

Forward = Callable[[Tensor], Tensor]
Part = tuple[nn.Module, Forward]  # a module, and what it computes instead

INCREASING = (nn.ReLU, nn.ReLU6)  # of a larger value, the result is as large or larger


def faster_parts(model: nn.Module) -> list[Part]:
    """Return the modules of a model that can be computed faster, and how.

    - In an `nn.Sequential`, a ReLU in front of a max-pool comes after it. The result is the same to
      the bit, and so is its gradient, but ReLU has fewer values to compute.
    - `nn.Dropout` draws as in `kdtool.train.fit.dropout` on a CPU.

    Functions, as `F.dropout`, and modules of derived classes are left as they are.
    """
    found = ((module, _faster(module)) for module in model.modules())
    return [(module, forward) for module, forward in found if forward is not None]


def has_own_draws(model: nn.Module) -> bool:
    """Return whether a model, trained on a CPU, is given other draws than those of PyTorch."""
    return any(type(module) is nn.Dropout for module in model.modules())


@contextmanager
def replaced(parts: Sequence[Part]) -> Iterator[None]:
    """Compute these modules in their faster way within the block."""
    for module, forward in parts:
        module.forward = forward
    try:
        yield
    finally:
        for module, _ in parts:
            del module.forward  # that of its class is back


def _faster(module: nn.Module) -> Forward | None:
    if "forward" in vars(module):  # someone else's
        return None
    if isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward:
        inner = list(module)
        order = pools_first(inner)
        return None if order == inner else partial(_in_turn, order)
    return partial(_dropout, module) if type(module) is nn.Dropout else None


def pools_first(modules: Sequence[nn.Module]) -> list[nn.Module]:
    """Return modules in an order in which no ReLU is directly in front of a max-pool."""
    order = list(modules)
    for at in range(1, len(order)):
        first, second = order[at - 1], order[at]
        if type(first) in INCREASING and type(second) is nn.MaxPool2d and not second.return_indices:
            order[at - 1], order[at] = second, first
    return order


def _in_turn(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    for module in modules:
        x = module(x)
    return x


def _dropout(module: nn.Dropout, x: Tensor) -> Tensor:
    if not module.training or x.device.type != "cpu":
        return nn.Dropout.forward(module, x)
    return dropout(x, module.p)
