"""Scores class by class, and which classes are confused."""

from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from kdtool.format import (
    MINUS,
    count,
    listed,
    plural,
    printable,
    role_name,
    roles_present,
    score_change,
    score_range,
    score_text,
)
from kdtool.report.decision import FEW_IMAGES
from kdtool.report.parts.canvas import Drawing, drawing
from kdtool.report.parts.cells import Cell
from kdtool.report.parts.confusion import confusion_figures
from kdtool.report.parts.forest import Difference, forest_figure
from kdtool.report.sections.verdict import main_verdict
from kdtool.results.base import Interval, Metric, Role, Summary
from kdtool.results.evidence import Verdict
from kdtool.results.study import (
    ClassScores,
    DataResult,
    ModelResult,
    Results,
    TestScores,
)
from kdtool.stats.intervals import LEVEL

MOST_NAMES = 6  # of classes, in a sentence
MOST_CHANGED = 10  # classes that are listed where the tables are folded
MOST_MISTAKES = 5  # that are listed
MOST_OPEN = 20  # classes; more, and the tables over classes are folded
MOST_WITH_F1 = 3  # models; more, and F1 has a table of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class OneClass:
    """The scores of one model on one class."""

    accuracy: Summary  # over seeds; of the exported seed only in results of an older kdtool
    f1: Summary | None  # None: in results of an older kdtool
    exported: ClassScores  # of the exported seed


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassRow:
    """The scores of all models on one class."""

    name: str
    support: int  # test images of this class
    scores: dict[Role, OneClass]
    delta: float | None  # accuracy of the main verdict's student minus control, in [-1, 1]
    delta_ci95: Interval | None  # paired; None: of an older kdtool
    is_clear: bool  # whether a class differs, corrected for the number of classes


@dataclass(frozen=True, kw_only=True, slots=True)
class Mistake:
    """Images of one class that were predicted as another."""

    true: str
    predicted: str
    counts: dict[Role, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """The two models of the main verdict."""

    of: Role
    against: Role

    @property
    def title(self) -> str:
        """Such as "student - control", with the sign for minus."""
        return f"{role_name(self.of)} {MINUS} {role_name(self.against)}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfusionMatrix:
    """The confusion matrix of one exported model."""

    role: Role
    figure: Drawing


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassesSection:
    """Scores class by class."""

    LINK: ClassVar = "Classes"

    one_class_calls: str | None
    few_images: str | None
    seeds: str  # which seeds the scores are of
    meaning: str
    roles: list[Role]
    pair: Pair | None  # None: no verdict
    groups: "list[tuple[str, list[Column]]]"
    has_rows: bool  # each class has a row of its own
    is_folded: bool
    rows: list[ClassRow]
    forest: Drawing | None  # the differences; None: no verdict with them
    changed_rows: list[ClassRow]  # those that changed most, where there are too many rows to read
    largest_delta: float
    f1_apart: bool
    exported_seeds: list[tuple[Role, int]]
    mistakes: list[Mistake]
    matrices: list[ConfusionMatrix]


def section(results: Results) -> ClassesSection | None:
    """Return the scores class by class; None in a study without models."""
    roles = roles_present(results)
    if not roles:
        return None
    rows, verdict = class_rows(results), main_verdict(results)
    return ClassesSection(
        one_class_calls=one_class_calls(results),
        few_images=few_images(results.data),
        seeds=scores_of(results),
        meaning=meaning(results),
        roles=roles,
        pair=Pair(of=verdict.of, against=verdict.against) if verdict else None,
        groups=groups(results),
        has_rows=len(rows) > MOST_IN_A_ROW,
        is_folded=len(rows) > MOST_OPEN,
        rows=rows,
        forest=forest(rows, verdict),
        changed_rows=most_changed(rows) if len(rows) > MOST_OPEN else [],
        largest_delta=max((abs(row.delta) for row in rows if row.delta), default=1.0),
        f1_apart=len(roles) > MOST_WITH_F1,
        exported_seeds=[(role, results.models[role].exported_seed) for role in roles],
        mistakes=mistakes(results),
        matrices=[
            ConfusionMatrix(
                role=role,
                figure=Drawing(
                    name=f"confusion-{role}",
                    title=f"Confusion matrix of the {role_name(role)}",
                    wide=figure,
                    narrow=None,  # narrow enough for a phone
                ),
            )
            for role, figure in confusion_figures(
                exported_scores(results), results.data.classes
            ).items()
        ],
    )


def exported_scores(results: Results) -> dict[Role, TestScores]:
    """Return the test scores of the exported seed of every model."""
    return {role: results.models[role].exported.test for role in roles_present(results)}


def class_scores(model: ModelResult) -> list[OneClass]:
    """Return the scores of a model on every class, in the order of the classes."""
    alone = model.exported.test.per_class
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
    """Return whether the scores by class are means over all seeds, not of the exported seed."""
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
        tested = verdict.per_class[index] if verdict and verdict.per_class else None
        support = max((score.exported.support for score in per_role.values()), default=0)
        rows.append(
            ClassRow(
                name=printable(name),
                support=support,
                scores=per_role,
                delta=delta,
                delta_ci95=tested.ci95 if tested else None,
                is_clear=tested is not None and tested.p_holm < LEVEL,
            )
        )
    return rows


def most_changed(rows: list[ClassRow]) -> list[ClassRow]:
    """Return the classes whose accuracy changed most, gains first."""
    changed = [row for row in rows if row.delta]
    changed.sort(key=lambda row: -abs(row.delta or 0))
    return sorted(changed[:MOST_CHANGED], key=lambda row: -(row.delta or 0))


def forest(rows: list[ClassRow], verdict: Verdict | None) -> Drawing | None:
    """Return a figure of the differences by class, with intervals; None: there are none."""
    shown = rows if len(rows) <= MOST_OPEN else most_changed(rows)
    found = [
        Difference(name=row.name, value=row.delta, ci95=row.delta_ci95, is_clear=row.is_clear)
        for row in shown
        if row.delta is not None and row.delta_ci95
    ]
    if verdict is None or not found:
        return None
    names = f"{role_name(verdict.of)} minus {role_name(verdict.against)}"
    return drawing(
        "classes",
        f"Difference in accuracy of each class, {names}, with its 95 % interval",
        lambda width: forest_figure(found, f"points of accuracy, {names}", min(width, 620)),
    )


def one_class_calls(results: Results) -> str | None:
    """Warn about exported models that predict one class for every test image; None if none do."""
    by_class: dict[str, list[str]] = {}
    for role in roles_present(results):
        confusion = results.models[role].exported.test.confusion
        called = [c for c, column in enumerate(zip(*confusion, strict=True)) if any(column)]
        if len(called) == 1:
            name = printable(results.data.classes[called[0]])
            by_class.setdefault(name, []).append(f"the {role_name(role)}")
    if not by_class:
        return None
    parts = [
        f"{listed(models)} predict{'s' if len(models) == 1 else ''} {name} for every test image"
        for name, models in by_class.items()
    ]
    sentence = "; ".join(parts)
    return (
        f"{sentence[0].upper()}{sentence[1:]}: train longer or with another learning rate; if "
        'classes are uneven, set class_weights = "balanced" or sampling = "balanced".'
    )


def few_images(data: DataResult) -> str | None:
    """Warn about classes with very few test images; None if there are none."""
    pairs = zip(data.classes, data.class_counts["test"], strict=True)
    few = [(printable(name), number) for name, number in pairs if number < FEW_IMAGES]
    if not few:
        return None
    (name, number), *others = few[:MOST_NAMES]
    parts = [f"{name} has {plural(number, 'test image')}"]
    parts += [f"{name} {number}" for name, number in others]
    if len(few) > MOST_NAMES:
        parts.append(f"{count(len(few) - MOST_NAMES)} more have fewer than {FEW_IMAGES}")
    return f"The scores of small classes are uncertain: {', '.join(parts)}."


def mistakes(results: Results) -> list[Mistake]:
    """Return the most frequent mistakes of the last role, usually the student."""
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
        for _, true, predicted in cells[:MOST_MISTAKES]
    ]


