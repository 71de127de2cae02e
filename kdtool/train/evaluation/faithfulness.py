"""Are saliency maps right? Deletion, insertion, and the same networks with random weights.

Sources: Petsiuk et al. 2018, arXiv:1806.07421, section 4; Adebayo et al. 2018, arXiv:1810.03292.
"""

import copy
import math

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from scipy.stats import t as student_t
from torch import nn

from kdtool.edge.explain import curves
from kdtool.results.base import Role
from kdtool.results.explained import Curve, Faithfulness, Mean
from kdtool.train.evaluation.attribution import PIXELS_AT_ONCE, saliency
from kdtool.train.evaluation.evaluate import Evaluated
from kdtool.train.models.predict import channels_last_input, class_logits, images_within
from kdtool.train.run import Run, load_model

# Test images whose pixels are deleted and inserted, 68 answers each: fewer where they are large.
MOST_FAITHFUL, LEAST_FAITHFUL, FAITHFUL_PIXELS = 20, 8, 8 * 224**2
RANKED = 32  # maps at a time: 500 of 224 x 224 pixels would take a gigabyte
FEWEST_OF_MEAN = 5  # images, of an interval


def agreement(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of two sets of heatmaps, for each image.

    Args:
        first: `(B, H, W)`.
        second: `(B, H, W)`.

    Returns:
        `(B,)` in [-1, 1]; 0 where a heatmap is the same everywhere.

    Source: Adebayo et al. 2018, arXiv:1810.03292, section 3, for comparing maps by rank.
    """
    found = np.zeros(len(first))
    for start in range(0, len(first), RANKED):
        part = slice(start, start + RANKED)
        ranks = [
            rankdata(maps[part].reshape(len(maps[part]), -1), axis=1) for maps in (first, second)
        ]
        centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
        product = (centred[0] * centred[1]).sum(axis=1)
        norm = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
        np.divide(product, norm, out=found[part], where=norm > 0)
    return found


def faithfulness_of(
    run: Run,
    models: dict[Role, Evaluated],
    heatmaps: dict[Role, NDArray[np.float32]],
    compared: NDArray[np.int64],
) -> dict[Role, Faithfulness]:
    """Return whether each model's maps say what it looks at.

    Args:
        run: The study.
        models: The exported model of each role.
        heatmaps: `(B, H, W)` of the images in `compared`.
        compared: Test images.
    """
    _, height, width = run.image_shape
    most = min(MOST_FAITHFUL, max(LEAST_FAITHFUL, FAITHFUL_PIXELS // (height * width)))
    rows = np.unique(np.linspace(0, len(compared) - 1, most).round().astype(int))
    images = run.splits.test.batch(torch.from_numpy(compared[rows]).to(run.device))[0]
    pixels = images.permute(0, 2, 3, 1).cpu().numpy()
    found: dict[Role, Faithfulness] = {}
    for role, maps in heatmaps.items():
        model = load_model(run, models[role].trained)
        targets = models[role].test_logits[compared[rows]].argmax(axis=1)
        drawn = np.array(
            [
                curves_of(model, image, heatmap, int(target), len(run.splits.classes))
                for image, heatmap, target in zip(pixels, maps[rows], targets, strict=True)
            ]
        )  # (rows, 4, steps)
        areas = np.apply_along_axis(curves.area, 2, drawn)
        deletion, insertion, random_deletion, random_insertion = (
            curve_of(drawn[:, kind]) for kind in range(4)
        )
        untrained = copy.deepcopy(run.network(role)).to(run.device).eval()
        method, num_classes = run.recipe.explain.method, len(run.splits.classes)
        unlearned = saliency(method, untrained, images, num_classes)
        found[role] = Faithfulness(
            num_images=len(rows),
            deletion=mean_of(areas[:, 0]),
            insertion=mean_of(areas[:, 1]),
            random_deletion=mean_of(areas[:, 2]),
            random_insertion=mean_of(areas[:, 3]),
            untrained_agreement=mean_of(agreement(maps[rows], unlearned)),
            deletion_curve=deletion,
            insertion_curve=insertion,
            random_deletion_curve=random_deletion,
            random_insertion_curve=random_insertion,
        )
    return found


def curves_of(
    model: nn.Module,
    image: NDArray[np.uint8],
    heatmap: NDArray[np.float32],
    target: int,
    num_classes: int,
) -> list[NDArray[np.float64]]:
    """Return deletion and insertion in the order of a map, then in a random order, `(steps,)` each.

    Args:
        model: In eval mode.
        image: `(H, W, C)`.
        heatmap: `(H, W)`.
        target: Class whose probability is watched.
        num_classes: Subclasses, if the model has any, are merged into these.
    """
    device = next(model.parameters()).device

    @torch.no_grad()
    def score(images: NDArray[np.uint8]) -> NDArray[np.floating]:
        given = channels_last_input(torch.from_numpy(images).permute(0, 3, 1, 2).to(device))
        probabilities = class_logits(model(given), num_classes).softmax(dim=1)
        return np.asarray(probabilities[:, target].cpu().numpy())

    height, width, channels = image.shape
    shape = (channels, height, width)
    at_once = min(curves.STEPS + 1, images_within(PIXELS_AT_ONCE, model, shape))
    by_chance = np.random.default_rng(0).permutation(heatmap.size)
    return [
        curve(image, order, score, at_once, lambda _number: None)
        for order in (curves.order_of(heatmap), by_chance)
        for curve in (curves.deletion, curves.insertion)
    ]


def curve_of(values: NDArray[np.floating]) -> Curve:
    """Return the mean of `(N, steps)` curves with the interval at each step."""
    means = [mean_of(column) for column in values.T]
    ends = [one.ci95 for one in means if one.ci95]
    return Curve(means=[one.value for one in means], ci95=ends or None)


def mean_of(values: NDArray[np.floating]) -> Mean:
    """Return the mean of `(N,)` values and its 95 % interval by Student's t."""
    if len(values) < FEWEST_OF_MEAN:
        return Mean(value=float(values.mean()), ci95=None)
    half = float(
        student_t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    )
    middle = float(values.mean())
    return Mean(value=middle, ci95=(middle - half, middle + half))
