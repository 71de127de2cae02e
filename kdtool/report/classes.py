"""Scores class by class, and which classes are taken for which; of the exported seeds."""

from dataclasses import dataclass

from kdtool.record import Role
from kdtool.report.verdicts import main_verdict
from kdtool.report.words import plain, present
from kdtool.results import ClassScores, ModelResult, Results, SeedResult, TestScores


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRow:
    """One class under all models."""

    name: str
    support: int  # test images of this class
    scores: dict[Role, ClassScores]
    delta: float | None  # recall of the main verdict's student minus control, in [-1, 1]


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


def class_rows(results: Results) -> list[ClassRow]:
    """Return the scores of every class, in the order of the classes."""
    scores = exported_scores(results)
    verdict = main_verdict(results)
    rows = []
    for index, name in enumerate(results.data.classes):
        per_role = {role: test.per_class[index] for role, test in scores.items()}
        delta = None
        if verdict:
            delta = per_role[verdict.of].accuracy - per_role[verdict.against].accuracy
        support = max((score.support for score in per_role.values()), default=0)
        rows.append(ClassRow(name=plain(name), support=support, scores=per_role, delta=delta))
    return rows


def most_changed(rows: list[ClassRow], top: int = 10) -> list[ClassRow]:
    """Return the classes whose recall changed most, gains first."""
    changed = [row for row in rows if row.delta]
    changed.sort(key=lambda row: -abs(row.delta or 0))
    return sorted(changed[:top], key=lambda row: -(row.delta or 0))


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
