"""Phases in which only the head learns: the frozen layers in front of it see each image once."""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from torch import Tensor, nn

from kdtool.errors import KdtoolError
from kdtool.files import signals_wait
from kdtool.format import file_size, keyboard_text
from kdtool.train.data.images import fits
from kdtool.train.data.splits import Split, Splits
from kdtool.train.fit.augment import view_maker
from kdtool.train.fit.batches import Batch, MakeBatch, Training, batch_maker, smoothed, view_number
from kdtool.train.fit.cut import Cut, cut_of
from kdtool.train.fit.optimizer import freeze, trained_parts
from kdtool.train.models.device import Precision, autocast, exact_arithmetic
from kdtool.train.models.networks import ImageShape
from kdtool.train.models.predict import images_at_once, together
from kdtool.train.models.preprocess import network_of
from kdtool.train.models.weights import head_name


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
        validate=lambda learned: together(learned, splits.validation, training.ranks),
    )
    num_views = training.num_views
    if num_views is None or not is_head(model, train, num_logits):
        return whole
    cut = cut_of(model, splits.result.image_shape, splits.train.device)
    if cut is None:
        return whole
    features = room_for(cut, num_views, splits.train, training, precision, folder)
    has_room = all(training.ranks.gathered(features is not None))  # all do the same
    if features is None or not has_room:
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
        validate=whole.validate if training.table.ema else validation_of(model, splits, training),
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
        with ExitStack() as stack:
            with signals_wait():
                # No folder of its own: NFS keeps a mapped file, by another name, and so its folder.
                file = stack.enter_context(NamedTemporaryFile(dir=folder, prefix=".features"))
            os.posix_fallocate(file.fileno(), 0, num_bytes)
            return torch.from_file(file.name, shared=True, size=count, dtype=dtype).view(shape)
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
        own = index[training.read(len(index))]
        return Batch(features.of(own, view), targets, index, number, view)

    return make


def validation_of(
    model: nn.Module, splits: Splits, training: Training
) -> Callable[[nn.Module], Tensor]:
    """Return the function that gives the logits of the validation images after an epoch.

    The batches are those of `predict`, so that the bits of one rank are too.

    Args:
        model: That learns; as of `learner_of`.
        splits: On its device.
        training: Its settings.
    """
    validation, ranks = splits.validation, training.ranks
    with evaluating(model):
        cut = cut_of(model, splits.result.image_shape, validation.device)
    size = images_at_once(model, validation)
    count = len(validation) * (torch.Size(cut.shape).numel() if cut else 0)
    has_room = all(ranks.gathered(fits(4 * count, training.memory)))
    known: list[Tensor] = []  # of all images, after the first epoch

    def logits(learned: nn.Module) -> Tensor:
        if cut is None or not has_room:
            return together(learned, validation, ranks)
        with evaluating(learned), exact_arithmetic(), torch.no_grad():
            if not known:
                known.append(together(cut.trunk, validation, ranks))
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
