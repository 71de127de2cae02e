"""Saliency of the exported models on the same test images, and how far they agree."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kdtool.files import replaced
from kdtool.record import Role
from kdtool.results import ExplainedImage, ExplainResult
from kdtool.study import key_of
from kdtool.train.evaluate import Evaluated, split_labels
from kdtool.train.run import Run, load_model
from kdtool.train.saliency import agreement, gradient_saliency

NUM_COMPARED = 500  # test images over which the agreement is averaged


def explain(run: Run, models: dict[Role, Evaluated]) -> ExplainResult:
    """Compute heatmaps of every model and compare them with the teacher's.

    Args:
        run: The study.
        models: The exported model of each role, "teacher" among them.
    """
    path = run.study.folder / "predictions" / "saliency.npz"
    test, classes = run.splits.test, run.splits.classes
    # An ONNX file gives no gradients.
    mapped: list[Role] = [role for role in models if not run.table(role).is_onnx]
    labels = split_labels(test)

    def make() -> tuple[ExplainResult, list[Path]]:
        chosen = telling_images(labels, models, run.recipe.explain.images)
        compared = np.arange(min(NUM_COMPARED, len(test)))
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
            run.terminal.say(
                "saliency: the teacher is an ONNX file, which gives no gradients, so there are "
                "maps of the others only, and no agreement with it"
            )
        shown = images[: len(chosen)].permute(0, 2, 3, 1).cpu().numpy()
        with replaced(path) as unfinished, unfinished.open("wb") as file:
            maps = {role: maps[: len(chosen)] for role, maps in heatmaps.items()}
            np.savez_compressed(file, images=shown, **maps)  # type: ignore[arg-type]
        probabilities = {role: _softmax(model.test_logits) for role, model in models.items()}
        explained = [
            ExplainedImage(
                index=int(index),
                label=classes[labels[index]],
                predictions={role: classes[p[index].argmax()] for role, p in probabilities.items()},
                probabilities={role: float(p[index].max()) for role, p in probabilities.items()},
                agreement={role: float(values[row]) for role, values in agreements.items()},
            )
            for row, index in enumerate(chosen)
        ]
        result = ExplainResult(
            method="gradient",
            path=path.relative_to(run.study.folder).as_posix(),
            images=explained,
            mean_agreement={
                role: float(values[len(chosen) :].mean()) for role, values in agreements.items()
            },
            num_compared=len(compared),
        )
        return result, [path]

    key = key_of("explain", run.recipe.explain, {r: m.trained.key for r, m in models.items()})
    return run.study.stage("explain", key, ExplainResult, make)


def telling_images(
    labels: NDArray[np.int64], models: dict[Role, Evaluated], num_images: int
) -> NDArray[np.int64]:
    """Choose the test images that tell most: half where the models differ, half of all classes.

    Args:
        labels: `(N,)` true classes.
        models: The models and their logits.
        num_images: How many to choose; fewer if there are fewer.

    Returns:
        Indices into the test split: first images that some models get right and others wrong,
        then any; in both, the classes take turns.
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


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return torch.from_numpy(logits).softmax(dim=1).numpy()
