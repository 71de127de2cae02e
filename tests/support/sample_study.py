"""A realistic results.json; no torch, no drawing."""

import math
from pathlib import Path
from statistics import NormalDist

import numpy as np
from sample_evidence import with_evidence
from sample_files import device, environment, with_int8
from sample_models import ACCURACY, model_result, summary
from sample_scores import with_scores

from kdtool.results.evidence import SweepPoint, Uncertainty, Verdict
from kdtool.results.explained import (
    Curve,
    ExplainedImage,
    ExplainResult,
    Faithfulness,
    Mean,
)
from kdtool.results.study import DataResult, Results

AGREEMENT = {
    "teacher": 1.0,
    "subclass-teacher": 0.68,
    "control": 0.31,
    "student": 0.47,
    "subclass-student": 0.52,
}


def verdicts_of(models, seeds):
    wanted = [
        ("student", "control"),
        ("subclass-student", "control"),
        ("subclass-student", "student"),
    ]
    pairs = [pair for pair in wanted if set(pair) <= models.keys()]
    return [verdict_of(models, seeds, *pair, len(pairs)) for pair in pairs]


def verdict_of(models, seeds, of, against, num_verdicts):
    pairs = zip(models[of].seeds, models[against].seeds, strict=True)
    difference = float(np.mean([a.test.accuracy - b.test.accuracy for a, b in pairs]))
    low, high = difference - 0.0021, difference + 0.0017
    p_value = 2 * NormalDist().cdf(-abs(difference) / 0.00097)
    return Verdict(
        of=of,
        against=against,
        difference=difference,
        ci95=(low, high),
        p_value=p_value,
        p_holm=min(1.0, num_verdicts * p_value),
        uncertainty=uncertainty_of(len(seeds)),
        mcnemar_p=[2e-5, 0.012, 0.0004][: len(seeds)] + [0.2] * (len(seeds) - 3),
        seeds=seeds,
        verdict="HELPED" if low > 0 else "HURT" if high < 0 else "NO EVIDENCE",
    )


def uncertainty_of(num_seeds):
    one = num_seeds == 1
    return Uncertainty(
        seed_std=None if one else 0.0009,
        seed_error=None if one else 0.0009 / math.sqrt(num_seeds),
        image_error=0.0008,
        visible=0.0027,
        images_needed=1_240,
        seeds_needed=None if one else 2,
    )


def sweep_points(num_keys, seeds):
    temperatures, weights = (1, 2, 4, 8, 16, 32), (0.5, 0.9)
    settings = [{"distill.temperature": t} for t in temperatures]
    if num_keys == 2:
        settings = [s | {"distill.soft_weight": w} for w in weights for s in settings]
    if num_keys == 3:
        settings = [s | {"distill.soft_weight": 0.5, "student.model": "a|b"} for s in settings]
    gains = [
        math.log2(s["distill.temperature"] + 1) + s.get("distill.soft_weight", 0) for s in settings
    ]
    return [
        SweepPoint(
            settings=s,
            seeds=seeds,
            validation_accuracy=summary([0.981 + 0.0013 * min(gain, 3.5)] * len(seeds)),
            test_accuracy=summary([0.980 + 0.0014 * min(gain, 3.4)] * len(seeds)),
            selected=i == 3,
        )
        for i, (s, gain) in enumerate(zip(settings, gains, strict=True))
    ]


def explain_result(classes, roles, num_images):
    def image(i):
        label, other = classes[i % len(classes)], classes[(i + 1) % len(classes)]
        return ExplainedImage(
            index=7 * i,
            label=label,
            predictions={r: other if r == "control" and i == 2 else label for r in roles},
            probabilities=dict.fromkeys(roles, 0.99 - 0.03 * i),
            agreement={r: 1.0 if r == "teacher" else 0.4 + 0.02 * i for r in roles},
            why="the models differ" if i == 2 else "of each class",
        )

    return ExplainResult(
        method="vanilla gradient",
        path="saliency.npz",
        images=[image(i) for i in range(num_images)],
        mean_agreement={r: AGREEMENT[r] for r in roles},
        num_compared=500,
        is_stratified=True,
        faithfulness={r: faithfulness(AGREEMENT[r]) for r in roles},
    )


