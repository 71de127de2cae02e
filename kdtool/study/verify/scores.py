"""Scores from the stored predictions, counted here with NumPy alone.

They do not share code with what computed them in the study: that is compared as well, where PyTorch
is installed.
"""

import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kdtool.errors import reason
from kdtool.results.base import Metric, Role
from kdtool.results.commands.verification import Part, compared, joined, not_checked
from kdtool.results.evidence import Flips, OperatingPoint, Verdict
from kdtool.results.study import DataResult, ModelResult, Results, TestScores
from kdtool.study.folder import Study
from kdtool.study.verify.finished_study import FinishedStudy
from kdtool.study.verify.integrity import RESULTS
from kdtool.study.verify.records import as_json, training_of

NAME = "scores, counted from the stored predictions"
SIMPLE: tuple[Metric, ...] = ("accuracy", "balanced_accuracy", "weighted_f1", "macro_f1")
LEVEL = 0.05  # of a verdict
UNREADABLE = (OSError, ValueError, KeyError, zipfile.BadZipFile, zlib.error, EOFError)

Labels = NDArray[np.int64]
Floats = NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Predictions:
    """What one model of a study answers."""

    file: str  # relative to the study
    test_labels: Labels  # (N,)
    validation_labels: Labels  # (V,)
    test_logits: Floats  # (N, C), subclasses merged
    validation_logits: Floats  # (V, C)
    test_probabilities: Floats  # (N, C)
    test_subclass_logits: Floats | None  # (N, C * S); None: the model has no subclasses


Predicted = Mapping[tuple[Role, int], Predictions]  # by role and seed


def stored_predictions(
    finished: FinishedStudy,
) -> tuple[dict[tuple[Role, int], Predictions], list[str]]:
    """Read the predictions of all models of results.json.

    Returns:
        Those that can be read, and why others cannot.
    """
    found, missing = {}, []
    for role, model in finished.results.models.items():
        for seed in model.seeds:
            training = training_of(finished.records, role, seed)
            if training is None:
                missing.append(f"{role}, seed {seed.seed}: the record of its training is missing")
                continue
            try:
                one = read_predictions(finished.study.folder, training[0])
                check_fits(one, finished.results.data)
                found[role, seed.seed] = one
            except UNREADABLE as error:
                file = f"predictions/{training[0]}.npz"
                why = f"{file} cannot be read: {reason(error)}"
                missing.append(f"scores of {role}, seed {seed.seed}: {why}")
    return found, missing


def read_predictions(folder: Path, name: str) -> Predictions:
    """Read the predictions of the model whose training has that name; raises `UNREADABLE`."""
    file = f"predictions/{name}.npz"
    with np.load(folder / file, allow_pickle=False) as arrays:
        return Predictions(
            file=file,
            test_labels=arrays["test_labels"],
            validation_labels=arrays["validation_labels"],
            test_logits=arrays["test_logits"],
            validation_logits=arrays["validation_logits"],
            test_probabilities=arrays["test_probabilities"],
            test_subclass_logits=arrays.get("test_subclass_logits"),
        )


def check_fits(one: Predictions, data: DataResult) -> None:
    """Check that predictions are of the study's images and classes.

    Raises:
        ValueError: They are not, or their arrays do not fit together.
    """
    num_classes = len(data.classes)
    for split, size, answers in (
        ("test", data.num_test, [one.test_logits, one.test_probabilities]),
        ("validation", data.num_validation, [one.validation_logits]),
    ):
        labels = _of(one, split)
        if labels.shape != (size,) or labels.dtype.kind not in "iu":
            raise ValueError(f"expected {size:,} {split} labels")
        if not ((labels >= 0) & (labels < num_classes)).all():
            raise ValueError(f"expected {split} labels below {num_classes}")
        if not all(are_answers(array, size, num_classes) for array in answers):
            raise ValueError(f"expected {size:,} x {num_classes} {split} answers")
    several = one.test_subclass_logits
    if several is not None and not are_answers(several, data.num_test, several[:1].size):
        raise ValueError(f"expected answers of subclasses to {data.num_test:,} test images")


