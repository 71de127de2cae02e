"""What all records share: they are frozen and strict, and their JSON has no NaN or infinity."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Final, Literal, TypeVar, get_args

from pydantic import BaseModel, ConfigDict

SCHEMA: Final = 1  # of results.json and of the JSON of `kdtool profile`

# Controls beyond ASCII, and marks of the direction of writing
CONTROLLING = re.compile(r"[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
Interval = tuple[float, float]  # lower and upper end

# The models of a study, in the order in which they are shown.
Role = Literal["teacher", "subclass-teacher", "control", "student", "subclass-student"]
ROLES: tuple[Role, ...] = get_args(Role)
# The teacher of each student.
TEACHER_OF: dict[Role, Role] = {"student": "teacher", "subclass-student": "subclass-teacher"}

# The parts of the images.
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

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


R = TypeVar("R", bound=Record)


def to_json(record: Record) -> str:
    """Return `record` as indented JSON with a final newline, without NaN or infinity.

    Characters that control a terminal are escaped, those below 32 by any JSON.
    """
    text = record.model_dump_json(by_alias=True, indent=1) + "\n"
    return CONTROLLING.sub(lambda one: f"\\u{ord(one[0]):04x}", text)


def seal_of(content: Mapping[str, object]) -> str:
    """Return the SHA-256 of JSON content, whatever its layout and the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def sealed(record: R) -> R:
    """Return a record with the SHA-256 of its other fields in its field `sha256`."""
    return record.model_copy(update={"sha256": _seals(to_json(record))[1]})


def is_edited(text: str | bytes) -> bool:
    """Return whether the JSON of a `sealed` record was changed; False where it has no seal."""
    given, found = _seals(text)
    return given is not None and given != found


def _seals(text: str | bytes) -> tuple[object, str]:
    """Return the seal that JSON has, and the one that its content should have."""
    content = json.loads(text)
    return content.pop("sha256", None), seal_of(content)


def flat(table: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Return the values of a nested table, such as `Results.recipe`, by dotted key."""
    found: dict[str, object] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        elif value is not None:
            found[prefix + key] = value
    return found
