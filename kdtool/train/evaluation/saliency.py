"""Saliency of the exported models on the same test images, and how well they agree."""

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kdtool.files import save_arrays
from kdtool.format import role_name
from kdtool.results.base import Interval, Role
from kdtool.results.explained import ExplainedImage, ExplainResult, Why
from kdtool.stats.intervals import Z95
from kdtool.study.keys import key_of
from kdtool.train.data.stratify import stratified_sample
from kdtool.train.evaluation.attribution import last_convolution, saliency
from kdtool.train.evaluation.evaluate import Evaluated, split_labels
from kdtool.train.evaluation.faithfulness import agreement, faithfulness_of
from kdtool.train.evaluation.images import predicted
from kdtool.train.run import Run, load_model

FEWEST_COMPARED = 30  # images, of an interval


NUM_COMPARED = 500  # test images over which the agreement is averaged, at least one a class
NUM_EXTREMES = 4  # images of least and of most agreement, where at least twice as many are shown

Maps = dict[Role, NDArray[np.float32]]  # (B, H, W) in [0, 1] of each model


def explain(run: Run, models: dict[Role, Evaluated]) -> ExplainResult:
    """Compute heatmaps of every model, compare them with the teacher's, and test them.

    Args:
        run: The study.
        models: The exported model of each role, "teacher" among them.
    """
    path = run.study.folder / "predictions" / "saliency.npz"
    test, classes = run.splits.test, run.splits.classes
    labels = split_labels(test)

    def make() -> tuple[ExplainResult, list[Path]]:
        num_images = min(run.recipe.explain.images, len(labels))
        extremes = NUM_EXTREMES if num_images >= 2 * NUM_EXTREMES else 0
        chosen = images_to_explain(labels, models, num_images - extremes)
        compared = stratified_sample(labels, NUM_COMPARED)
        wanted = np.concatenate([chosen, compared])
        images = test.batch(torch.from_numpy(wanted).to(run.device))[0]
        heatmaps = maps_of(run, models, images)
        agreements = agreements_of(run, heatmaps)
        disputed = set(disputed_images(labels, models).tolist())
        reasons: list[tuple[int, Why]] = [
            (row, "the models differ" if index in disputed else "of each class")
            for row, index in enumerate(chosen.tolist())
        ]
        more = extreme_rows(wanted, agreements, len(chosen), extremes)
        if not more:  # without maps of the teacher nothing agrees with them
            free = rows_left(wanted, len(chosen))[:extremes]
            more = [(row, "of each class") for row in free]
        reasons += more
        shown = [row for row, _ in reasons]
        pictures = images[shown].permute(0, 2, 3, 1).cpu().numpy()
        save_arrays(path, images=pictures, **{role: maps[shown] for role, maps in heatmaps.items()})
        explained = [
            ExplainedImage(
                index=int(wanted[row]),
                label=classes[labels[wanted[row]]],
                predictions=predictions,
                probabilities=probabilities,
                agreement={role: float(values[row]) for role, values in agreements.items()},
                why=why,
            )
            for (row, why), (predictions, probabilities) in zip(
                reasons, predicted(models, classes, wanted[shown]), strict=True
            )
        ]
        of_compared = {role: maps[len(chosen) :] for role, maps in heatmaps.items()}
        result = ExplainResult(
            method=run.recipe.explain.method,
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
            faithfulness=faithfulness_of(run, models, of_compared, compared),
        )
        return result, [path]

    key = key_of("explain", run.recipe.explain, {r: m.trained.key for r, m in models.items()})
    return run.study.stage("explain", key, ExplainResult, make)


def maps_of(run: Run, models: dict[Role, Evaluated], images: Tensor) -> Maps:
    """Return the maps of the models that have any, and say which have none.

    Args:
        run: The study.
        models: The exported model of each role.
        images: `(B, C, H, W)` uint8.
    """
    found: Maps = {}
    method, num_classes = run.recipe.explain.method, len(run.splits.classes)
    for role, one in models.items():
        if run.table(role).is_onnx:
            run.reporter.say(f"saliency: the {role_name(role)} is an ONNX file without gradients")
            continue
        model = load_model(run, one.trained)
        if method == "grad-cam" and last_convolution(model) is None:
            run.reporter.say(
                f"saliency: the {role_name(role)} gets no map: grad-cam needs a convolution, and "
                "it has none"
            )
            continue
        found[role] = saliency(method, model, images, num_classes)
    return found


def agreements_of(run: Run, heatmaps: Maps) -> dict[Role, NDArray[np.float64]]:
    """Return the agreement `(B,)` of each model with the teacher, itself too; empty without it."""
    if "teacher" not in heatmaps:
        run.reporter.say("saliency: without maps of the teacher, no agreement with it is computed")
        return {}
    return {role: agreement(maps, heatmaps["teacher"]) for role, maps in heatmaps.items()}


def extreme_rows(
    wanted: NDArray[np.int64],
    agreements: dict[Role, NDArray[np.float64]],
    num_chosen: int,
    number: int,
) -> list[tuple[int, Why]]:
    """Return the rows of images on which the last model and the teacher agree least, then most.

    Args:
        wanted: Test images; the first `num_chosen` are shown in any case.
        agreements: `(B,)` of each model; the last is usually the student.
        num_chosen: Rows that are left out, with their copies further down.
        number: How many to return at most, half of each.
    """
    others = [role for role in agreements if role != "teacher"]
    if not others:
        return []
    values = agreements[others[-1]]
    ranked = sorted(rows_left(wanted, num_chosen), key=lambda row: float(values[row]))
    half = min(number, len(ranked)) // 2
    least: list[tuple[int, Why]] = [(row, "least agreement") for row in ranked[:half]]
    return [*least, *((row, "most agreement") for row in ranked[len(ranked) - half :][::-1])]


def rows_left(wanted: NDArray[np.int64], num_chosen: int) -> list[int]:
    """Return the rows of images that are none of the first `num_chosen`; see `extreme_rows`."""
    return [k for k in range(num_chosen, len(wanted)) if wanted[k] not in wanted[:num_chosen]]


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
    first = _in_turn(labels, disputed_images(labels, models))[: num_images // 2]
    rest = np.setdiff1d(np.arange(len(labels)), first)
    return np.concatenate([first, _in_turn(labels, rest)])[:num_images]


def disputed_images(labels: NDArray[np.int64], models: dict[Role, Evaluated]) -> NDArray[np.int64]:
    """Return the test images that some models get right and others wrong, ascending."""
    right = np.array([model.test_logits.argmax(axis=1) == labels for model in models.values()])
    return np.flatnonzero(right.any(axis=0) & ~right.all(axis=0))


def _in_turn(labels: NDArray[np.int64], images: NDArray[np.int64]) -> NDArray[np.int64]:
    """Order images so that the classes take turns: the first of each, the second of each, ..."""
    classes = labels[images]
    turn = np.zeros(len(images), dtype=np.int64)
    for c in np.unique(classes):
        turn[classes == c] = np.arange((classes == c).sum())
    return images[np.lexsort((classes, turn))]
