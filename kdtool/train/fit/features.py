"""Phases in which only the head learns: what is in front of it sees each image once.

The network is cut where the first part that learns, or that draws at random, takes its input. What
is in front of the cut gives the same for an image in every epoch; the steps train what is behind.
"""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from kdtool.errors import KdtoolError
from kdtool.format import file_size, keyboard_text
from kdtool.train.data.images import fits
from kdtool.train.data.splits import Split, Splits
from kdtool.train.fit.augment import view_maker
from kdtool.train.fit.batches import Batch, MakeBatch, Training, batch_maker, smoothed, view_number
from kdtool.train.fit.optimizer import freeze, trained_parts
from kdtool.train.models.device import Precision, autocast, exact_arithmetic
from kdtool.train.models.networks import ImageShape
from kdtool.train.models.predict import images_at_once, predict
from kdtool.train.models.preprocess import network_of
from kdtool.train.models.weights import head_name

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


@dataclass(frozen=True, slots=True)
class Learner:
    """What the steps of a phase run, and how the model is validated after its epochs."""

    network: nn.Module  # the model, or its part that learns
    make_batch: MakeBatch  # with images, or with what the frozen part makes of them
    sees_images: bool
    validate: Callable[[nn.Module], Tensor]  # logits `(V, C * S)` of the learned model


def learner_of(
    model: nn.Module,
    splits: Splits,
    training: Training,
    train: str,
    precision: Precision,
    folder: Path,
    warn: Callable[[str], None],
) -> Learner:
    """Return what is run in a phase: the model, or what is behind its frozen trunk.

    Args:
        model: With the modes of training, and frozen.
        splits: On its device.
        training: Its settings.
        train: Parts that learn, as in the recipe.
        precision: Of the steps.
        folder: For a file of features that take more memory than they may.
        warn: Is told if there is no room for the features.
    """
    num_classes = len(splits.classes)
    num_logits = training.num_logits or num_classes
    whole = Learner(
        model,
        batch_maker(splits.train, training, num_classes),
        sees_images=True,
        validate=lambda learned: predict(learned, splits.validation),
    )
    num_views = training.num_views
    if num_views is None or not is_head(model, train, num_logits):
        return whole
    cut = cut_of(model, splits.result.image_shape, splits.train.device)
    if cut is None:
        return whole
    features = room_for(cut, num_views, splits.train, training, precision, folder)
    if features is None:
        size = file_size(num_views * len(splits.train) * 4 * torch.Size(cut.shape).numel())
        warn(
            f"what the frozen layers make of the images takes {keyboard_text(size)}: neither the "
            f"memory nor {folder} has room, so the images pass them in each epoch"
        )
        return whole
    return Learner(
        cut.rest,
        feature_batches(features, splits.train, training, num_classes),
        sees_images=False,
        validate=whole.validate
        if training.table.ema
        else validation_of(model, splits, training.memory),
    )


def is_head(model: nn.Module, train: str, num_logits: int) -> bool:
    """Return whether the head alone learns."""
    if train == "all":
        return False
    network = network_of(model)
    try:
        head = network.get_submodule(head_name(network, num_logits))
    except KdtoolError:
        return False
    return all(part is head for part in trained_parts(model, train, num_logits))


@lru_cache(maxsize=8)
def has_cut(
    network: nn.Module, trains: frozenset[str], num_logits: int, image_shape: ImageShape
) -> bool:
    """Return whether there is a phase in which the head of a network learns from features.

    Args:
        network: On the CPU, with any weights. It is not changed.
        trains: Parts that learn in each of its phases.
        num_logits: Length of its logits.
        image_shape: C, H, W.
    """
    train = next((one for one in trains if is_head(network, one, num_logits)), None)
    if train is None:
        return False
    copied = copy.deepcopy(network)
    frozen = freeze(copied.train(), train, num_logits)
    for module in frozen:
        module.eval()
    return cut_of(copied, image_shape, torch.device("cpu")) is not None


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


@dataclass
class Features:
    """What a trunk makes of every view of every image."""

    fill: Callable[[int], Iterator[Tensor]]  # number of a view -> values of its images, in order
    values: Tensor  # (K * N, ...), on any device, in memory or a file
    num_images: int
    device: torch.device  # of batches
    is_channels_last: bool
    known: set[int] = field(default_factory=set)  # views

    def of(self, index: Tensor, view: int) -> Tensor:
        """Return the features `(B, ...)` of some images, computed when a view is first needed."""
        first = view * self.num_images
        if view not in self.known:
            row = first
            for part in self.fill(view):
                self.values[row : row + len(part)] = part
                row += len(part)
            self.known.add(view)
        rows = (index + first).to(self.values.device)
        found = self.values.index_select(0, rows).to(self.device)
        if self.is_channels_last:
            found = found.contiguous(memory_format=torch.channels_last)
        return found


