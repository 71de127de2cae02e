"""All scores of all models, class by class: a row a model where the classes are few."""

from dataclasses import dataclass
from itertools import groupby

from kdtool.record import Metric, Summary
from kdtool.report import metrics
from kdtool.report.classes import class_scores, over_seeds
from kdtool.report.comparison import Cell
from kdtool.report.words import plain, present
from kdtool.results import ModelResult, Results

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
        value = metrics.value(self.metric, one.mean)
        return Cell(value=value, interval=metrics.interval(self.metric, one.ci95))

    def change(self, of: int, against: int) -> str:
        """Return the difference of two models, given by their rows; empty if one has no score."""
        ours, theirs = self.summaries[of], self.summaries[against]
        return metrics.change(self.metric, ours.mean - theirs.mean) if ours and theirs else ""


def columns(results: Results) -> list[Column]:
    """Return the columns for which some model has a score."""
    models = [results.models[role] for role in present(results)]
    classes = results.data.classes if len(results.data.classes) <= MOST_IN_A_ROW else []
    of = f"of {plain(results.data.positive)}" if results.data.positive else ""
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
            name=plain(name),
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
    names = [plain(name) for name in results.data.classes if name != positive]
    told = (
        "Accuracy of a class: of its images, how many were recognized. F1: misses and false alarms "
        "in one. A difference well within the 95 % intervals may be chance."
    )
    if positive:
        told += (
            f" The positive class is {plain(positive)}: its accuracy is the sensitivity, that of "
            f"{names[0]} the specificity, and the AUCs are of its probability."
        )
    elif any(column.metric == "roc_auc" for column in columns(results)):
        told += " AUC: each class against the rest, the mean of them."
    return told
