"""Files of weights: read without running code from them, and fitted to a network."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from kdtool.errors import KdtoolError
from kdtool.train.models.networks import first_convolution


def head_name(network: nn.Module, num_logits: int) -> str:
    """Return the dotted name of the layer that gives the logits.

    It is the last linear layer or 1x1 convolution, in the order in which the network names its
    layers, with as many outputs.

    Raises:
        KdtoolError: There is none.
    """
    found = ""
    for name, layer in network.named_modules():
        if (isinstance(layer, nn.Linear) and layer.out_features == num_logits) or (
            isinstance(layer, nn.Conv2d)
            and layer.out_channels == num_logits
            and layer.kernel_size == (1, 1)
        ):
            found = name
    if not found:
        raise KdtoolError(
            f"{type(network).__name__} has no head: expected a linear layer or a 1x1 convolution "
            f"with {num_logits} outputs"
        )
    return found


Weights = Mapping[str, Tensor]

# Where checkpoints of training programs keep the weights, the latest before the averaged.
PLACES = ("state_dict", "model_state_dict", "model", "module", "net", "weights")
AVERAGED = ("state_dict_ema", "model_ema", "ema")
# What wrappers put before the names: DataParallel, torch.compile, Lightning, our preprocessing.
PREFIXES = ("module.", "_orig_mod.", "model.", "network.")
NUM_TOLD = 3  # names of tensors, in a message


def load_file_of_weights(path: Path) -> Weights:
    """Read a file of weights, once for as long as it stays as it is.

    Raises:
        KdtoolError: It is missing, damaged, would run code, or holds no weights.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise KdtoolError(f"cannot read the weights {path}: {error.strerror}") from error
    return _read(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, _changed: int, _size: int) -> Weights:
    if path.suffix.lower() == ".onnx":
        raise KdtoolError(f'{path} is an ONNX file, which can be a teacher: model = "{path.name}"')
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise KdtoolError(f"cannot read the weights {path}: {error.strerror or error}") from error
    except Exception as error:  # of a damaged file torch raises what its parser stumbles over
        raise KdtoolError(_unreadable(path, str(error))) from error
    return weights_in(content, path)


def _unreadable(path: Path, said: str) -> str:
    """Return why a file cannot be read, from what torch said of it."""
    code = re.search(r"TorchScript|(?<=GLOBAL )[\w.]+", said)
    if code:
        return (
            f"{path} holds more than weights ({code[0]}), which would run code when it is read; in "
            "the program that made it, write them alone: torch.save(model.state_dict(), FILE)"
        )
    return (
        f"cannot read the weights {path}: it is damaged, or neither written by torch.save nor "
        "a .safetensors file"
    )


def weights_in(content: Any, path: Path) -> Weights:
    """Find the state dict in what a file holds.

    Raises:
        KdtoolError: There is none.
    """
    if isinstance(content, Mapping):
        # First, as a program may keep a tensor of its own beside them, such as the epoch.
        for place in PLACES + AVERAGED:
            if isinstance(content.get(place), Mapping):
                return weights_in(content[place], path)
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    given = list(content) if isinstance(content, Mapping) else type(content).__name__
    raise KdtoolError(
        f"{path} holds no weights but {str(given)[:80]}; expected a state dict, or one under "
        f"{', '.join(PLACES + AVERAGED)}"
    )


def fit_weights(
    network: nn.Module,
    weights: Weights,
    num_logits: int,
    source: str,
    *,
    head: Literal["fits", "may fit", "drawn"],
) -> list[str]:
    """Load weights into a network, in place.

    All must fit by name and shape, but for the head and the first convolution: from colour to grey
    its filters are added up, from grey to colour each channel has a third.

    Args:
        network: Of freshly drawn weights.
        weights: By name; what wrappers put before the names is cut off.
        num_logits: Outputs of the network.
        source: Of the weights, for messages.
        head: Whether it must fit as well, or stays as it was drawn where it does not, or always,
            as its outputs stand for something else.

    Returns:
        What was not taken as it is, in words.

    Raises:
        KdtoolError: They are of another architecture.
    """
    own = network.state_dict()
    given = dict(max(without_prefixes(weights), key=lambda named: len(named.keys() & own.keys())))
    notes = []
    first = first_convolution(network)
    if first and _only_channels_differ(given.get(f"{first}.weight"), own[f"{first}.weight"]):
        there, here = given[f"{first}.weight"].shape[1], own[f"{first}.weight"].shape[1]
        given[f"{first}.weight"] = adapt_channels(given[f"{first}.weight"], here)
        how = "were added up" if here == 1 else "serve each of them"
        notes.append(f"{first} is for {there} channels there and {here} here: its filters {how}")
    given |= {
        name: value
        for name, value in own.items()
        if name.endswith("num_batches_tracked") and name not in given
    }
    outputs = ""
    if head == "drawn" or not all(_fits(given.get(name), own[name]) for name in own):
        last = [name for name in own if name.startswith(f"{head_name(network, num_logits)}.")]
        if head == "drawn" or not all(_fits(given.get(name), own[name]) for name in last):
            outputs = f"{given[last[0]].shape[0]} outputs" if last[0] in given else "none"
            notes.append(f"all but the head was taken ({outputs} there, {num_logits} outputs here)")
            given |= {name: own[name] for name in last}
    _check_names(network, own, given, source)
    if outputs and head == "fits":
        raise KdtoolError(
            f"{source}: its head has {outputs}, expected {num_logits}, as a trained teacher needs; "
            "name in teacher.classes what they stand for, or give it epochs to train a new head"
        )
    own.update(given)  # not the other way round: some networks look for the version in `own`
    network.load_state_dict(own)
    return notes


def adapt_channels(filters: Tensor, channels: int) -> Tensor:
    """Return first filters `(O, I, h, w)` for another number of channels, 1 or 3.

    A grey image gets the answer that it had as a colour image of three equal channels.
    """
    if channels == 1:
        return filters.sum(dim=1, keepdim=True)
    return filters.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1) / channels


def without_prefixes(weights: Weights) -> Iterator[Weights]:
    """Yield the weights under the names that they have, and under shorter ones."""
    yield weights
    for prefix in PREFIXES:
        if inside := {
            name.removeprefix(prefix): value
            for name, value in weights.items()
            if name.startswith(prefix)
        }:
            yield from without_prefixes(inside)


def _fits(given: Tensor | None, own: Tensor) -> bool:
    return given is not None and given.shape == own.shape


def _only_channels_differ(given: Tensor | None, own: Tensor) -> bool:
    if given is None or given.ndim != 4 or own.ndim != 4:
        return False
    shapes = [(shape[0], *shape[2:]) for shape in (given.shape, own.shape)]
    return shapes[0] == shapes[1] and {given.shape[1], own.shape[1]} == {1, 3}


def _check_names(network: nn.Module, own: Weights, given: Weights, source: str) -> None:
    shared = own.keys() & given.keys()
    problems = {
        "missing": sorted(own.keys() - given.keys()),
        "unknown": sorted(given.keys() - own.keys()),
        "of another shape": sorted(name for name in shared if not _fits(given[name], own[name])),
    }
    told = [
        f"{len(names):,} {what} ({', '.join(names[:NUM_TOLD])}{', ...' * (len(names) > NUM_TOLD)})"
        for what, names in problems.items()
        if names
    ]
    if told:
        raise KdtoolError(
            f"{source} holds weights of another architecture than {type(network).__name__}: of its "
            f"{len(own):,} tensors {'; '.join(told)}; name the network that they were trained in "
            "as `model`"
        )
