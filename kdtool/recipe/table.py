"""What all tables of a recipe share."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

TomlPath = Annotated[Path, Field(strict=False)]  # TOML has no paths, only strings
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Table(BaseModel):
    """A table of the recipe: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


def did_you_mean(given: str, known: Iterable[str], form: str = '"{}"') -> str:
    """Return the end of an error message that names the closest known word; "" if none is close.

    Args:
        given: What the user wrote.
        known: What is allowed.
        form: How the message shows a word.
    """
    close = difflib.get_close_matches(given, list(known), n=1)
    return f"; did you mean {form.format(close[0])}?" if close else ""
