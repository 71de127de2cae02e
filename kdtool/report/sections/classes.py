"""Scores class by class, and which classes are taken for which."""

from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from kdtool.format import (
    count,
    listed,
    printable,
    role_name,
    roles_present,
    score_change,
    score_interval,
    score_text,
)
from kdtool.report.canvas import LIGHT, PALEST, STRONGEST, new_figure, quiet_axes
from kdtool.report.sections.comparison import Cell
from kdtool.report.sections.verdict import main_verdict
from kdtool.results.base import Metric, Role, Summary
from kdtool.results.study import (
    ClassScores,
    DataResult,
    ModelResult,
    Results,
    SeedResult,
    TestScores,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


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
    return {role: exported(results.models[role]).test for role in roles_present(results)}


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
    scores = {role: class_scores(results.models[role]) for role in roles_present(results)}
    verdict = main_verdict(results)
    rows = []
    for index, name in enumerate(results.data.classes):
        per_role = {role: found[index] for role, found in scores.items()}
        delta = None
        if verdict:
            ours, theirs = per_role[verdict.of], per_role[verdict.against]
            delta = ours.accuracy.mean - theirs.accuracy.mean
        support = max((score.exported.support for score in per_role.values()), default=0)
        rows.append(ClassRow(name=printable(name), support=support, scores=per_role, delta=delta))
    return rows


def most_changed(rows: list[ClassRow], top: int = 10) -> list[ClassRow]:
    """Return the classes whose accuracy changed most, gains first."""
    changed = [row for row in rows if row.delta]
    changed.sort(key=lambda row: -abs(row.delta or 0))
    return sorted(changed[:top], key=lambda row: -(row.delta or 0))


def one_class_calls(results: Results) -> str | None:
    """Warn of exported models that call every test image the same class; None without."""
    by_class: dict[str, list[str]] = {}
    for role in roles_present(results):
        confusion = exported(results.models[role]).test.confusion
        called = [c for c, column in enumerate(zip(*confusion, strict=True)) if any(column)]
        if len(called) == 1:
            name = printable(results.data.classes[called[0]])
            by_class.setdefault(name, []).append(f"the {role_name(role)}")
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
    few = [(printable(name), number) for name, number in pairs if number < FEW_IMAGES]
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
    names = [printable(data.classes[numbers.index(number)]) for number in (most, least)]
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
    names = [printable(name) for name in results.data.classes]
    matrix = scores[roles_present(results)[-1]].confusion
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


MOST_IN_A_ROW = 4  # classes; of more, the classes have rows of their own


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """What one column of the table holds, of all models in the order of `present`."""

    group: str  # such as "F1"
    name: str  # such as the name of a class; may be empty
    of_class: bool  # of one class, not of all
    metric: Metric  # in whose units its numbers are
    summaries: list[Summary | None]

    def cell(self, row: int) -> Cell | None:
        """Return the score of a model, given by its row; None if it has none."""
        one = self.summaries[row]
        if one is None:
            return None
        value = score_text(self.metric, one.mean)
        return Cell(value=value, interval=score_interval(self.metric, one.ci95))

    def change(self, of: int, against: int) -> str:
        """Return the difference of two models, given by their rows; empty if one has no score."""
        ours, theirs = self.summaries[of], self.summaries[against]
        return score_change(self.metric, ours.mean - theirs.mean) if ours and theirs else ""


def columns(results: Results) -> list[Column]:
    """Return the columns for which some model has a score."""
    models = [results.models[role] for role in roles_present(results)]
    classes = results.data.classes if len(results.data.classes) <= MOST_IN_A_ROW else []
    of = f"of {printable(results.data.positive)}" if results.data.positive else ""
    found = [
        *_of_classes("Accuracy", "accuracy", classes, models),
        _of_all("Accuracy", "all" if classes else "", "accuracy", models),
        *_of_classes("F1", "macro_f1", classes, models),
        _of_all("F1", "weighted", "weighted_f1", models),
        _of_all("F1", "macro", "macro_f1", models),
        _of_all("Balanced accuracy", "", "balanced_accuracy", models),
        _of_all("ROC AUC", of, "roc_auc", models),
        _of_all("PR AUC", of, "pr_auc", models),
    ]
    return [column for column in found if any(column.summaries)]


def _of_all(group: str, name: str, metric: Metric, models: list[ModelResult]) -> Column:
    summaries = [model.test.get(metric) for model in models]
    return Column(group=group, name=name, of_class=False, metric=metric, summaries=summaries)


def _of_classes(
    group: str, metric: Metric, classes: list[str], models: list[ModelResult]
) -> list[Column]:
    scores = [class_scores(model) for model in models]
    return [
        Column(
            group=group,
            name=printable(name),
            of_class=True,
            metric=metric,
            summaries=[s[place].accuracy if group == "Accuracy" else s[place].f1 for s in scores],
        )
        for place, name in enumerate(classes)
    ]


def groups(results: Results) -> list[tuple[str, list[Column]]]:
    """Return the columns under their common heads."""
    return [
        (group, list(found)) for group, found in groupby(columns(results), lambda one: one.group)
    ]


def scores_of(results: Results) -> str:
    """Say which seeds the table is of."""
    exported = "of the exported seeds alone where it is of single classes, mean over seeds else"
    return "mean over seeds" if over_seeds(results) else exported


def meaning(results: Results) -> str:
    """Say what the columns are."""
    positive = results.data.positive
    names = [printable(name) for name in results.data.classes if name != positive]
    told = (
        "Accuracy of a class: of its images, how many were recognized. F1: misses and false alarms "
        "in one. A difference well within the 95 % intervals may be chance."
    )
    if positive:
        told += (
            f" The positive class is {printable(positive)}: its accuracy is the sensitivity, "
            f"that of {names[0]} the specificity, and the AUCs are of its probability."
        )
    elif any(column.metric == "roc_auc" for column in columns(results)):
        told += " AUC: each class against the rest, the mean of them."
    return told


MOST_WITH_NUMBERS = 12  # classes; more, and a cell is too small for a number
MOST_WITH_NAMES = 30
LONGEST_NAME = 11  # characters


def confusion_figures(scores: dict[Role, TestScores], classes: list[str]) -> "dict[Role, Figure]":
    """Draw one matrix a role; a shade means the same share of a class in all of them."""
    shares = [share for test in scores.values() for share in _mistaken(test.confusion).values()]
    darkest = max(shares, default=1.0)
    return {
        role: _matrix(test.confusion, classes, LIGHT[role], darkest)
        for role, test in scores.items()
    }


def _mistaken(confusion: list[list[int]]) -> dict[tuple[int, int], float]:
    """Return the wrong cells that are not empty: (true, predicted) -> share of the true class."""
    return {
        (true, predicted): number / sum(row)
        for true, row in enumerate(confusion)
        for predicted, number in enumerate(row)
        if number and true != predicted
    }


def _matrix(confusion: list[list[int]], classes: list[str], color: str, darkest: float) -> "Figure":
    from matplotlib.collections import PolyCollection
    from matplotlib.colors import to_rgba

    num_classes = len(classes)
    figure = new_figure(310, 310)
    axes = figure.add_subplot()
    quiet_axes(axes, grid="")
    axes.set(xlim=(-0.5, num_classes - 0.5), ylim=(num_classes - 0.5, -0.5), aspect="equal")
    wrong = _mistaken(confusion)
    with_numbers = num_classes <= MOST_WITH_NUMBERS
    # A cell without a number is small: it needs more colour to be seen.
    palest, strongest = (PALEST, STRONGEST) if with_numbers else (0.4, 1.0)
    shades = {
        cell: palest + (strongest - palest) * (share / darkest) for cell, share in wrong.items()
    }
    diagonal = {(index, index): to_rgba(LIGHT["faint"]) for index in range(num_classes)}
    cells = diagonal | {cell: to_rgba(color, shade) for cell, shade in shades.items()}
    half = 0.48 if with_numbers else 0.5
    squares = [_square(true, predicted, half) for true, predicted in cells]
    axes.add_collection(PolyCollection(squares, facecolors=list(cells.values()), linewidths=0))
    size = 10 if num_classes > 6 else 13
    if with_numbers:
        for true, predicted in cells:
            ink = "muted" if true == predicted else "ink"
            text = f"{confusion[true][predicted]}"
            axes.text(predicted, true, text, ha="center", va="center", size=size, color=LIGHT[ink])
    _name_axes(axes, classes)
    return figure


def _square(row: int, column: int, half: float) -> list[tuple[float, float]]:
    left, right, top, bottom = column - half, column + half, row - half, row + half
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _name_axes(axes: "Axes", classes: list[str]) -> None:
    axes.set(xlabel="predicted class", ylabel="true class")
    for side in axes.spines.values():
        side.set(visible=True, color=LIGHT["line"])
    if len(classes) > MOST_WITH_NAMES:
        axes.set(xlabel="predicted class, by number", ylabel="true class, by number")
        return
    names = [_cut(printable(name)) for name in classes]
    size = 11 if len(classes) <= MOST_WITH_NUMBERS else 8
    turned = max(len(name) for name in names) > 2
    axes.set_xticks(range(len(names)), names, size=size, rotation=90 if turned else 0)
    axes.set_yticks(range(len(names)), names, size=size)


def _cut(name: str) -> str:
    return (
        name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "\N{HORIZONTAL ELLIPSIS}"
    )
