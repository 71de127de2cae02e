"""What all records share: frozen, strict, and JSON without NaN or infinity."""

from typing import Final

from pydantic import BaseModel, ConfigDict

SCHEMA: Final = 1  # of results.json and of the JSON of `kdtool profile`

Interval = tuple[float, float]  # lower and upper end


class Record(BaseModel):
    """A value that was measured; never changed after."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, populate_by_name=True, allow_inf_nan=False
    )


def to_json(record: Record) -> str:
    """Return `record` as indented JSON with a final newline; no record holds a NaN or infinity."""
    return record.model_dump_json(by_alias=True, indent=1) + "\n"
