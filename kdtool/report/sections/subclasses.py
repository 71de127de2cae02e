"""What the models made of their subclasses, and when subclasses can help, in words and rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdtool.format import listed, percent, percent_range, printable, role_name
from kdtool.results.base import Role
from kdtool.results.evidence import FineMatch, SubclassUse
from kdtool.results.study import Results
from kdtool.stats.intervals import Word

FEW_CLASSES = 10  # below, soft targets over the classes leave room for what subclasses tell
MOST_SHOWN = 12  # classes whose images are shown
MOST_COLUMNS = 60  # subclasses in a table; more are left to results.json

MEANING = (
    "An image is counted under the subclass of its own class that has the largest logit. The "
    "effective number says how many subclasses, evenly used, would be as diverse: 1 means that "
    "one subclass does all."
)
# What the verdict on subclass against plain distillation means, with few classes and with many.
FOUND_WITH_FEW: dict[Word, str] = {
    "HELPED": "This study found a gain over plain distillation, as expected: keep subclasses.",
    "NO EVIDENCE": "This study found no evidence of a gain over plain distillation, although the "
    "classes are few; that does not show that there is none. Look whether subclasses collapsed, "
    "try another subclass.per_class, and more seeds.",
    "HURT": "In this study plain distillation was better, although the classes are few: use it, or "
    "look whether subclasses collapsed and try another subclass.per_class or "
    "subclass.auxiliary_weight.",
}
FOUND_WITH_MANY: dict[Word, str] = {
    "HELPED": "This study found a gain over plain distillation, although the classes are many: "
    "keep subclasses, and repeat with other seeds.",
    "NO EVIDENCE": "This study found no evidence of a gain over plain distillation, and with so "
    "many classes none was to be expected: take plain distillation, which is simpler, unless more "
    "seeds show a gain.",
    "HURT": "In this study plain distillation was better, and with so many classes subclasses "
    "have little to add: use plain distillation.",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedRow:
    """How one model used its subclasses, in short."""

    role: Role
    seed: int
    exported: bool
    effective: str  # mean over the classes
    collapsed: str  # names of classes
    accuracy: str  # of the match with fine classes; empty: they are not known
    accuracy_range: str
    information: str


@dataclass(frozen=True, kw_only=True, slots=True)
class FineRow:
    """The images of one fine class, subclass by subclass."""

    name: str
    cells: list[tuple[int, float, bool]]  # images, share of the row, first subclass of a class


def exported_uses(results: Results) -> list[SubclassUse]:
    """Return what is known of the exported models, which alone have galleries."""
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
                effective=f"{np.mean([one.effective for one in use.per_class]):.2f}",
                collapsed=listed(collapsed) if collapsed else "none",
                accuracy=percent(fine.accuracy) if fine else "",
                accuracy_range=percent_range(fine.accuracy_ci95) if fine else "",
                information=f"{fine.adjusted_mutual_information:.3f}" if fine else "",
            )
        )
    return rows


def alarm(results: Results) -> str | None:
    """Say in which models subclasses collapsed and what to try; None if they did not."""
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
        "class, so it tells the student no more than the class does. Try a larger "
        "subclass.auxiliary_weight, fewer subclasses (subclass.per_class) or a larger "
        "teacher.batch_size."
    )


def fine_rows(results: Results, fine: FineMatch) -> list[FineRow]:
    """Return the images of every fine class by subclass; empty if there are too many to show."""
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
    """Say how well a model's subclasses match the fine classes; None if these are not known."""
    fine = use.fine
    if fine is None:
        return None
    return (
        f"Each subclass stands for one fine class, so that the most images fit: "
        f"{percent(fine.accuracy)} of the test images do (95 % interval "
        f"{percent_range(fine.accuracy_ci95)}). The adjusted mutual information is "
        f"{fine.adjusted_mutual_information:.3f}: 0 is what chance gives, 1 is a perfect match. "
        "The fine labels were not shown to any model."
    )


def advice(results: Results) -> list[str]:
    """Say when subclasses can help, and what this study found."""
    num_classes = len(results.data.classes)
    few = num_classes < FEW_CLASSES
    numbers = "1 number" if num_classes == 2 else f"{num_classes - 1} numbers"
    sentences = [
        f"With {num_classes} classes a soft target of plain distillation holds {numbers}. "
        + (
            "That is little, and subclasses give the teacher more to tell: this is where they "
            "can help."
            if few
            else "That is already much, so subclasses add little: with 10 classes or more, plain "
            "distillation usually carries as much."
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
    """Return the places of the classes whose images are shown: those that are split the most."""
    order = sorted(range(len(use.per_class)), key=lambda place: -use.per_class[place].effective)
    return sorted(order[:MOST_SHOWN])