def faithfulness(value):
    def mean(of, ends=0.02):
        return Mean(value=of, ci95=(of - ends, of + ends) if ends else None)

    def curve(start, end, ends=0.05):
        means = [start + (end - start) * step / 16 for step in range(17)]
        return Curve(means=means, ci95=[(of - ends, of + ends) for of in means] if ends else None)

    return Faithfulness(
        num_images=50,
        deletion=mean(0.2 * value),
        insertion=mean(0.9 * value),
        random_deletion=mean(0.5),
        random_insertion=mean(0.45, ends=None),
        untrained_agreement=mean(0.1),
        deletion_curve=curve(0.9 * value, 0.1),
        insertion_curve=curve(0.1, 0.9 * value),
        random_deletion_curve=curve(0.9 * value, 0.2),
        random_insertion_curve=curve(0.2, 0.9 * value, ends=None),
    )


def data_result(classes, num_test):
    num_classes = len(classes)
    splits = {"train": 54_000, "validation": 6_000, "test": num_test}
    return DataResult(
        source="mnist",
        description="MNIST, 28 x 28 handwritten digits",
        classes=classes,
        image_shape=(1, 28, 28),
        num_train=54_000,
        num_validation=6_000,
        num_test=num_test,
        class_counts={split: [n // num_classes] * num_classes for split, n in splits.items()},
        num_duplicates=1,
        duplicates=[("train", 1204, "test", 88)],
        fingerprint="9c1e" * 16,
        warnings=[],
    )


def build_results(  # noqa: PLR0913
    *,
    classes=tuple("0123456789"),
    seeds=(0, 1, 2),
    roles=("teacher", "control", "student"),
    num_test=10_000,
    sweep_keys=0,
    explain=False,
    latency=True,
    accuracy=ACCURACY,
    int8=False,
    devices=(),
    evidence=None,
    scores=None,
):
    """Results of a study; every list and score in it fits the others.

    `accuracy` is what the models are meant to reach; 10,000 random images come near it. `int8` is
    True or what the gate of that file holds; `devices` are arguments of `device`; `evidence` are
    options of `with_evidence`, `scores` those of `with_scores`.
    """
    classes, seeds = list(classes), list(seeds)
    models = {
        role: model_result(role, seeds, classes, num_test, latency, accuracy[role])
        for role in roles
    }
    recipe = {
        "name": "mnist",
        "seeds": seeds,
        "data": {"source": "mnist", "root": None, "offline": "mnist-5k", "validation": 0.1},
        "teacher": {"model": "mnist-cnn", "epochs": 12, "learning_rate": 1e-3},
        "student": {"model": "mnist-mlp", "epochs": 12, "learning_rate": 1e-3},
        "distill": {"temperature": 20.0, "soft_weight": 0.9},
        "export": {"input": "pixels", "calibrate": False},
    }
    results = Results(
        name="mnist",
        recipe=recipe,
        environment=environment(),
        data=data_result(classes, num_test),
        models=models,
        verdicts=verdicts_of(models, seeds),
        shipped=next((r for r in ("subclass-student", "student") if r in models), None),
        sweep=sweep_points(sweep_keys, seeds) if sweep_keys else [],
        explain=explain_result(classes, roles, 8) if explain else None,
        devices=[],
    )
    if evidence is not None:
        results = with_evidence(results, **evidence)
    if scores is not None:
        results = with_scores(results, **scores)
    if int8:
        results = with_int8(results, **({} if int8 is True else int8))
    measured = [device(results, *one) for one in devices]
    return results.model_copy(update={"devices": measured})


def write_saliency(results: Results, folder: Path) -> None:
    """The arrays that `results.explain` names: a stroke a image, and heat around it."""
    num_images = len(results.explain.images)
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:28, 0:28]
    strokes = [
        np.exp(-(((np.hypot(x - 14, y - 14) - 5 - i % 4) / 1.6) ** 2)) for i in range(num_images)
    ]
    images = np.stack([(255 * stroke).astype(np.uint8)[..., None] for stroke in strokes])
    heat = {
        role: np.stack([s * rng.random((28, 28)) for s in strokes]).astype(np.float32)
        for role in results.explain.mean_agreement or ("control", "student")
    }
    np.savez(folder / results.explain.path, images=images, **heat)
