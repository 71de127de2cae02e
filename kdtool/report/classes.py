"""Scores class by class, and which classes are taken for which."""

from dataclasses import dataclass

from kdtool.learning import ClassScores, SeedResult, TestScores
from kdtool.record import Role, Summary
from kdtool.report.quantities import count
from kdtool.report.verdicts import main_verdict
from kdtool.report.words import listed, plain, present, spoken
from kdtool.results import DataResult, ModelResult, Results

FEW_IMAGES = 20  # of a class in the test split; fewer, and one image is more than 5 points
MOST_NAMES = 6  # of classes, in a sentence
UNEVEN = 1.5  # training images of the largest class / of the smallest, from which on it is said


@dataclass(frozen=True, kw_only=True, slots=True)
class OneClass:
    """How one model fared on one class."""

    accuracy: Summary  # over seeds; of the exported seed alone in results of an older kdtool
    f1: Summary | None  # None: of an older kdtool
    exported: ClassScores  # of the exported seed


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRow:
    """One class under all models."""

    name: str
    support: int  # test images of this class
    scores: dict[Role, OneClass]
    delta: float | None  # accuracy of the main verdict's student minus control, in [-1, 1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """Images of one class that were taken for another."""

    true: str
    predicted: str
    counts: dict[Role, int]


def exported(model: ModelResult) -> SeedResult:
    """Return the run of training whose weights were exported."""
    return next(run for run in model.seeds if run.seed == model.exported_seed)


def exported_scores(results: Results) -> dict[Role, TestScores]:
    """Return the test scores of the exported seed of every model."""
    return {role: exported(results.models[role]).test for role in present(results)}


def class_scores(model: ModelResult) -> list[OneClass]:
    """Return how a model fared on every class, in the order of the classes."""
    alone = exported(model).test.per_class
    if model.per_class:
        return [
            OneClass(accuracy=one.accuracy, f1=one.f1, exported=other)
            for one, other in zip(model.per_class, alone, strict=True)
        ]
    return [
        OneClass(
            accuracy=Summary(mean=one.accuracy, std=None, ci95=one.accuracy_ci95),
            f1=None,
            exported=one,
        )
        for one in alone
    ]


def over_seeds(results: Results) -> bool:
    """Return whether the scores by class are of all seeds, not of the exported ones alone."""
    return all(model.per_class for model in results.models.values())


def class_rows(results: Results) -> list[ClassRow]:
    """Return the scores of every class, in the order of the classes."""
    scores = {role: class_scores(results.models[role]) for role in present(results)}
    verdict = main_verdict(results)
    rows = []
    for index, name in enumerate(results.data.classes):
        per_role = {role: found[index] for role, found in scores.items()}
        delta = None
        if verdict:
            ours, theirs = per_role[verdict.of], per_role[verdict.against]
            delta = ours.accuracy.mean - theirs.accuracy.mean
        support = max((score.exported.support for score in per_role.values()), default=0)
        rows.append(ClassRow(name=plain(name), support=support, scores=per_role, delta=delta))
    return rows


def most_changed(rows: list[ClassRow], top: int = 10) -> list[ClassRow]:
    """Return the classes whose accuracy changed most, gains first."""
    changed = [row for row in rows if row.delta]
    changed.sort(key=lambda row: -abs(row.delta or 0))
    return sorted(changed[:top], key=lambda row: -(row.delta or 0))


def one_class_calls(results: Results) -> str | None:
    """Warn of exported models that call every test image the same class; None without."""
    by_class: dict[str, list[str]] = {}
    for role in present(results):
        confusion = exported(results.models[role]).test.confusion
        called = [c for c, column in enumerate(zip(*confusion, strict=True)) if any(column)]
        if len(called) == 1:
            name = plain(results.data.classes[called[0]])
            by_class.setdefault(name, []).append(f"the {spoken(role)}")
    if not by_class:
        return None
    told = [
        f"{listed(who)} call{'s' if len(who) == 1 else ''} every test image {name}"
        for name, who in by_class.items()
    ]
    sentence = "; ".join(told)
    return (
        f"{sentence[0].upper()}{sentence[1:]}: train longer or at another rate, and where classes "
        'are uneven with class_weights = "balanced" or sampling = "balanced".'
    )


def few_images(data: DataResult) -> str | None:
    """Warn of classes with so few test images that their figures say little; None without."""
    pairs = zip(data.classes, data.class_counts["test"], strict=True)
    few = [(plain(name), number) for name, number in pairs if number < FEW_IMAGES]
    if not few:
        return None
    (name, number), *others = few[:MOST_NAMES]
    told = [f"those of {name} rest on {number} test images"]
    told += [f"of {name} on {number}" for name, number in others]
    if len(few) > MOST_NAMES:
        told.append(f"of {count(len(few) - MOST_NAMES)} more on fewer than {FEW_IMAGES}")
    return f"Figures of single classes may say little: {', '.join(told)}."


def imbalance(data: DataResult) -> str | None:
    """Say how uneven the classes are in the training images; None where they are even."""
    numbers = data.class_counts["train"]
    least, most = min(numbers), max(numbers)
    names = [plain(data.classes[numbers.index(number)]) for number in (most, least)]
    if not least or most < UNEVEN * least:
        return None
    return (
        f"The classes are uneven: {names[0]} has {most / least:.1f} times the training images of "
        f"{names[1]} ({count(most)} and {count(least)})."
    )


def mistakes(results: Results, top: int = 5) -> list[Mistake]:
    """Return the most frequent mistakes of the last role present, normally the student."""
    scores = exported_scores(results)
    if not scores:
        return []
    names = [plain(name) for name in results.data.classes]
    matrix = scores[present(results)[-1]].confusion
    cells = [
        (number, true, predicted)
        for true, row in enumerate(matrix)
        for predicted, number in enumerate(row)
        if number and true != predicted
    ]
    cells.sort(key=lambda cell: (-cell[0], cell[1], cell[2]))
    return [
        Mistake(
            true=names[true],
            predicted=names[predicted],
            counts={role: test.confusion[true][predicted] for role, test in scores.items()},
        )
        for _, true, predicted in cells[:top]
    ]
