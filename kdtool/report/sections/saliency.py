"""Saliency of the models on the same test images, as pictures."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import StudyError
from kdtool.format import (
    agreement,
    count,
    listed,
    printable,
    probability,
    role_name,
    whole_percent,
)
from kdtool.report.parts.canvas import (
    LIGHT,
    NARROW,
    Drawing,
    drawing,
    new_figure,
    quiet_axes,
)
from kdtool.report.parts.pictures import PIXELATED_BELOW, Picture, data_url, reading, rgb
from kdtool.results.base import ROLES, Role
from kdtool.results.explained import (
    Curve,
    ExplainedImage,
    ExplainResult,
    Faithfulness,
    Mean,
)
from kdtool.results.study import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


CURVES = "Probability of the predicted class while pixels are covered, and shown"
BACKDROP = 0.3  # brightness of the image behind its heatmap: enough to see where the heat lies


@dataclass(frozen=True, kw_only=True, slots=True)
class Saliency:
    """Pictures of `explain.images`, in their order."""

    images: list[Picture]
    heatmaps: dict[Role, list[Picture]]


@dataclass(frozen=True, kw_only=True, slots=True)
class SaliencyEntry:
    """What one model predicts for one image, and where it looks."""

    url: str  # of the heatmap
    prediction: str | None  # None: not known
    probability: str
    is_wrong: bool
    agreement: str  # with the teacher's heatmap; empty: not compared


@dataclass(frozen=True, kw_only=True, slots=True)
class SaliencyRow:
    """One test image."""

    index: int
    label: str
    why: str  # it is shown; empty: of an older kdtool
    url: str
    entries: dict[Role, SaliencyEntry]


@dataclass(frozen=True, kw_only=True, slots=True)
class FaithfulnessRow:
    """Whether the maps of one model say what it looks at."""

    role: Role
    deletion: str
    insertion: str
    random: str  # deletion and insertion in a random order
    untrained: str  # agreement with the same network with random weights


@dataclass(frozen=True, kw_only=True, slots=True)
class SaliencySection:
    """Saliency of the exported models on the same test images."""

    LINK: ClassVar = "Saliency"

    method: str
    roles: list[Role]
    rows: list[SaliencyRow]
    agreement: str | None  # a sentence with the mean agreement; None: not compared
    faithfulness: list[FaithfulnessRow]  # empty: of an older kdtool
    num_faithful: str  # images of these
    curves: Drawing | None  # deletion and insertion; None: of an older kdtool
    pixelated: bool
    is_folded: bool  # small images show a person little
    figure: Drawing | None  # of report.md; None: folded


def section(results: Results, folder: Path) -> SaliencySection | None:
    """Return the saliency maps of a study; None if there are none.

    Raises:
        StudyError: The file is missing or damaged, or does not fit the results.
    """
    explain = results.explain
    if explain is None:
        return None
    saliency = load_saliency(explain, folder)
    drawn = {role: one for role, one in explain.faithfulness.items() if one.deletion_curve}
    is_small = saliency.images[0].shape[0] < PIXELATED_BELOW
    rows = [
        SaliencyRow(
            index=record.index,
            label=printable(record.label),
            why=record.why or "",
            url=data_url(saliency.images[row]),
            entries={
                role: _entry(record, role, maps[row]) for role, maps in saliency.heatmaps.items()
            },
        )
        for row, record in enumerate(explain.images)
    ]
    return SaliencySection(
        method=printable(explain.method),
        roles=list(saliency.heatmaps),
        rows=rows,
        agreement=agreement_sentence(results),
        faithfulness=[
            FaithfulnessRow(
                role=role,
                deletion=_mean(one.deletion, probability),
                insertion=_mean(one.insertion, probability),
                random=f"{probability(one.random_deletion.value)}; "
                f"{probability(one.random_insertion.value)}",
                untrained=_mean(one.untrained_agreement, agreement),
            )
            for role, one in explain.faithfulness.items()
        ],
        num_faithful=count(max((o.num_images for o in explain.faithfulness.values()), default=0)),
        curves=drawing("saliency-curves", CURVES, lambda width: curves_figure(drawn, width))
        if drawn
        else None,
        pixelated=is_small,
        is_folded=is_small,
        figure=None
        if is_small
        else Drawing(
            name="saliency",
            title="Test images and where each model looks",
            wide=saliency_figure(explain, saliency),
            narrow=None,
        ),
    )


def _mean(mean: Mean, text: Callable[[float], str]) -> str:
    ends = f" ({' to '.join(map(text, mean.ci95))})" if mean.ci95 else ""
    return text(mean.value) + ends


def _entry(record: ExplainedImage, role: Role, heatmap: Picture) -> SaliencyEntry:
    predicted = record.predictions.get(role)
    compared = role != "teacher" and role in record.agreement
    return SaliencyEntry(
        url=data_url(heatmap),
        prediction=None if predicted is None else printable(predicted),
        probability="" if predicted is None else whole_percent(record.probabilities[role]),
        is_wrong=predicted is not None and predicted != record.label,
        agreement=agreement(record.agreement[role]) if compared else "",
    )


def agreement_sentence(results: Results) -> str | None:
    """Say how much the heatmaps of the models are like the teacher's; None: not compared."""
    explain = results.explain
    if explain is None or not explain.mean_agreement.keys() - {"teacher"}:
        return None
    parts = []
    for role, mean in explain.mean_agreement.items():
        if role != "teacher":
            ends = explain.agreement_ci95.get(role)
            interval = f" ({' to '.join(map(agreement, ends))})" if ends else ""
            parts.append(f"{agreement(mean)}{interval} for the {role_name(role)}")
    return (
        "Rank correlation of a model's heatmap with the teacher's (1: the same order of pixels, "
        f"0: no relation), mean over {compared_images(explain, results.data.num_test)}: "
        f"{listed(parts)}."
    )