def room_for(
    cut: Cut,
    num_views: int,
    train: Split,
    training: Training,
    precision: Precision,
    folder: Path,
) -> Features | None:
    """Return where the features of all images will be; None: there is no room for them.

    Images are taken in their order and in batches of the size of a step, whichever epoch asks
    first: a training that is resumed gets the same bits.
    """
    view, device = view_maker(train, training.augment), train.device

    @torch.no_grad()
    def fill(number: int) -> Iterator[Tensor]:
        index = torch.arange(len(train), device=device)
        parts = torch.split(index, training.table.batch_size)
        for at, part in enumerate(parts, start=1):
            pixels, _ = train.batch(part)
            train.expect(parts[at % len(parts)])
            images = view(pixels, part, number).contiguous(memory_format=torch.channels_last)
            with autocast(device, precision):
                features: Tensor = cut.trunk(images)
            yield features

    with torch.no_grad(), autocast(device, precision):
        first = torch.arange(min(2, len(train)), device=device)
        example: Tensor = cut.trunk(view(train.batch(first)[0], first, 0))
    shape = (num_views * len(train), *cut.shape)
    values = _empty(shape, example.dtype, device, training.memory, folder)
    if values is None:
        return None
    last = example.ndim == 4 and example.is_contiguous(memory_format=torch.channels_last)
    return Features(fill, values, len(train), device, is_channels_last=last)


def _empty(
    shape: tuple[int, ...],
    dtype: torch.dtype,
    device: torch.device,
    memory: str | None,
    folder: Path,
) -> Tensor | None:
    """Return a tensor on the device, else in memory, else in a file that has no name any more."""
    count = torch.Size(shape).numel()
    num_bytes = count * dtype.itemsize
    if device.type == "cuda" and 2 * num_bytes < torch.cuda.mem_get_info(device)[0]:
        return torch.empty(shape, dtype=dtype, device=device)
    if fits(num_bytes, memory):
        return torch.empty(shape, dtype=dtype)
    if not hasattr(os, "posix_fallocate"):
        return None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder, prefix=".features") as scratch:
            path = Path(scratch) / "features"
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, num_bytes)
            return torch.from_file(str(path), shared=True, size=count, dtype=dtype).view(shape)
    except OSError:  # no room
        return None


def feature_batches(
    features: Features, train: Split, training: Training, num_classes: int
) -> MakeBatch:
    """Return the function that makes the batch of a step, with features in place of images.

    Args:
        features: Of the train images.
        train: The images.
        training: Its label smoothing and views.
        num_classes: C.
    """
    view_of_step, smoothing = view_number(train, training), training.table.label_smoothing

    def make(number: int, index: Tensor) -> Batch:
        view, targets = view_of_step(number), train.labels.index_select(0, index)
        if smoothing:
            targets = smoothed(targets, smoothing, num_classes)
        return Batch(features.of(index, view), targets, index, number, view)

    return make


def validation_of(
    model: nn.Module, splits: Splits, memory: str | None
) -> Callable[[nn.Module], Tensor]:
    """Return the function that gives the logits of the validation images after an epoch.

    The batches are those of `predict`, so that the bits are too.

    Args:
        model: That learns; as of `learner_of`.
        splits: On its device.
        memory: `data.memory`.
    """
    validation = splits.validation
    with evaluating(model):
        cut = cut_of(model, splits.result.image_shape, validation.device)
    size = images_at_once(model, validation)
    known: list[Tensor] = []  # of all images, after the first epoch

    def logits(learned: nn.Module) -> Tensor:
        count = len(validation) * (torch.Size(cut.shape).numel() if cut else 0)
        if cut is None or not fits(4 * count, memory):
            return predict(learned, validation)
        with evaluating(learned), exact_arithmetic(), torch.no_grad():
            if not known:
                known.append(predict(cut.trunk, validation))
            # A copy, as the rest may work in place.
            return torch.cat([cut.rest(part.clone()) for part in torch.split(known[0], size)])

    return logits


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Have a model in eval mode within the block."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, was in modes:
            module.training = was
