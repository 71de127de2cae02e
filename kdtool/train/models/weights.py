"""Weights fitted to a network: by name and shape, with another head or first convolution."""

import re
from collections import Counter
from typing import Literal

from torch import Tensor, nn

from kdtool.errors import KdtoolError
from kdtool.train.models.networks import first_convolution
from kdtool.train.models.weights_file import Weights


def head_name(network: nn.Module, num_logits: int) -> str:
    """Return the dotted name of the layer that computes the logits.

    It is the last linear layer or 1x1 convolution with that many outputs, in the order of
    `named_modules`.

    Raises:
        KdtoolError: There is no such layer.
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


# What wrappers put before the names: DataParallel, torch.compile, Lightning, our preprocessing.
USUAL_PREFIX = re.compile(r"((module|_orig_mod|model|network)\.)*")
# Where mmpretrain keeps the head of a network that it calls `backbone`.
HEADS = ("head.", "cls_head.")
# Tensors of files that are ignored: the counters of thop, and the heads that GoogLeNet and
# Inception have for training only.
SURPLUS = re.compile(r"(.*\.)?total_(ops|params)|(aux1|aux2|AuxLogits)\..*")
# Until 2018 torchvision's DenseNet named its layers norm.1 and conv.2.
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")
NUM_NAMED = 3  # tensors, in a message


def fit_weights(
    network: nn.Module,
    weights: Weights,
    num_logits: int,
    source: str,
    *,
    head: Literal["fits", "may fit", "drawn"],
) -> list[str]:
    """Load weights into a network, in place.

    All tensors must fit by name and shape, except those of the head and of the first convolution:
    from colour to grey its filters are added up, from grey to colour each channel gets a third.

    Args:
        network: With random initial weights.
        weights: By name; `named_as_in` removes prefixes.
        num_logits: Outputs of the network.
        source: Of the weights, for messages.
        head: "fits": it must fit as well; "may fit": it keeps its initial weights where it does
            not; "drawn": it always does, as its outputs have another meaning.

    Returns:
        What was adapted or left out, as sentences for the user.

    Raises:
        KdtoolError: The weights are of another architecture.
    """
    own = network.state_dict()
    given = named_as_in(own, weights, source)
    notes = []
    first = first_convolution(network)
    if first and _only_channels_differ(given.get(f"{first}.weight"), own[f"{first}.weight"]):
        there, here = given[f"{first}.weight"].shape[1], own[f"{first}.weight"].shape[1]
        given[f"{first}.weight"] = adapt_channels(given[f"{first}.weight"], here)
        how = "were added up" if here == 1 else "are divided among them"
        notes.append(
            f"{first} has {there} input channels in the file and {here} here: its filters {how}"
        )
    given |= {
        name: value
        for name, value in own.items()
        if name.endswith("num_batches_tracked") and name not in given
    }
    outputs = ""
    if head == "drawn" or not all(_fits(given.get(name), own[name]) for name in own):
        last = [name for name in own if name.startswith(f"{head_name(network, num_logits)}.")]
        if head == "drawn" or not all(_fits(given.get(name), own[name]) for name in last):
            in_file = given.get(last[0])
            if in_file is not None and in_file.ndim == 0:
                raise KdtoolError(
                    f"{source} is damaged: its {last[0]} is a single number, expected "
                    f"{own[last[0]].ndim} axes; copy or save it again"
                )
            outputs = "no head" if in_file is None else f"{in_file.shape[0]} outputs"
            notes.append(
                f"all layers but the head are loaded ({outputs} in the file, {num_logits} outputs "
                "here)"
            )
            given |= {name: own[name] for name in last}
    _check_names(network, own, given, source)
    if outputs and head == "fits":
        raise KdtoolError(
            f"{source}: got a head with {outputs}, expected {num_logits} outputs of a trained "
            "teacher; list the classes of its outputs in teacher.classes, or set epochs to train a "
            "new head"
        )
    own.update(given)  # not the other way round: some networks look for the version in `own`
    network.load_state_dict(own)
    return notes


def adapt_channels(filters: Tensor, channels: int) -> Tensor:
    """Return filters `(O, I, h, w)` of a first convolution for another number of channels, 1 or 3.

    A grey image gets the same output as a colour image of three equal channels did.
    """
    if channels == 1:
        return filters.sum(dim=1, keepdim=True)
    return filters.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1) / channels


def named_as_in(own: Weights, weights: Weights, source: str) -> dict[str, Tensor]:
    """Return weights by the names of a network, without what wrappers put before them.

    Any prefix that ends with a dot may be cut off; it is the one under which most tensors have the
    name and shape of a tensor of the network. Tensors without that prefix, such as those of a loss,
    are left out.

    Args:
        own: State dict of the network.
        weights: State dict of the file.
        source: Of the weights, for messages.

    Raises:
        KdtoolError: The file holds the network twice, and neither copy under a usual prefix.
    """
    current = {
        name if name in own else OLD_DENSENET.sub(r"\1\2.", name): value
        for name, value in weights.items()
    }
    found: Counter[str] = Counter({"": 0})
    for name, value in current.items():
        for start in (0, *(dot.end() for dot in re.finditer(r"\.", name))):
            if name[start:] in own:
                # A shape says more than a name: "0.weight" is the name of many.
                found[name[:start]] += 3 if _fits(value, own[name[start:]]) else 1
    most = max(found.values())
    best = [prefix for prefix in found if found[prefix] == most]
    usual = [prefix for prefix in best if USUAL_PREFIX.fullmatch(prefix)]
    if len(best) > 1 and not usual and most > 3 * len(own) / 2:
        raise KdtoolError(
            f"{source} holds the network {len(best)} times, under the prefixes {', '.join(best)}; "
            "write the one to use to a file of its own"
        )
    prefix = min(usual or best, key=len)
    given = {name.removeprefix(prefix): v for name, v in current.items() if name.startswith(prefix)}
    if prefix.endswith("backbone."):
        parent = prefix.removesuffix("backbone.")
        for head in HEADS:
            missing = own.keys() - given.keys()
            given |= {
                n: current[parent + head + n] for n in missing if parent + head + n in current
            }
    return {n: value for n, value in given.items() if n in own or not SURPLUS.fullmatch(n)}


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
        "unexpected": sorted(given.keys() - own.keys()),
        "of another shape": sorted(name for name in shared if not _fits(given[name], own[name])),
    }
    listed = [
        f"{len(names):,} {what} ({_some(names)})" for what, names in problems.items() if names
    ]
    if listed:
        raise KdtoolError(
            f"{source} holds weights of another architecture than {type(network).__name__}, which "
            f"has {len(own):,} tensors: {'; '.join(listed)}; set `model` to the network that they "
            "were trained in"
        )


def _some(names: list[str]) -> str:
    return ", ".join([*names[:NUM_NAMED], *["..."] * (len(names) > NUM_NAMED)])