def compared_images(explain: ExplainResult, num_test: int) -> str:
    """Return the test images that the agreement is averaged over, such as "all 300 test images"."""
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
    fix = f"`kdtool explain {folder}` makes it again"
    with reading(path, "the saliency maps", fix), np.load(path) as arrays:
        images = [rgb(image) for image in arrays["images"]]
        heat = {role: arrays[role] for role in ROLES if role in arrays}
    lengths = {len(images), len(explain.images), *(len(maps) for maps in heat.values())}
    if len(lengths) > 1:
        raise StudyError(
            f"{path} does not fit results.json, which has {len(explain.images)} explained images; "
            f"{fix}"
        )
    return Saliency(
        images=images,
        heatmaps={
            role: [_heated(one, image) for one, image in zip(maps, images, strict=True)]
            for role, maps in heat.items()
        },
    )


def _heated(heatmap: NDArray[np.float32], image: Picture) -> Picture:
    """Lay a heatmap `(H, W)` in [0, 1] over the dimmed image, as light adds to light."""
    import matplotlib as mpl

    heat = mpl.colormaps["inferno"](np.clip(heatmap, 0, 1))[..., :3]
    backdrop = BACKDROP * image.mean(axis=2, keepdims=True) / 255
    picture: Picture = np.round(255 * (1 - (1 - heat) * (1 - backdrop))).astype(np.uint8)
    return picture


def curves_figure(faithfulness: dict[Role, Faithfulness], width: int) -> "Figure":
    """Draw deletion and insertion of every model, next to each other where there is room."""
    is_wide = width > NARROW
    figure = new_figure(width, 280 if is_wide else 520)
    left, right = figure.subplots(*((1, 2) if is_wide else (2, 1)), sharey=True)
    for role, one in faithfulness.items():
        _draw_curves(left, role, one.deletion_curve, one.random_deletion_curve)
        _draw_curves(right, role, one.insertion_curve, one.random_insertion_curve)
    for axes, done in ((left, "covered, % (low is good)"), (right, "shown, % (high is good)")):
        quiet_axes(axes)
        axes.set(xlim=(0, 100), ylim=(0, 1.02))
        axes.set_xlabel(f"pixels {done}")
    left.set_ylabel("probability")
    left.plot([], [], color=LIGHT["muted"], linewidth=1, linestyle="--", label="in a random order")
    left.legend(frameon=False, labelcolor="linecolor", loc="upper right")
    return figure


def _draw_curves(axes: "Axes", role: Role, ordered: Curve | None, by_chance: Curve | None) -> None:
    """Draw a curve with its 95 % interval, and dashed that in a random order."""
    color = LIGHT[role]
    for curve, dashes, line in ((by_chance, "--", 1), (ordered, "-", 2)):
        if curve is None:
            continue
        shares = np.linspace(0, 100, len(curve.means))
        name = role_name(role) if curve is ordered else None
        axes.plot(shares, curve.means, color=color, linewidth=line, linestyle=dashes, label=name)
        if curve is ordered and curve.ci95:
            low, high = zip(*curve.ci95, strict=True)
            axes.fill_between(shares, low, high, color=color, alpha=0.15, linewidth=0)


def saliency_figure(explain: ExplainResult, saliency: Saliency) -> "Figure":
    """Draw a grid: in each row a test image, then the heatmap of each model."""
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
    text = f"{role_name(role)}: {printable(predicted)}, {whole_percent(probability)}"
    if predicted == record.label:
        axes.set_title(text, size=11, color=LIGHT[role])
    else:
        axes.set_title(f"{text}, wrong", size=11, color=LIGHT["worse"])
