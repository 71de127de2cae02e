"""What all records share: they are frozen and strict, and their JSON has no NaN or infinity."""

from collections.abc import Mapping
from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

SCHEMA: Final = 1  # of results.json and of the JSON of `kdtool profile`

Interval = tuple[float, float]  # lower and upper end

# The models of a study, in the order in which they are shown.
Role = Literal["teacher", "subclass-teacher", "control", "student", "subclass-student"]
ROLES: tuple[Role, ...] = get_args(Role)
# The teacher of each student.
TEACHER_OF: dict[Role, Role] = {"student": "teacher", "subclass-student": "subclass-teacher"}

# Scores of a model on images. With two classes, ROC AUC and PR AUC are those of the positive class;
# with more, the mean over the classes, each against the rest.
Metric = Literal["accuracy", "balanced_accuracy", "weighted_f1", "macro_f1", "roc_auc", "pr_auc"]
METRICS: tuple[Metric, ...] = get_args(Metric)
Precision = Literal["fp32", "fp16", "int8"]  # of a model's file


class Record(BaseModel):
    """A measured result; it cannot be changed."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )


class Summary(Record):
    """A score over seeds."""

    mean: float  # over seeds
    std: float | None  # over seeds; None for a single seed
    ci95: Interval  # of the mean, over seeds and test images


def to_json(record: Record) -> str:
    """Return `record` as indented JSON with a final newline, without NaN or infinity."""
    return record.model_dump_json(by_alias=True, indent=1) + "\n"


def flat(table: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return the values of a nested table, such as `Results.recipe`, by dotted key."""
    found: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            found[prefix + key] = value
    return found