def are_answers(array: NDArray[Any], num_images: int, num_classes: int) -> bool:
    """Return whether an array can be what a model answers."""
    return array.shape == (num_images, num_classes) and array.dtype.kind == "f"


def recounted(finished: FinishedStudy) -> Part:
    """Count scores, differences and flips again, and compare them with results.json."""
    results = finished.results
    predictions, missing = stored_predictions(finished)
    if not predictions:
        return not_checked(NAME, *missing)
    parts = [
        not_checked(NAME, *missing),
        *_labels(predictions, results),
        *_models(predictions, results),
        *(_verdict(predictions, results, *one) for one in enumerate(results.verdicts)),
        *(_flips(predictions, results, *one) for one in enumerate(results.flips)),
        *_files(finished.study, predictions, results),
    ]
    return joined(NAME, parts)


def _labels(predictions: Predicted, results: Results) -> Iterator[Part]:
    """All models have the same test images, and as many of each class as results.json says."""
    num_classes = len(results.data.classes)
    counts, first = results.data.class_counts, next(iter(predictions.values()))
    for split in ("test", "validation"):
        labels = _of(first, split)
        found = np.bincount(labels, minlength=num_classes).tolist()
        stored = counts["test" if split == "test" else "validation"]
        yield compared(NAME, RESULTS, stored, found, f"data.class_counts.{split}")
        for one in predictions.values():
            same = "equal" if np.array_equal(_of(one, split), labels) else "others"
            yield compared(NAME, one.file, "equal", same, f"{split}_labels")


def _of(one: Predictions, split: str) -> Labels:
    return one.test_labels if split == "test" else one.validation_labels


def counted_scores(labels: Labels, probabilities: Floats, num_classes: int) -> dict[str, Any]:
    """Return the scores that follow from counts, as in `TestScores`.

    Args:
        labels: `(N,)` true classes.
        probabilities: `(N, C)`.
        num_classes: C.
    """
    calls = probabilities.argmax(axis=1)
    table = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(table, (labels, calls), 1)
    hits, support, called = np.diag(table), table.sum(axis=1), table.sum(axis=0)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(support + called, 1)
    rows = probabilities.astype(np.float64).clip(1e-12)
    right = rows[np.arange(len(labels)), labels] / rows.sum(axis=1)
    return {
        "num_images": len(labels),
        "accuracy": float((calls == labels).mean()),
        "balanced_accuracy": float(recall.mean()),
        "weighted_f1": float(f1 @ support / len(labels)),
        "macro_f1": float(f1.mean()),
        "nll": float(-np.log(right).mean()),
        "confusion": table.tolist(),
        "per_class": [
            {"accuracy": one, "recall": one, "precision": exact, "f1": both, "support": number}
            for one, exact, both, number in zip(
                recall.tolist(),
                (hits / np.maximum(called, 1)).tolist(),
                f1.tolist(),
                support.tolist(),
                strict=True,
            )
        ],
    }


def _models(predictions: Predicted, results: Results) -> Iterator[Part]:
    for role, model in results.models.items():
        scores = {}
        for place, seed in enumerate(model.seeds):
            one = predictions.get((role, seed.seed))
            if one is None:
                continue
            found = counted_scores(
                one.test_labels, one.test_probabilities, len(results.data.classes)
            )
            scores[seed.seed] = found
            stored = _kept(seed.test, found)
            yield compared(NAME, RESULTS, stored, found, f"models.{role}.seeds[{place}].test")
        if len(scores) == len(model.seeds):
            yield _over_seeds(role, model, [scores[seed.seed] for seed in model.seeds])


def _kept(test: TestScores, found: dict[str, Any]) -> dict[str, Any]:
    """Return the stored values of what was counted; an older kdtool did not store them all."""
    content = as_json(test)
    stored: dict[str, Any] = {
        name: found[name] if content[name] is None else content[name] for name in found
    }
    stored["per_class"] = [
        {key: of_class[key] for key in counts}
        for of_class, counts in zip(content["per_class"], found["per_class"], strict=False)
    ]
    return stored