MOST_IN_A_ROW = 4  # classes; more, and each class has a row of its own


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of the table: a score of all models, in the order of `roles_present`."""

    group: str  # such as "F1"
    name: str  # such as the name of a class; may be empty
    of_class: bool  # of one class, not of all
    metric: Metric  # gives the units
    summaries: list[Summary | None]

    def cell(self, row: int) -> Cell | None:
        """Return the score of the model in a row; None if it has none."""
        one = self.summaries[row]
        if one is None:
            return None
        value = score_text(self.metric, one.mean)
        return Cell(value=value, interval=score_range(self.metric, one.ci95))

    def change(self, of: int, against: int) -> str:
        """Return the difference of the models in two rows; empty if one has no score."""
        ours, theirs = self.summaries[of], self.summaries[against]
        return score_change(self.metric, ours.mean - theirs.mean) if ours and theirs else ""


def columns(results: Results) -> list[Column]:
    """Return the columns in which at least one model has a score."""
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
    """Return the columns, grouped under common heads."""
    return [
        (group, list(found)) for group, found in groupby(columns(results), lambda one: one.group)
    ]


def scores_of(results: Results) -> str:
    """Say which seeds the table is about."""
    exported = "scores of single classes from the exported seeds, all others mean over seeds"
    return "mean over seeds" if over_seeds(results) else exported


def meaning(results: Results) -> str:
    """Explain the columns."""
    positive = results.data.positive
    names = [printable(name) for name in results.data.classes if name != positive]
    text = (
        "Accuracy of a class: share of its images that were classified correctly. F1: combines "
        "misses and false alarms. Only differences in bold or colour are clear: each class has its "
        "paired 95 % interval, and p corrected for the number of classes (Holm) is below 0.05."
    )
    if positive:
        text += (
            f" The positive class is {printable(positive)}: its accuracy is the sensitivity, the "
            f"accuracy of {names[0]} is the specificity, and the AUCs use the probability of "
            f"{printable(positive)}."
        )
    elif any(column.metric == "roc_auc" for column in columns(results)):
        text += " AUC: each class against all others, mean over the classes."
    return text
