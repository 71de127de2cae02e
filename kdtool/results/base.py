"""What all records share: frozen, strict, and JSON without NaN or infinity."""

from typing import Final, Literal, get_args

from pydantic import BaseModel, ConfigDict

SCHEMA: Final = 1  # of results.json and of the JSON of `kdtool profile`

Interval = tuple[float, float]  # lower and upper end

# The models of a study, in the order in which they are shown.
Role = Literal["teacher", "subclass-teacher", "control", "student", "subclass-student"]
ROLES: tuple[Role, ...] = get_args(Role)
# Whom each student learns from.
TEACHER_OF: dict[Role, Role] = {"student": "teacher", "subclass-student": "subclass-teacher"}

# Scores of a model on images. Of two classes, AUC and PR AUC are of the positive one; of more, the
# mean over the classes, each against the rest.
Metric = Literal["accuracy", "balanced_accuracy", "weighted_f1", "macro_f1", "roc_auc", "pr_auc"]
METRICS: tuple[Metric, ...] = get_args(Metric)


class Record(BaseModel):
    """A value that was measured; never changed after."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )


class Summary(Record):
    """A score over seeds."""

    mean: float  # over seeds
    std: float | None  # over seeds; None for a single seed
    ci95: Interval  # of the mean, over seeds and test images


def to_json(record: Record) -> str:
    """Return `record` as indented JSON with a final newline; no record holds a NaN or infinity."""
    return record.model_dump_json(by_alias=True, indent=1) + "\n"
