"""Running statistics that belong to the weights which are validated and exported.

In training, BatchNorm normalizes by the statistics of the batch; in eval mode by a moving average
over the steps so far. With the momentum of 0.01 that MobileNetV3 and EfficientNet have, or 0.0003
as MNASNet, that average still describes the weights of some hundred steps ago, which a small study
never outgrows: such a model trains well and answers by chance. So the statistics are computed again
from the final weights of an epoch, before its validation.
"""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from kdtool.stats.chance import balanced_accuracy
from kdtool.stats.intervals import mcnemar_p
from kdtool.stats.metrics import confusion_matrix
from kdtool.train.data.splits import Split
from kdtool.train.fit.augment import augment, view_maker
from kdtool.train.fit.batches import Training, epoch_order
from kdtool.train.models.device import exact_arithmetic, explain_out_of_memory
from kdtool.train.models.networks import as_input
from kdtool.train.models.predict import SMALLER, class_logits, images_at_once
from kdtool.train.models.preprocess import network_of
from kdtool.train.ranks.group import ALONE, Ranks

NUM_IMAGES = 512  # 256 to 800 gave MobileNetV3 the same accuracy to a point
FAR_WORSE = 0.1  # difference of the balanced accuracy, in [0, 1]
LEVEL = 0.001  # of McNemar's test


def norm_layers(model: nn.Module) -> list[str]:
    """Return the names of the layers with running statistics that training updates.

    Args:
        model: In train mode, except what is frozen, which keeps the statistics that it has.
    """
    return [
        name
        for name, layer in model.named_modules()
        if isinstance(layer, _NormBase) and layer.training and layer.running_mean is not None
    ]


