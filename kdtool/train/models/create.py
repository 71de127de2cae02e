"""Builds the model of a recipe table: the network, its weights and its preprocessing."""

import re
from pathlib import Path
from typing import Literal

from torch import nn

from kdtool.errors import KdtoolError, RecipeError, StudyError
from kdtool.files import sha256_of
from kdtool.recipe.training import Normalization, TrainTable
from kdtool.study.folder import Origin
from kdtool.train.models.checkpoint import load_facts
from kdtool.train.models.networks import ImageShape, build_model, shown_shape
from kdtool.train.models.onnx_teacher import OnnxTeacher
from kdtool.train.models.preprocess import Enlarge, Normalize, Prepared, network_of
from kdtool.train.models.published import IMAGENET_MEAN, IMAGENET_STD, Published, fetch, published
from kdtool.train.models.weights import fit_weights
from kdtool.train.models.weights_file import Weights, load_file_of_weights

# Where a checkpoint of a study has the values of `Normalize`.
PREPARED = re.compile(r"(?:.*\.)?prepare\.(?:\d+\.)?(mean|std)")

Values = tuple[tuple[float, ...], tuple[float, ...]]  # mean and deviation of the channels


def make_model(
    table: TrainTable,
    image_shape: ImageShape,
    num_logits: int,
    seed: int,
    recorded: Origin | None = None,
) -> nn.Module:
    """Return the model of `[teacher]` or `[student]` on the CPU, with random weights.

    Args:
        table: Names the network and its preprocessing.
        image_shape: C, H, W of the images.
        num_logits: Length of the logits.
        seed: Of the weights.
        recorded: What the study has recorded of the table's weights, in case their file is gone.

    Raises:
        KdtoolError: The network does not exist, does not take such images, or its weights are
            missing.
    """
    if table.is_onnx:
        return OnnxTeacher(table, image_shape)
    channels, height, width = image_shape
    side = table.input_size
    if side is not None and side < min(height, width):
        raise RecipeError(
            f"got input_size = {side} for images of {shown_shape(image_shape)}, expected at least "
            "their shorter side, as it only enlarges; set data.size to make images smaller"
        )
    steps: list[nn.Module] = []
    if side is not None:
        shorter = min(height, width)
        height, width = (round(length * side / shorter) for length in (height, width))
        steps.append(Enlarge(height, width))
    network = build_model(table.model, (channels, height, width), num_logits, seed)
    if normalization := _normalization(table, channels, recorded):
        steps.append(Normalize(*normalization))
    if not steps:
        return network
    prepare = steps[0] if len(steps) == 1 else nn.Sequential(*steps)
    return Prepared(prepare, network)


def load_pretrained(
    model: nn.Module, table: TrainTable, num_logits: int, *, new_head: bool = False
) -> list[str]:
    """Load the weights of a table into its model, in place; nothing if the table has none.

    Args:
        model: Of `make_model`.
        table: Its table.
        num_logits: Length of its logits.
        new_head: Whether its logits are not those of classes, so that no head of a file fits.

    Returns:
        What was adapted or left out, as sentences for the user.

    Raises:
        KdtoolError: They are not available, or do not fit.
    """
    if table.is_onnx or table.weights is None:
        return []
    weights, source = _weights(table), source_of(table)
    head: Literal["fits", "may fit", "drawn"] = "fits" if table.is_trained else "may fit"
    return fit_weights(
        network_of(model), weights, num_logits, source, head="drawn" if new_head else head
    )


def origin_of(table: TrainTable, recorded: Origin | None) -> Origin | None:
    """Return what identifies the weights of a table; None: it has none.

    Args:
        table: The table.
        recorded: What the study has recorded of them, used if their file is gone.

    Raises:
        KdtoolError: They do not exist.
    """
    if table.is_onnx or table.weights is None:
        return None
    if table.weights == "imagenet":
        known = _published(table)
        identity = f"{known.name} {known.url}"
        return Origin(
            name=known.name,
            identity=identity,
            network=table.model,
            normalization=(known.mean, known.std),
        )
    path = Path(table.weights)
    if recorded and recorded.name == path.name and not path.exists():
        return recorded
    try:
        identity = sha256_of(path)
    except OSError as error:
        raise KdtoolError(f"cannot read the weights {path}: {error.strerror}") from error
    return Origin(
        name=path.name,
        identity=identity,
        network=table.model,
        normalization=_of_file(table, path),
    )


def source_of(table: TrainTable) -> str:
    """Return the weights as text."""
    assert table.weights is not None, "called only if there are any"
    if table.weights != "imagenet":
        return Path(table.weights).name
    known = published(table.model)
    return f"the ImageNet weights {known.name}" if known else "ImageNet weights"


def _weights(table: TrainTable) -> Weights:
    assert table.weights is not None, "called only if there are any"
    if table.weights != "imagenet":
        return load_file_of_weights(Path(table.weights))
    return fetch(_published(table))


def _published(table: TrainTable) -> Published:
    known = published(table.model)
    if known is None:
        raise KdtoolError(
            f"no ImageNet weights exist for {table.model}, only for networks of torchvision and "
            'timm; set weights = "FILE" to a file of your own, or "none"'
        )
    return known


def is_checkpoint(path: Path) -> bool:
    """Return whether a file is a checkpoint of a study, which includes its preprocessing."""
    try:
        load_facts(path)
    except StudyError:
        return False
    return True


def _of_file(table: TrainTable, path: Path) -> Values | None:
    """Return the normalization of a file or, if it has none, the usual one of its network."""
    if is_checkpoint(path):
        found = {
            place[1]: tuple(value.flatten().tolist())
            for name, value in load_file_of_weights(path).items()
            if (place := PREPARED.fullmatch(name))
        }
        return (found["mean"], found["std"]) if found.keys() >= {"mean", "std"} else None
    known = published(table.model)
    return (known.mean, known.std) if known else None


def _normalization(table: TrainTable, channels: int, recorded: Origin | None) -> Values | None:
    """Return mean and standard deviation of the channels; None: no normalization."""
    wanted = table.normalize
    if isinstance(wanted, Normalization):
        mean, std = tuple(wanted.mean), tuple(wanted.std)
        if not {len(mean), len(std)} <= {1, channels}:
            raise RecipeError(
                f"got normalize with {len(mean)} means and {len(std)} standard deviations, "
                f"expected {channels}, one for each channel, or 1"
            )
        return mean, std
    values: Values | None = None
    if wanted == "imagenet":
        values = IMAGENET_MEAN, IMAGENET_STD
    elif wanted == "weights" and (origin := origin_of(table, recorded)):
        values = origin.normalization
    if values is None or len(values[0]) in {1, channels}:
        return values
    mean, std = values
    return (sum(mean) / len(mean),), (sum(std) / len(std),)
