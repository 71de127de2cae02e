"""Models of a study: counts, confusion and scores fit together."""

import math

import numpy as np
from sample_files import COST, file_result

from kdtool.results.base import Summary
from kdtool.results.study import ClassScores, EpochRecord, ModelResult, SeedResult, TestScores

ACCURACY = {
    "teacher": 0.9930,
    "subclass-teacher": 0.9921,
    "control": 0.9803,
    "student": 0.9868,
    "subclass-student": 0.9889,
}


def wilson(hits, total):
    z = 1.959964
    if not total:
        return 0.0, 1.0
    share, spread = hits / total, z * z / total
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / total / 4)
    centre = (share + spread / 2) / (1 + spread)
    return max(0.0, centre - half), min(1.0, centre + half)


def scores_of(classes, num_images, accuracy, rng):
    """Test scores of a model that mistakes a class mostly for a few fixed others."""
    num_classes = len(classes)
    labels = np.arange(num_images) % num_classes
    wrong = rng.random(num_images) > accuracy
    shift = 1 + rng.geometric(0.4, num_images) % max(num_classes - 1, 1)
    predicted = np.where(wrong, (labels + shift * 3) % num_classes, labels)
    confusion = np.zeros((num_classes, num_classes), int)
    np.add.at(confusion, (labels, predicted), 1)
    right, support, chosen = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    recall = right / np.maximum(support, 1)
    precision = right / np.maximum(chosen, 1)
    f1 = 2 * right / np.maximum(support + chosen, 1)
    per_class = [
        ClassScores(
            name=name,
            accuracy=recall[i],
            accuracy_ci95=wilson(right[i], support[i]),
            precision=precision[i],
            recall=recall[i],
            f1=f1[i],
            support=support[i],
        )
        for i, name in enumerate(classes)
    ]
    total = int(right.sum())
    return TestScores(
        num_images=num_images,
        accuracy=total / num_images,
        accuracy_ci95=wilson(total, num_images),
        weighted_f1=float((f1 * support).sum() / num_images),
        nll=0.05,
        ece=0.01,
        per_class=per_class,
        confusion=confusion.tolist(),
    )


def seed_result(seed, classes, num_images, accuracy, rng):
    curve = accuracy - 0.033 * np.exp(-0.55 * np.arange(12)) + rng.normal(0, 4e-4, 12)
    epochs = [
        EpochRecord(
            epoch=i + 1,
            train_loss=0.3 / (i + 1),
            validation_loss=0.2 / (i + 1),
            validation_accuracy=float(value),
            seconds=2.5,
        )
        for i, value in enumerate(curve)
    ]
    return SeedResult(
        seed=seed,
        test=scores_of(classes, num_images, accuracy + rng.normal(0, 4e-4), rng),
        epochs=epochs,
        best_epoch=int(np.argmax(curve)) + 1,
        num_steps=2532,
        images_per_second=21_600.4,
        device="cpu",
        precision="bf16",
    )


def summary(values):
    mean = float(np.mean(values))
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(mean=mean, std=std, ci95=(mean - 0.0021, min(1.0, mean + 0.0019)))


def model_result(role, seeds, classes, num_images, latency, accuracy):
    name, num_params, num_macs, _, _ = COST[role]
    rng = np.random.default_rng(list(COST).index(role))
    runs = [seed_result(seed, classes, num_images, accuracy, rng) for seed in seeds]
    exported = max(runs, key=lambda run: run.best.validation_accuracy)
    return ModelResult(
        model=name,
        seeds=runs,
        exported_seed=exported.seed,
        test={
            "accuracy": summary([run.test.accuracy for run in runs]),
            "weighted_f1": summary([run.test.weighted_f1 for run in runs]),
        },
        files={"fp32": file_result(role, num_images, exported.test.accuracy, latency)},
        refused={},
        recommended="fp32",
        num_params=num_params,
        num_macs=num_macs,
        num_flops=2 * num_macs,
        thop_macs=num_macs + 83_301,
        thop_params=num_params,
    )
