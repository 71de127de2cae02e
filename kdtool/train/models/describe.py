"""A network as text: layers, shapes and hyperparameters, whatever PyTorch prints of them."""

import hashlib
import sys
from collections.abc import Mapping
from enum import Enum
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

LIBRARIES = {"torch", "torchvision", "timm"}
OF_EVERY_MODULE = vars(nn.Module()).keys()  # hooks, parameters, `training`
PLAIN = bool | int | float | complex | str | bytes | Enum | torch.dtype | torch.device
MOST_LEVELS = 4  # of containers and objects inside each other


def describe_model(name: str, model: nn.Module) -> str:
    """Return a hash that differs between networks which the same weights do not fit or suit.

    It covers every layer's class, place, parameters, buffers and hyperparameters, and the source
    files of the user's own network function and layers; not the values of weights, and nothing
    that PyTorch prints, so that another version of PyTorch gives the same hash.

    Args:
        name: As in the recipe: built in, `torchvision:NAME`, `timm:NAME` or
            `package.module:function`.
        model: The network, with its preprocessing.
    """
    shared: dict[int, str] = {}  # tied weights are a property of the network
    lines = [
        line
        for path, part in model.named_modules(remove_duplicate=False)
        for line in _lines_of(path, part, shared)
    ]
    text = "\n".join(lines).encode()
    return hashlib.sha256(text + b"".join(_sources(name, model))).hexdigest()


def has_batch_norm(model: nn.Module) -> bool:
    """Return whether a network keeps running statistics of its batches."""
    return any(
        isinstance(part, _NormBase) and part.running_mean is not None for part in model.modules()
    )


def _lines_of(path: str, part: nn.Module, shared: dict[int, str]) -> list[str]:
    kind = type(part)
    lines = [f"{path}: {kind.__module__}.{kind.__qualname__}"]
    if _package(kind) == "kdtool":
        lines.append(f"  {part.extra_repr()}")  # ours, and written for this
    else:
        lines += [f"  {key} = {value}" for key, value in sorted(_hyperparameters(part).items())]
    tensors = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
    for key, tensor in tensors:
        place = shared.setdefault(id(tensor), f"{path}.{key}")
        lines.append(f"  {key}: {tuple(tensor.shape)} {tensor.dtype} of {place}")
    return lines


def _hyperparameters(part: nn.Module) -> dict[str, str]:
    """Return the attributes of a layer that are plain values, as text.

    Of PyTorch's, torchvision's and timm's layers these are the public numbers and names; of the
    user's own layers all attributes, private ones and objects of the user's among them.
    """
    own = _package(type(part)) not in LIBRARIES
    found = {}
    for key, value in vars(part).items():
        if key in OF_EVERY_MODULE or (key.startswith("_") and not own):
            continue
        text = _text_of(value, MOST_LEVELS if own else 1)
        if text is not None:
            found[key] = text
    return found


def _text_of(value: object, levels: int) -> str | None:
    """Return a value as text without addresses in memory; None: it says nothing of the network.

    Args:
        value: Of an attribute.
        levels: How many levels of containers and objects to enter.
    """
    if isinstance(value, nn.Module):
        return None  # has lines of its own
    if value is None or isinstance(value, PLAIN):
        return repr(value)
    if isinstance(value, torch.Tensor):
        return f"{tuple(value.shape)} {value.dtype}"
    if callable(value) and not isinstance(value, partial):
        return f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value))}"
    return _text_of_many(value, levels - 1) if levels else None


def _text_of_many(value: object, levels: int) -> str | None:
    if isinstance(value, list | tuple):
        return f"[{', '.join(str(_text_of(one, levels)) for one in value)}]"
    if isinstance(value, set | frozenset):
        return f"{{{', '.join(sorted(str(_text_of(one, levels)) for one in value))}}}"
    if isinstance(value, partial):
        return f"partial {_text_of_many([value.func, value.args, value.keywords], levels + 1)}"
    if not levels:
        return None
    content = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
    pairs = (f"{key}: {_text_of(one, levels)}" for key, one in content.items())
    kind = type(value).__qualname__
    return f"{kind}({', '.join(sorted(pairs))})"


def _sources(name: str, model: nn.Module) -> list[bytes]:
    """Return the source of the user's function and of every layer that no library of ours has."""
    module, colon, _function = name.partition(":")
    modules = {module} if colon and module not in LIBRARIES else set()
    modules |= {
        kind.__module__
        for kind in map(type, model.modules())
        if _package(kind) not in LIBRARIES | {"kdtool"}
    }
    files = (getattr(sys.modules.get(module), "__file__", None) for module in sorted(modules))
    return [Path(file).read_bytes() for file in files if file]


def _package(kind: type) -> str:
    return kind.__module__.partition(".")[0]
