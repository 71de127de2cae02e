"""Saliency of the models on the same test images, as pictures."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import StudyError, reason
from kdtool.format import count, printable, role_name, rough_percent
from kdtool.report.canvas import LIGHT, new_figure
from kdtool.results.base import ROLES, Role
from kdtool.results.study import ExplainedImage, ExplainResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


Picture = NDArray[np.uint8]  # (H, W, 3)

BACKDROP = 0.3  # brightness of the image behind its heatmap: enough to see where the heat lies


@dataclass(frozen=True, kw_only=True, slots=True)
class Saliency:
    """Pictures of `explain.images`, in their order."""

    images: list[Picture]
    heatmaps: dict[Role, list[Picture]]


def compared_images(explain: ExplainResult, num_test: int) -> str:
    """Return over which test images the agreement is averaged, such as "500 test images, ..."."""
    if explain.num_compared >= num_test:
        return f"all {count(num_test)} test images"
    kind = "a stratified sample of" if explain.is_stratified else "the first"
    return f"{kind} {count(explain.num_compared)} of {count(num_test)} test images"


def load_saliency(explain: ExplainResult, folder: Path) -> Saliency:
    """Read the arrays of a study and colour them.

    Raises:
        StudyError: The file is missing or damaged, or does not fit the results.
    """
    path = folder / explain.path
    try:
        with np.load(path) as arrays:
            images = [rgb(image) for image in arrays["images"]]
            heat = {role: arrays[role] for role in ROLES if role in arrays}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise StudyError(
            f"cannot read the saliency in {path}: {reason(error)}; `kdtool explain {folder}` "
            "makes it again"
        ) from error
    lengths = {len(images), len(explain.images), *(len(maps) for maps in heat.values())}
    if len(lengths) > 1:
        raise StudyError(
            f"{path} does not fit results.json, which has {len(explain.images)} explained images; "
            f"`kdtool explain {folder}` makes it again"
        )
    return Saliency(
        images=images,
        heatmaps={
            role: [_heated(one, image) for one, image in zip(maps, images, strict=True)]
            for role, maps in heat.items()
        },
    )


def rgb(image: NDArray[np.uint8]) -> Picture:
    """Return an image `(H, W, C)` of 1 or 3 channels in three."""
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image[..., :3]


def _heated(heatmap: NDArray[np.float32], image: Picture) -> Picture:
    """Lay a heatmap `(H, W)` in [0, 1] over the dimmed image, as light adds to light."""
    import matplotlib as mpl

    heat = mpl.colormaps["inferno"](np.clip(heatmap, 0, 1))[..., :3]
    backdrop = BACKDROP * image.mean(axis=2, keepdims=True) / 255
    picture: Picture = np.round(255 * (1 - (1 - heat) * (1 - backdrop))).astype(np.uint8)
    return picture


def png_of(picture: Picture) -> bytes:
    """Return a picture as PNG, one pixel a pixel."""
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, picture, format="png")
    return buffer.getvalue()


def saliency_figure(explain: ExplainResult, saliency: Saliency) -> "Figure":
    """Draw the grid: a row an image, then the models' heatmaps beside it."""
    roles = list(saliency.heatmaps)
    figure = new_figure(40 + 150 * (1 + len(roles)), 20 + 176 * len(explain.images))
    grid = figure.subplots(len(explain.images), 1 + len(roles), squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (image, record) in enumerate(zip(saliency.images, explain.images, strict=True)):
        grid[row, 0].imshow(image)
        grid[row, 0].set_title(f"true: {printable(record.label)}", size=11, color=LIGHT["ink"])
        for column, role in enumerate(roles, start=1):
            axes = grid[row, column]
            axes.imshow(saliency.heatmaps[role][row])
            if role in record.predictions:
                _title(axes, record, role)
    return figure


def _title(axes: "Axes", record: ExplainedImage, role: Role) -> None:
    predicted, probability = record.predictions[role], record.probabilities[role]
    text = f"{role_name(role)}: {printable(predicted)}, {rough_percent(probability)}"
    if predicted == record.label:
        axes.set_title(text, size=11, color=LIGHT[role])
    else:
        axes.set_title(f"{text}, wrong", size=11, color=LIGHT["worse"])
