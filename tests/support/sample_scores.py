"""What every metric, an operating point, phases and duplicates add to a results.json."""

import numpy as np

from kdtool.results.base import METRICS, Interval, Summary
from kdtool.results.evidence import OperatingPoint, Rates
from kdtool.results.study import ClassSummary, TestScores

AUC = {
    "teacher": (0.931, 0.874),
    "subclass-teacher": (0.928, 0.871),
    "control": (0.842, 0.741),
    "student": (0.861, 0.768),
    "subclass-student": (0.866, 0.772),
}


def with_scores(results, metric, *, rule="sensitivity:0.9", duplicates=True):
    """`results` of two classes with all that issue 5 added, judged by `metric`."""
    models = {
        role: scored(model, role, metric, results.data, rule)
        for role, model in results.models.items()
    }
    verdicts = [judged(one, models, metric) for one in results.verdicts]
    sweep = [
        point.model_copy(
            update={
                "validation_score": lowered(point.validation_accuracy),
                "test_score": lowered(point.test_accuracy),
            }
        )
        for point in results.sweep
    ]
    classes = results.data.classes
    data = {"positive": classes[0] if len(classes) == 2 else None}
    if duplicates:
        data |= {
            "num_duplicates": 25,
            "duplicates": [("train", 100 + i, "test", i) for i in range(20)],
            "num_near_duplicates": 3,
            "near_duplicates": [("train", 7 * i, "validation", i) for i in range(3)],
            "duplicate_images": "duplicates.npz",
        }
    return results.model_copy(
        update={
            "metric": metric,
            "models": models,
            "verdicts": verdicts,
            "sweep": sweep,
            "data": results.data.model_copy(update=data),
        }
    )


def scored(model, role, metric, data, rule):
    runs = [
        run.model_copy(update={"test": complete(run.test, role), "epochs": phases(run.epochs)})
        for run in model.seeds
    ]
    per_class = [
        ClassSummary(
            name=name,
            accuracy=over_seeds([run.test.per_class[i].accuracy for run in runs]),
            f1=over_seeds([run.test.per_class[i].f1 for run in runs]),
            support=runs[0].test.per_class[i].support,
        )
        for i, name in enumerate(data.classes)
    ]
    test = {one: over_seeds([getattr(run.test, one) for run in runs]) for one in METRICS}
    exported = next(run for run in runs if run.seed == model.exported_seed)
    point = (
        operating_point(exported.test, data.classes[0], rule) if len(data.classes) == 2 else None
    )
    return model.model_copy(
        update={"seeds": runs, "test": test, "per_class": per_class, "operating_point": point}
    )


def complete(test: TestScores, role) -> TestScores:
    recalls, f1 = ([getattr(one, key) for one in test.per_class] for key in ("recall", "f1"))
    roc_auc, pr_auc = AUC[role]
    update = {
        "balanced_accuracy": float(np.mean(recalls)),
        "macro_f1": float(np.mean(f1)),
        "roc_auc": roc_auc,
        "pr_auc": pr_auc,
    }
    return test.model_copy(update=update)


def phases(epochs):
    """The first third is a phase of its own; the metric lies a little below accuracy."""
    return [
        epoch.model_copy(
            update={
                "phase": 1 if epoch.epoch <= len(epochs) // 3 else 2,
                "validation_score": epoch.validation_accuracy - 0.01,
            }
        )
        for epoch in epochs
    ]


def over_seeds(values) -> Summary:
    mean = float(np.mean(values))
    std = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Summary(mean=mean, std=std, ci95=interval(mean, 0.025))


def interval(share, half) -> Interval:
    return max(0.0, share - half), min(1.0, share + half)


def lowered(summary: Summary) -> Summary:
    low, high = summary.ci95
    return Summary(mean=summary.mean - 0.01, std=summary.std, ci95=(low - 0.01, high - 0.01))


def judged(verdict, models, metric):
    of, against = (models[role].test[metric].mean for role in (verdict.of, verdict.against))
    low, high = of - against - 0.009, of - against + 0.01
    word = "HELPED" if low > 0 else "HURT" if high < 0 else "NO EVIDENCE"
    update = {"metric": metric, "difference": of - against, "ci95": (low, high), "verdict": word}
    return verdict.model_copy(update=update)


def operating_point(test: TestScores, positive, rule):
    (found, missed), (alarms, _) = test.confusion
    sensitivity, alarm_rate = found / (found + missed), alarms / test.per_class[1].support
    return OperatingPoint(
        rule=rule,
        positive=positive,
        threshold=0.37,
        validation=rates(sensitivity + 0.02, 1 - alarm_rate + 0.01, 0.05),
        test=rates(sensitivity, 1 - alarm_rate, 0.03),
    )


def rates(sensitivity, specificity, half) -> Rates:
    sensitivity, specificity = min(1.0, sensitivity), min(1.0, specificity)
    precision = sensitivity / (sensitivity + 1 - specificity)
    return Rates(
        sensitivity=sensitivity,
        sensitivity_ci95=interval(sensitivity, half),
        specificity=specificity,
        specificity_ci95=interval(specificity, half),
        precision=precision,
        precision_ci95=interval(precision, half),
        accuracy=(sensitivity + specificity) / 2,
        f1=2 * precision * sensitivity / (precision + sensitivity),
    )


def pretrained(results, role="teacher"):
    """`results` whose model of a role was an ONNX file: one epoch 0, no files, no count by thop."""
    model = results.models[role]
    runs = [
        run.model_copy(
            update={
                "epochs": [
                    run.best.model_copy(update={"epoch": 0, "train_loss": None, "phase": 1})
                ],
                "best_epoch": 0,
                "num_steps": 0,
                "images_per_second": 0.0,
            }
        )
        for run in model.seeds
    ]
    changes = {
        "seeds": runs,
        "files": {},
        "recommended": None,
        "thop_macs": None,
        "thop_params": None,
    }
    explain = results.explain
    if explain:
        images = [image.model_copy(update={"agreement": {}}) for image in explain.images]
        explain = explain.model_copy(update={"images": images, "mean_agreement": {}})
    models = results.models | {role: model.model_copy(update=changes)}
    return results.model_copy(update={"models": models, "explain": explain})


def write_duplicates(results, folder):
    """The pairs that `results.data` names: grey gradients, each nearly like its twin."""
    channels, height, width = results.data.image_shape
    ramp = np.linspace(0, 120, height * width).reshape(height, width, 1).repeat(channels, axis=2)
    arrays = {}
    for key, pairs, noise in (
        ("exact", results.data.duplicates, 0),
        ("near", results.data.near_duplicates, 25),
    ):
        twins = [np.stack([ramp + 6 * i, ramp + 6 * i + noise]) for i in range(len(pairs))]
        arrays[key] = np.array(twins, np.uint8).reshape(-1, 2, height, width, channels)
    np.savez_compressed(folder / results.data.duplicate_images, **arrays)
