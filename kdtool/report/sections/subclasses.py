"""How the models use their subclasses, and when subclasses can help."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import ClassVar

from kdtool.format import (
    decimals,
    effective_number,
    listed,
    percent,
    percent_range,
    plural,
    printable,
    role_name,
)
from kdtool.results.base import Role
from kdtool.results.evidence import FineMatch, SubclassUse, Word
from kdtool.results.study import Results

FEW_CLASSES = 10  # fewer, and soft targets over the classes leave room for subclasses to add to
MOST_SHOWN = 12  # classes whose images are shown
MOST_COLUMNS = 60  # subclasses in a table; more are in results.json only
MOST_OPEN = 20  # classes; more, and the table is folded

MEANING = (
    "An image is counted under the subclass of its own class that has the largest logit. The "
    "effective number is the number of evenly used subclasses that would be as diverse: 1 means "
    "that one subclass takes all images. It is the mean over the classes."
)
# What the verdict on subclass against plain distillation means, with few classes and with many.
FOUND_WITH_FEW: dict[Word, str] = {
    "HELPED": "This study found a gain over plain distillation, as expected: keep subclasses.",
    "NO EVIDENCE": "This study found no evidence of a gain over plain distillation, although there "
    "are few classes; that does not show that there is no gain. Check whether subclasses "
    "collapsed, try another subclass.per_class, and more seeds.",
    "HURT": "In this study plain distillation was better, although there are few classes: use it, "
    "or check whether subclasses collapsed and try another subclass.per_class or "
    "subclass.auxiliary_weight.",
}
FOUND_WITH_MANY: dict[Word, str] = {
    "HELPED": "This study found a gain over plain distillation, although there are many classes: "
    "keep subclasses, and repeat with other seeds.",
    "NO EVIDENCE": "This study found no evidence of a gain over plain distillation, and with so "
    "many classes none was expected: use plain distillation, which is simpler, unless more seeds "
    "show a gain.",
    "HURT": "In this study plain distillation was better, and with so many classes subclasses "
    "have little to add: use plain distillation.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedRow:
    """How one model uses its subclasses, in one line."""

    role: Role
    seed: int
    exported: bool
    effective: str  # mean over the classes
    collapsed: str  # names of classes
    accuracy: str  # of the match with fine classes; empty: there are none
    accuracy_range: str
    information: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FineRow:
    """The images of one fine class, subclass by subclass."""

    name: str
    cells: list[tuple[int, float, bool]]  # images, share of the row, first subclass of a class


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassUse:
    """How the subclasses of one class are used."""

    name: str
    shares: list[float]  # of the images of the class, one a subclass; empty: too many to show
    effective: str
    collapsed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimedImages:
    """The test images that each subclass of one class claims most strongly."""

    name: str
    claimed: list[list[int]]  # numbers of test images, one list a subclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelUse:
    """How one exported model uses its subclasses."""

    role: Role
    seed: int
    classes: list[ClassUse]
    is_folded: bool  # the table has too many classes to show it at once
    is_wide: bool  # too many subclasses for a table
    num_subclasses: int  # of each class
    claims: list[ClaimedImages]
    fine_sentence: str | None  # None: the study has no fine classes
    fine_rows: list[FineRow]


@dataclass(frozen=True, kw_only=True, slots=True)
class SubclassesSection:
    """How the models use their subclasses."""

    LINK: ClassVar = "Subclasses"

    num_subclasses: int  # of each class
    has_fine: bool  # the study has fine classes, which subclasses are compared with
    alarm: str | None
    advice: list[str]
    seeds: list[SeedRow]
    meaning: str
    uses: list[ModelUse]
    most_columns: int
    most_shown: int  # classes whose images are shown


def section(results: Results) -> SubclassesSection | None:
    """Return how the models use their subclasses; None in a study without subclasses."""
    uses = exported_uses(results)
    if not uses:
        return None
    return SubclassesSection(
        num_subclasses=len(uses[0].per_class[0].shares),
        has_fine=uses[0].fine is not None,
        alarm=alarm(results),
        advice=advice(results),
        seeds=seed_rows(results),
        meaning=MEANING,
        uses=[_model_use(results, use) for use in uses],
        most_columns=MOST_COLUMNS,
        most_shown=MOST_SHOWN,
    )


def _model_use(results: Results, use: SubclassUse) -> ModelUse:
    num_subclasses = len(use.per_class[0].shares)
    is_wide = num_subclasses > MOST_COLUMNS
    shown = [use.per_class[place] for place in shown_classes(use)]
    return ModelUse(
        role=use.role,
        seed=use.seed,
        classes=[
            ClassUse(
                name=printable(one.name),
                shares=[] if is_wide else one.shares,
                effective=effective_number(one.effective),
                collapsed=one.collapsed,
            )
            for one in use.per_class
        ],
        is_folded=len(use.per_class) > MOST_OPEN,
        is_wide=is_wide,
        num_subclasses=num_subclasses,
        claims=[
            ClaimedImages(name=printable(one.name), claimed=one.claimed[:MOST_COLUMNS])
            for one in shown
        ],
        fine_sentence=fine_sentence(use),
        fine_rows=fine_rows(results, use.fine) if use.fine else [],
    )


def exported_uses(results: Results) -> list[SubclassUse]:
    """Return the uses by exported models, the only ones with galleries."""
    return [use for use in results.subclasses if use.exported]


def seed_rows(results: Results) -> list[SeedRow]:
    """Return a row for every model with subclasses."""
    rows = []
    for use in results.subclasses:
        fine = use.fine
        collapsed = [printable(one.name) for one in use.per_class if one.collapsed]
        rows.append(
            SeedRow(
                role=use.role,
                seed=use.seed,
                exported=use.exported,
                effective=effective_number(fmean(one.effective for one in use.per_class)),
                collapsed=listed(collapsed) if collapsed else "none",
                accuracy=percent(fine.accuracy) if fine else "",
                accuracy_range=percent_range(fine.accuracy_ci95) if fine else "",
                information=decimals(fine.adjusted_mutual_information) if fine else "",
            )
        )
    return rows


def alarm(results: Results) -> str | None:
    """Name the models whose subclasses collapsed and what to try; None if none did."""
    found = []
    for use in results.subclasses:
        names = [printable(one.name) for one in use.per_class if one.collapsed]
        if names:
            few = listed(names) if len(names) <= 3 else f"{len(names)} classes"
            found.append(f"the {role_name(use.role)} of seed {use.seed} ({few})")
    if not found:
        return None
    shown = found if len(found) <= 4 else [*found[:4], f"{len(found) - 4} more"]
    return (
        f"Subclasses collapsed in {listed(shown)}: one subclass takes nearly all images of a "
        "class, so the student learns no more from it than from the class. Try a larger "
        "subclass.auxiliary_weight, fewer subclasses (subclass.per_class) or a larger "
        "teacher.batch_size."
    )


def fine_rows(results: Results, fine: FineMatch) -> list[FineRow]:
    """Return the images of every fine class by subclass; empty if too many for a table."""
    if len(fine.table[0]) > MOST_COLUMNS:
        return []
    step = len(fine.table[0]) // len(results.data.classes)
    return [
        FineRow(
            name=printable(name),
            cells=[
                (number, number / (sum(row) or 1), place % step == 0)
                for place, number in enumerate(row)
            ],
        )
        for name, row in zip(results.data.fine_classes, fine.table, strict=True)
    ]


def fine_sentence(use: SubclassUse) -> str | None:
    """Say how well a model's subclasses match the fine classes; None if there are none."""
    fine = use.fine
    if fine is None:
        return None
    return (
        f"Each subclass is matched with one fine class so that the most images agree: "
        f"{percent(fine.accuracy)} of the test images do (95 % interval "
        f"{percent_range(fine.accuracy_ci95)}). The adjusted mutual information is "
        f"{decimals(fine.adjusted_mutual_information)}: 0 is chance level, 1 is a perfect match. "
        "No model was trained with the fine labels."
    )


def advice(results: Results) -> list[str]:
    """Say when subclasses can help, and whether they did in this study."""
    num_classes = len(results.data.classes)
    few = num_classes < FEW_CLASSES
    numbers = plural(num_classes - 1, "number")
    sentences = [
        f"With {num_classes} classes a soft target of plain distillation consists of {numbers}. "
        + (
            "That is little, and subclasses let the teacher pass on more: this is where they can "
            "help."
            if few
            else "That is already much, so subclasses add little: with 10 classes or more, plain "
            "distillation usually passes on as much."
        )
    ]
    verdict = next(
        (v for v in results.verdicts if (v.of, v.against) == ("subclass-student", "student")), None
    )
    if verdict is None:
        return sentences
    found = FOUND_WITH_FEW if few else FOUND_WITH_MANY
    return [*sentences, found[verdict.verdict]]


def shown_classes(use: SubclassUse) -> Sequence[int]:
    """Return the places of the classes whose images are shown: the most evenly split ones."""
    order = sorted(range(len(use.per_class)), key=lambda place: -use.per_class[place].effective)
    return sorted(order[:MOST_SHOWN])