def _over_seeds(role: Role, model: ModelResult, scores: list[dict[str, Any]]) -> Part:
    stored, found = {}, {}
    for metric in SIMPLE:
        values = [one[metric] for one in scores]
        if metric in model.test:
            summary = model.test[metric]
            stored[metric] = {"mean": summary.mean, "std": summary.std}
            std = stdev(values) if len(values) > 1 else None
            found[metric] = {"mean": fmean(values), "std": std}
    return compared(NAME, RESULTS, stored, found, f"models.{role}.test")


def _verdict(predictions: Predicted, results: Results, place: int, verdict: Verdict) -> Part:
    """The difference of means, and the word that follows from it and the p value."""
    stored: dict[str, object] = {"verdict": verdict.verdict}
    word = "HELPED" if verdict.difference > 0 else "HURT"
    found: dict[str, object] = {"verdict": word if verdict.p_holm < LEVEL else "NO EVIDENCE"}
    pairs = [[(role, seed) for seed in verdict.seeds] for role in (verdict.of, verdict.against)]
    if verdict.metric in SIMPLE and all(key in predictions for side in pairs for key in side):
        of, against = (
            fmean(
                counted_scores(
                    predictions[key].test_labels,
                    predictions[key].test_probabilities,
                    len(results.data.classes),
                )[verdict.metric]
                for key in side
            )
            for side in pairs
        )
        stored["difference"], found["difference"] = verdict.difference, of - against
    return compared(NAME, RESULTS, stored, found, f"verdicts[{place}]")


def _flips(predictions: Predicted, results: Results, place: int, flips: Flips) -> Part:
    chosen = [
        predictions.get((role, results.models[role].exported_seed))
        for role in (flips.of, flips.against)
        if role in results.models
    ]
    field = f"flips[{place}]"
    if len(chosen) < 2 or chosen[0] is None or chosen[1] is None:
        return not_checked(NAME, f"{field}: the predictions of its models are missing")
    of, against = (one.test_logits.argmax(axis=1) == one.test_labels for one in chosen if one)
    found = {
        "both_right": int((of & against).sum()),
        "gained": int((of & ~against).sum()),
        "lost": int((against & ~of).sum()),
        "both_wrong": int((~of & ~against).sum()),
    }
    return compared(NAME, RESULTS, {name: getattr(flips, name) for name in found}, found, field)


def _files(study: Study, predictions: Predicted, results: Results) -> Iterator[Part]:
    """The accuracy of each file, from its stored answers."""
    classes = results.data.classes
    for role, precision, file in results.files:
        field = f"models.{role}.files.{precision}.accuracy"
        model = results.models[role]
        labels = next((one.test_labels for one in predictions.values()), None)
        answers = study.folder / "predictions" / f"{file.path}.npy"
        try:
            probabilities = np.load(answers, allow_pickle=False)
        except UNREADABLE:
            yield not_checked(NAME, f"{field}: predictions/{answers.name} cannot be read")
            continue
        if labels is None or not are_answers(probabilities, len(labels), len(classes)):
            yield not_checked(NAME, f"{field}: predictions/{answers.name} is of other images")
            continue
        calls = called(probabilities, classes, model.operating_point)
        yield compared(NAME, RESULTS, file.accuracy, float((calls == labels).mean()), field)


def called(probabilities: Floats, classes: list[str], point: OperatingPoint | None) -> Labels:
    """Return the class `(N,)` that a file calls; -1 where an answer is not finite.

    Args:
        probabilities: `(N, C)` of the file.
        classes: Names of the C classes.
        point: Threshold between two classes; None: the most probable class is called.
    """
    calls = probabilities.argmax(axis=1)
    if point is not None and point.rule != "argmax":
        positive = classes.index(point.positive)
        calls = np.where(probabilities[:, positive] >= point.threshold, positive, 1 - positive)
    return np.asarray(np.where(np.isfinite(probabilities).all(axis=1), calls, -1))
