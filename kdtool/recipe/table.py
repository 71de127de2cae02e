"""What all tables of a recipe share."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

TomlPath = Annotated[Path, Field(strict=False)]  # TOML has no paths, only strings
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Table(BaseModel):
    """A table of the recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
