"""Weights that PyTorch and timm publish: where they are, and for which images they were trained."""

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from kdtool.errors import KdtoolError
from kdtool.train.data.published.download import waiting_no_longer
from kdtool.train.models.networks import AUXILIARY, timm, torchvision_models
from kdtool.train.models.weights_file import Weights, load_file_of_weights

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Published:
    """The weights of one network."""

    name: str  # of the file, or of the network at its hub
    url: str
    mean: tuple[float, ...]  # of the channels, for pixels in [0, 1]
    std: tuple[float, ...]
    side: int  # pixels, of the images that they were trained on
    place: Path | None  # of the file, once it is downloaded; None: its hub knows
    download: Callable[[], Weights]


def published(model: str) -> Published | None:
    """Return the published ImageNet weights of a network; None: there are none."""
    kind, _, name = model.partition(":")
    if kind == "torchvision":
        return _of_torchvision(name)
    return _of_timm(name) if kind == "timm" else None


def fetch(weights: Published) -> Weights:
    """Return published weights, downloaded once, and checked by their hash then.

    Raises:
        KdtoolError: They cannot be downloaded.
    """
    if weights.place and weights.place.exists():
        try:
            return load_file_of_weights(weights.place)
        except KdtoolError as error:
            raise KdtoolError(f"{error}; delete it to download it again") from error
    try:
        with waiting_no_longer():
            return weights.download()
    except Exception as error:  # hubs raise errors of many kinds
        reason = getattr(error, "reason", None) or str(error).strip() or type(error).__name__
        put = f"put the file at {weights.place}, or name it" if weights.place else "name their file"
        raise KdtoolError(
            f"cannot get the ImageNet weights {weights.name} from {weights.url}: {reason}; repeat "
            f'the command where that can be reached, {put}: weights = "FILE"; '
            "--set teacher.weights=none and --set student.weights=none train from scratch"
        ) from error


def _of_torchvision(name: str) -> Published | None:
    weights: Any = torchvision_models().get_model_weights(name)
    if not len(weights):
        return None
    best = weights.DEFAULT
    images = best.transforms()
    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(best.url).name

    def download() -> Weights:
        # It prints to stdout, and without `weights_only` a cached file could run code.
        with contextlib.redirect_stdout(sys.stderr):
            best.get_state_dict(progress=True, check_hash=True, weights_only=True)
        return load_file_of_weights(place)

    # Trained on -1 to 1; torchvision normalizes as for its other networks and has these two undo
    # it (`transform_input`).
    halves = (0.5, 0.5, 0.5) if name in AUXILIARY else None
    return Published(
        name=place.name,
        url=best.url,
        mean=halves or tuple(images.mean),
        std=halves or tuple(images.std),
        side=images.crop_size[0],
        place=place,
        download=download,
    )


@lru_cache(maxsize=8)  # keeps what was downloaded
def _of_timm(name: str) -> Published | None:
    config = timm().get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        return None
    hub = config.hf_hub_id

    @lru_cache(maxsize=1)
    def download() -> Weights:
        state: Weights = timm().create_model(name, pretrained=True).state_dict()
        return state

    return Published(
        name=name,
        url=f"huggingface.co/{hub}" if hub else config.url,
        mean=tuple(config.mean),
        std=tuple(config.std),
        side=config.input_size[-1],
        place=None,
        download=download,
    )
