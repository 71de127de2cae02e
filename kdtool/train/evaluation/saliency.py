"""Saliency of the exported models on the same test images, and how well they agree."""

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from kdtool.files import save_arrays
from kdtool.results.base import Interval, Role
from kdtool.results.study import ExplainedImage, ExplainResult
from kdtool.stats.intervals import Z95
from kdtool.study.keys import key_of
from kdtool.train.data.stratify import stratified_sample
from kdtool.train.evaluation.evaluate import Evaluated, split_labels
from kdtool.train.evaluation.images import predicted
from kdtool.train.models.networks import as_input
from kdtool.train.models.predict import class_logits, images_within
from kdtool.train.run import Run, load_model

FEWEST_COMPARED = 30  # images, of an interval
# ResNet50 holds 0.1 GB of gradients an image of 224 x 224.
MOST_AT_ONCE, PIXELS_AT_ONCE = 128, 16 * 224**2


def gradient_saliency(model: nn.Module, images: Tensor, num_classes: int) -> NDArray[np.float32]:
    """Return how strongly each pixel changes the logit of the class that `model` predicts.

    Args:
        model: In eval mode; its parameters are frozen.
        images: `(B, C, H, W)` uint8.
        num_classes: Subclasses, if the model has any, are merged into these.

    Returns:
        `(B, H, W)` in [0, 1]: the largest absolute gradient over the channels, divided by the
        largest of its image.

    Source: Simonyan et al. 2014, arXiv:1312.6034, section 3.1.
    """
    at_once = min(MOST_AT_ONCE, images_within(PIXELS_AT_ONCE, model, images))
    model.requires_grad_(False)
    heatmaps = torch.cat(
        [_gradients(model, part, num_classes) for part in torch.split(images, at_once)]
    )
    heatmaps /= heatmaps.amax(dim=(1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return np.asarray(heatmaps.cpu().numpy(), dtype=np.float32)


def _gradients(model: nn.Module, images: Tensor, num_classes: int) -> Tensor:
    inputs = as_input(images).requires_grad_()
    with torch.enable_grad():
        # The logits of an image depend only on this image, so one backward pass serves the batch.
        score = class_logits(model(inputs), num_classes).max(dim=1).values.sum()
        (gradients,) = torch.autograd.grad(score, inputs)
    largest: Tensor = gradients.abs().amax(dim=1)  # (B, H, W)
    return largest


def agreement(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return Spearman's rank correlation of two sets of heatmaps, for each image.

    Args:
        first: `(B, H, W)`.
        second: `(B, H, W)`.

    Returns:
        `(B,)` in [-1, 1]; 0 where a heatmap is the same everywhere.

    Source: Adebayo et al. 2018, arXiv:1810.03292, section 3, for comparing maps by rank.
    """
    ranks = [rankdata(maps.reshape(len(maps), -1), axis=1) for maps in (first, second)]
    centred = [rank - rank.mean(axis=1, keepdims=True) for rank in ranks]
    product = (centred[0] * centred[1]).sum(axis=1)
    norm = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    correlation = np.divide(product, norm, out=np.zeros_like(product), where=norm > 0)
    return np.asarray(correlation, dtype=np.float64)


NUM_COMPARED = 500  # test images over which the agreement is averaged, at least one a class


def explain(run: Run, models: dict[Role, Evaluated]) -> ExplainResult:
    """Compute heatmaps of every model and compare them with the teacher's.

    Args:
        run: The study.
        models: The exported model of each role, "teacher" among them.
    """
    path = run.study.folder / "predictions" / "saliency.npz"
    test, classes = run.splits.test, run.splits.classes
    # An ONNX file has no gradients.
    mapped: list[Role] = [role for role in models if not run.table(role).is_onnx]
    labels = split_labels(test)

    def make() -> tuple[ExplainResult, list[Path]]:
        chosen = images_to_explain(labels, models, run.recipe.explain.images)
        compared = stratified_sample(labels, NUM_COMPARED)
        wanted = torch.from_numpy(np.concatenate([chosen, compared])).to(run.device)
        images = test.batch(wanted)[0]
        heatmaps = {
            role: gradient_saliency(load_model(run, models[role].trained), images, len(classes))
            for role in mapped
        }
        agreements: dict[Role, NDArray[np.float64]] = {}
        if "teacher" in heatmaps:
            teacher = heatmaps["teacher"]
            agreements = {role: agreement(maps, teacher) for role, maps in heatmaps.items()}
        else:
            run.reporter.say(
                "saliency: the teacher is an ONNX file, which has no gradients; the other models "
                "get heatmaps, without their agreement with the teacher"
            )
        shown = images[: len(chosen)].permute(0, 2, 3, 1).cpu().numpy()
        maps = {role: maps[: len(chosen)] for role, maps in heatmaps.items()}
        save_arrays(path, images=shown, **maps)
        explained = [
            ExplainedImage(
                index=int(index),
                label=classes[labels[index]],
                predictions=predictions,
                probabilities=probabilities,
                agreement={role: float(values[row]) for role, values in agreements.items()},
            )
            for row, (index, (predictions, probabilities)) in enumerate(
                zip(chosen, predicted(models, classes, chosen), strict=True)
            )
        ]
        result = ExplainResult(
            method="gradient",
            path=path.relative_to(run.study.folder).as_posix(),
            images=explained,
            mean_agreement={
                role: float(values[len(chosen) :].mean()) for role, values in agreements.items()
            },
            agreement_ci95={
                role: normal_interval(values[len(chosen) :])
                for role, values in agreements.items()
                if len(compared) >= FEWEST_COMPARED
            },
            num_compared=len(compared),
            is_stratified=True,
        )
        return result, [path]

    key = key_of("explain", run.recipe.explain, {r: m.trained.key for r, m in models.items()})
    return run.study.stage("explain", key, ExplainResult, make)


def normal_interval(values: NDArray[np.floating]) -> Interval:
    """Return the 95 % interval of the mean of `(N,)` values, by the normal approximation."""
    margin = Z95 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - margin, float(values.mean()) + margin


def images_to_explain(
    labels: NDArray[np.int64], models: dict[Role, Evaluated], num_images: int
) -> NDArray[np.int64]:
    """Choose informative test images: half where the models differ, half from all classes.

    Args:
        labels: `(N,)` true classes.
        models: The models and their logits.
        num_images: How many to choose; fewer if the split has fewer.

    Returns:
        Indices into the test split: first images that some models get right and others wrong, then
        any; in both parts, the classes take turns.
    """
    right = np.array([model.test_logits.argmax(axis=1) == labels for model in models.values()])
    disputed = np.flatnonzero(right.any(axis=0) & ~right.all(axis=0))
    first = _in_turn(labels, disputed)[: num_images // 2]
    rest = np.setdiff1d(np.arange(len(labels)), first)
    return np.concatenate([first, _in_turn(labels, rest)])[:num_images]


def _in_turn(labels: NDArray[np.int64], images: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order images so that the classes take turns: the first of each, the second of each, ..."""
    classes = labels[images]
    turn = np.zeros(len(images), dtype=np.int64)
    for c in np.unique(classes):
        turn[classes == c] = np.arange((classes == c).sum())
    return images[np.lexsort((classes, turn))]
