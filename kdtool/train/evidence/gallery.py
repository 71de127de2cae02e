"""The test images that flips and subclasses speak of, in one file."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy.special import softmax

from kdtool.evidence import Flips, Gallery, GalleryImage, SubclassUse
from kdtool.files import replaced
from kdtool.record import Role
from kdtool.study import key_of
from kdtool.train.data.splits import Splits
from kdtool.train.evaluate import Evaluated
from kdtool.train.run import Run


def shown_images(flips: list[Flips], uses: list[SubclassUse]) -> set[int]:
    """Return all test images that the records speak of."""
    lists = [images for one in flips for images in (one.gained_images, one.lost_images)]
    lists += [images for use in uses for one in use.per_class for images in one.claimed]
    return {index for images in lists for index in images}


def gallery(run: Run, chosen: dict[Role, Evaluated], wanted: Iterable[int]) -> Gallery | None:
    """Write the wanted test images to a file and say what the exported models make of them.

    Args:
        run: The study.
        chosen: The exported model of each role.
        wanted: Test images in any order.

    Returns:
        Each image once, in ascending order; None if no image is wanted.
    """
    shown = sorted(set(wanted))
    if not shown:
        return None
    splits, path = run.splits, run.study.folder / "predictions" / "gallery.npz"

    def make() -> tuple[Gallery, list[Path]]:
        images = splits.test.images[shown].permute(0, 2, 3, 1).cpu().numpy()
        with replaced(path) as unfinished, unfinished.open("wb") as file:
            np.savez_compressed(file, images=images)
        relative = path.relative_to(run.study.folder).as_posix()
        return Gallery(path=relative, images=described(chosen, splits, shown)), [path]

    keys = {role: one.trained.key for role, one in chosen.items()}
    key = key_of("gallery", run.fingerprint, splits.result.groups, shown, keys)
    return run.study.stage("gallery", key, Gallery, make)


def described(
    chosen: dict[Role, Evaluated], splits: Splits, shown: list[int]
) -> list[GalleryImage]:
    """Say of each test image in `shown` what it is and what the models take it for."""
    classes, fine_classes = splits.classes, splits.result.fine_classes
    labels, fine_labels = splits.test.labels, splits.test.fine_labels
    probabilities = {role: softmax(one.test_logits, axis=1) for role, one in chosen.items()}
    return [
        GalleryImage(
            index=index,
            label=classes[int(labels[index])],
            fine_label=None if fine_labels is None else fine_classes[int(fine_labels[index])],
            predictions={role: classes[p[index].argmax()] for role, p in probabilities.items()},
            probabilities={role: float(p[index].max()) for role, p in probabilities.items()},
        )
        for index in shown
    ]
