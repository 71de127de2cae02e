"""Pictures of the images that stand in two splits, or nearly so, beside their twins."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdtool.files import replaced
from kdtool.record import Record
from kdtool.results import DataResult
from kdtool.study import key_of
from kdtool.train.data.splits import Splits
from kdtool.train.run import Run

LONGEST_SIDE = 96  # pixels, of a thumbnail


class DuplicateImages(Record):
    """Where the pictures lie."""

    path: str  # relative to the study


def with_duplicate_images(run: Run) -> DataResult:
    """Write the images that `duplicates` and `near_duplicates` list, and say where they are.

    Returns:
        The result of the data; as it is if it lists none.
    """
    result, path = run.splits.result, run.study.folder / "predictions" / "duplicates.npz"
    if not result.duplicates and not result.near_duplicates:
        return result

    def make() -> tuple[DuplicateImages, list[Path]]:
        exact = pairs(run.splits, result.duplicates)
        near = pairs(run.splits, result.near_duplicates)
        with replaced(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, exact=exact, near=near)
        return DuplicateImages(path=path.relative_to(run.study.folder).as_posix()), [path]

    key = key_of("duplicates", run.fingerprint, result.duplicates, result.near_duplicates)
    stage = run.study.stage("duplicates", key, DuplicateImages, make)
    return result.model_copy(update={"duplicate_images": stage.path})


def pairs(splits: Splits, listed: Sequence[tuple[str, int, str, int]]) -> NDArray[np.uint8]:
    """Return each listed image and its twin, `(K, 2, H, W, C)`, no side above 96 pixels.

    Args:
        splits: All images.
        listed: K times split, index, and split and index of the twin.
    """
    of_split = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    shown = [
        thumbnail(of_split[split].images[index].permute(1, 2, 0).cpu().numpy())
        for first, place, other, twin in listed
        for split, index in ((first, place), (other, twin))
    ]
    if not shown:
        return np.empty((0, 2, 1, 1, 1), dtype=np.uint8)
    return np.stack(shown).reshape(len(listed), 2, *shown[0].shape)


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return an image `(H, W, C)` scaled down to a longest side of 96 pixels, if it is longer."""
    image = Image.fromarray(pixels.squeeze(2) if pixels.shape[2] == 1 else pixels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return np.asarray(image).reshape(image.height, image.width, pixels.shape[2])
