"""A network in two parts: what is frozen, and what learns or draws at random behind it.

The frozen part gives the same for an image in every epoch.
"""

from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from kdtool.train.models.networks import ImageShape

NUM_CHECKED = 2  # images on which a cut network must give what the whole one gives
EXACT = 1e-4  # of the largest logit: the same operators in the same order
ALONE = 1e-2  # of the largest feature: batches of other sizes are summed in another order
# What code of a network's author raises that is traced, and cannot be.
UNTRACEABLE = (
    TraceError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Cut:
    """A network in two parts, made of its own layers: its logits are `rest(trunk(images))`."""

    trunk: fx.GraphModule  # gives the same for an image each time, whatever else is in the batch
    rest: fx.GraphModule  # has all that learns
    shape: tuple[int, ...]  # of what is between both, for one image


def cut_of(model: nn.Module, image_shape: ImageShape, device: torch.device) -> Cut | None:
    """Cut a network in front of all that learns or draws at random.

    Args:
        model: In the modes in which it is run, with what is frozen not requiring a gradient.
        image_shape: C, H, W.
        device: Of the model.

    Returns:
        None if it cannot be cut: its forward pass cannot be traced, more than one tensor passes the
        cut, images of a batch depend on each other, or the parts give other logits.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(NUM_CHECKED, *image_shape, generator=generator).to(device)
    images = images.contiguous(memory_format=torch.channels_last)
    gpus = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=gpus), torch.no_grad():
        torch.manual_seed(0)
        try:
            graph = _Around(model).trace(model)
            watched = _Watched(fx.GraphModule(model, graph), device)
            watched.run(images)
            place, (logits,) = _place_of_cut(model, graph, watched), graph.output_node().args
            if place is None or not isinstance(logits, fx.Node):
                return None
            trunk, rest = _part(model, graph, place), _part(model, graph, logits, place)
            return _checked(model, trunk, rest, images)
        except UNTRACEABLE:
            return None


class _Around(fx.Tracer):
    """Traces what is around the parts that learn; all other modules stay whole."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        learning = {id(one) for one in model.parameters() if one.requires_grad}
        self.around = {
            part
            for part in model.modules()
            if any(True for _ in part.children())
            and any(id(one) in learning for one in part.parameters())
        }

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Return whether a module is not traced into."""
        return m not in self.around


class _Watched(fx.Interpreter):
    """Runs a graph, and finds which nodes draw at random and what all of them give."""

    def __init__(self, module: fx.GraphModule, device: torch.device) -> None:
        super().__init__(module, garbage_collect_values=False)
        self.device = device
        self.drawing: set[fx.Node] = set()

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        before = self._random_state()
        value = super().run_node(n)
        if not torch.equal(before, self._random_state()):
            self.drawing.add(n)
        return value

    def _random_state(self) -> Tensor:
        state = torch.get_rng_state()
        if self.device.type == "cuda":
            state = torch.cat([state, torch.cuda.get_rng_state(self.device)])
        return state


def _place_of_cut(model: nn.Module, graph: fx.Graph, watched: _Watched) -> fx.Node | None:
    """Return the node whose value passes the cut; None: there is not one."""
    # The graph that was run is a copy.
    drawing = {node.name for node in watched.drawing}
    values = {node.name: value for node, value in watched.env.items()}
    behind: set[fx.Node] = set()
    passing: list[fx.Node] = []
    for node in graph.nodes:
        own = node.op == "output" or node.name in drawing or _learns(model, node)
        if own or not behind.isdisjoint(node.all_input_nodes):
            behind.add(node)
            before = (one for one in node.all_input_nodes if one not in behind)
            passing += [one for one in before if one.op != "get_attr" and one not in passing]
    if len(passing) != 1 or passing[0].op == "placeholder":
        return None
    value = values[passing[0].name]
    is_batch = isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1
    return passing[0] if is_batch and len(value) == NUM_CHECKED else None


def _learns(model: nn.Module, node: fx.Node) -> bool:
    if node.op == "call_module":
        part = model.get_submodule(str(node.target))
        return any(one.requires_grad for one in part.parameters())
    if node.op != "get_attr":
        return False
    value = attrgetter(str(node.target))(model)
    return isinstance(value, Tensor) and value.requires_grad


def _part(
    model: nn.Module, graph: fx.Graph, last: fx.Node, first: fx.Node | None = None
) -> fx.GraphModule:
    """Return the part of a network that computes `last`, from the images or the value of `first`.

    It has the modules of the network, and no copies of them.
    """
    needed, waiting = set[fx.Node](), [last]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting += [] if node is first else node.all_input_nodes
    copied, made = fx.Graph(), dict[fx.Node, fx.Node]()
    for node in graph.nodes:
        if node is first:
            made[node] = copied.placeholder("features")
        elif node in needed:
            made[node] = copied.node_copy(node, made.__getitem__)
    copied.output(made[last])
    return fx.GraphModule(model, copied)


def _checked(
    model: nn.Module, trunk: fx.GraphModule, rest: fx.GraphModule, images: Tensor
) -> Cut | None:
    """Return the parts if they give the logits of the whole, and the trunk sees each image alone.

    Draws are repeated: dropout must drop the same values in both.
    """

    def logits_by(network: nn.Module, given: Tensor) -> Tensor:
        torch.manual_seed(0)
        logits: Tensor = network(given)
        return logits

    features: Tensor = trunk(images)
    fewer: Tensor = trunk(images[: NUM_CHECKED // 2])
    whole, parts = logits_by(model, images), logits_by(rest, features.clone())
    if not _close(parts, whole, EXACT) or not _close(features[: len(fewer)], fewer, ALONE):
        return None
    return Cut(trunk, rest, tuple(features.shape[1:]))


def _close(one: Tensor, other: Tensor, tolerance: float) -> bool:
    if one.shape != other.shape:
        return False
    error: Tensor = (one - other).abs().max()
    return bool(error <= tolerance * other.abs().max())