def sample(train: Split, training: Training) -> Tensor:
    """Return the positions of at most `NUM_IMAGES` training images, the same in every epoch.

    They are drawn as an epoch's images are, balanced where `sampling` is, so that the proportions
    of the classes are those of training. The draw depends on the seed alone: control and student
    of a seed get statistics over the same images.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        return epoch_order(train, training.table.sampling)[:NUM_IMAGES]


def images_of(
    train: Split, index: Tensor, size: int, training: Training, ranks: Ranks = ALONE
) -> Iterator[Tensor]:
    """Yield images `(B, C, H, W)` in [0, 1], augmented as in training but not mixed.

    Mixed images are left out since no image that is validated is mixed: a blend of two has less
    variance than either.

    Args:
        train: The images.
        index: `(N,)` positions in `train`.
        size: The largest B, 3 where it is less: BatchNorm has no variance over a single image.
            Batches differ by one image at most, so that all weigh alike.
        training: Seed and augmentation.
        ranks: That take the batches in turn.
    """
    num_batches = max(1, min(-(-len(index) // size), len(index) // 2))
    view = view_maker(train, training.augment)
    for number, part in enumerate(index.tensor_split(num_batches)):
        if number % ranks.count != ranks.number:
            continue
        pixels = train.batch(part)[0]
        if training.views:
            images = view(pixels, part, number % training.views)
        elif training.augment:
            # A third number keeps these draws apart from those of the steps, which have two.
            rng = np.random.default_rng([training.seed, number, 1])
            images = augment(as_input(pixels), training.augment, rng)
        else:
            images = as_input(pixels)
        yield images.contiguous(memory_format=torch.channels_last)


def statistics_of(
    names: list[str], train: Split, training: Training
) -> Callable[[nn.Module], None]:
    """Return what recomputes the statistics of a model; it does nothing if there are no names.

    Args:
        names: Of `norm_layers`.
        train: The images.
        training: Seed, sampling and augmentation.
    """
    if not names:
        return lambda _model: None
    index = sample(train, training)

    def refresh(model: nn.Module) -> None:
        size = images_at_once(model, train)
        with explain_out_of_memory(size, train.image_shape, SMALLER):
            batches = images_of(train, index, size, training, training.ranks)
            num_batches = recompute_statistics(model, names, batches)
        training.ranks.average(running_statistics(model, names), num_batches)

    return refresh


def running_statistics(model: nn.Module, names: Iterable[str]) -> Iterator[Tensor]:
    """Yield the running means and variances of some layers."""
    for name in names:
        layer = model.get_submodule(name)
        yield from (layer.get_buffer("running_mean"), layer.get_buffer("running_var"))


@torch.no_grad()
def recompute_statistics(model: nn.Module, names: Iterable[str], batches: Iterable[Tensor]) -> int:
    """Replace running means and variances by their averages over some batches, in place.

    As `torch.optim.swa_utils.update_bn` does, the mean and the unbiased variance of each batch
    count alike. Different from it: only the named layers are in train mode, so that dropout and
    stochastic depth, which are off when the model is evaluated, do not add to the variance;
    frozen layers, and layers that run in training only (auxiliary heads), keep what they have.

    Args:
        model: Left in eval mode.
        names: Of `norm_layers`; if there are none, nothing is computed.
        batches: Images `(B, C, H, W)` in [0, 1], on the model's device.

    Returns:
        The number of batches.

    Source: Wu and Johnson 2021, arXiv:2105.07576, section 3; for dropout, Li et al. 2018,
    arXiv:1801.05134.
    """
    layers = [model.get_submodule(name) for name in names]
    if not layers:
        return 0
    num_batches = 0
    calls: Counter[nn.Module] = Counter()

    def average(layer: nn.Module, _inputs: object) -> None:
        assert isinstance(layer, _NormBase)
        if not calls[layer]:
            layer.reset_running_stats()  # a statistic that is not finite would stay so
        calls[layer] += 1  # of each call: a layer may be used twice in one pass
        layer.momentum = 1 / calls[layer]

    model.eval()
    momenta = {layer: layer.momentum for layer in layers}
    hooks = [layer.register_forward_pre_hook(average) for layer in layers]
    for layer in layers:
        layer.train()
    try:
        with exact_arithmetic():
            for images in batches:
                model(images)
                num_batches += 1
    finally:
        for hook in hooks:
            hook.remove()
        for layer, momentum in momenta.items():
            layer.momentum = momentum
        model.eval()
    return num_batches


@torch.no_grad()
def mode_warning(
    model: nn.Module, train: Split, training: Training, num_classes: int
) -> str | None:
    """Return a warning if a model is far worse in eval mode than in train mode; None: it is not.

    Both are measured on the same training images. Dropout is on in train mode, so a model that is
    far worse in eval mode has running statistics that do not fit its weights.

    Args:
        model: Its trained weights, with each layer in the mode in which it was trained; left in
            eval mode.
        train: The images.
        training: Seed, sampling, augmentation and batch size.
        num_classes: C.
    """
    if not any(True for _ in network_of(model).buffers()):
        return None  # without buffers there are no statistics
    index = sample(train, training)
    size = min(training.table.batch_size, images_at_once(model, train))
    as_trained = copy.deepcopy(model)  # a forward pass in train mode changes the statistics

    def predicted(network: nn.Module) -> NDArray[np.int64]:
        logits = [network(images) for images in images_of(train, index, size, training)]
        found: NDArray[np.int64] = (
            class_logits(torch.cat(logits), num_classes).argmax(1).cpu().numpy()
        )
        return found

    labels = train.labels[index].cpu().numpy()
    with torch.random.fork_rng(devices=[index.device] if index.is_cuda else []):
        torch.manual_seed(training.seed)  # of dropout
        in_train, in_eval = predicted(as_trained), predicted(model.eval())
    (trained, _), (evaluated, _) = (
        balanced_accuracy(confusion_matrix(labels, found, num_classes).tolist())
        for found in (in_train, in_eval)
    )
    by_chance = mcnemar_p(in_train == labels, in_eval == labels) >= LEVEL
    if trained - evaluated <= FAR_WORSE or by_chance:
        return None
    return (
        f"it recognizes {evaluated:.1%} of its own training images in eval mode, in which it is "
        f"validated and exported, but {trained:.1%} in train mode: the running statistics of a "
        "layer do not fit its weights. Try a larger batch_size or a lower learning_rate; in a "
        "network of yours, use torch's own BatchNorm, as its statistics are recomputed before each "
        "validation"
    )
