"""Fresh students for every value of a recipe key; the value is chosen on validation."""

import itertools
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kdtool.errors import RecipeError
from kdtool.recipe import Recipe
from kdtool.recipe_file import with_settings
from kdtool.train.run import Trained

Settings = dict[str, Any]  # recipe key -> value


@dataclass(frozen=True)
class Candidate:
    """The students of one setting, one a seed, none of them started from another's weights."""

    settings: Settings
    recipe: Recipe
    students: list[Trained]


def grid(recipe: Recipe, sweep: dict[str, list[Any]]) -> list[tuple[Settings, Recipe]]:
    """Return every combination of the swept values with its recipe; without a sweep, one.

    Raises:
        RecipeError: A key cannot be swept, or a value is not allowed for it.
    """
    if len(sweep) > 2:
        raise RecipeError(f"got a sweep over {len(sweep)} keys, expected one or two")
    for key in sweep:
        if not key.startswith("distill."):
            raise RecipeError(
                f"cannot sweep {key}: only keys of [distill] can be swept; "
                "any other would be tuned for the student and not for its control"
            )
    combinations = itertools.product(*sweep.values())
    settings = [dict(zip(sweep, values, strict=True)) for values in combinations]
    return [(chosen, with_settings(recipe, chosen)) for chosen in settings]


def best_candidate(candidates: list[Candidate]) -> Candidate:
    """Highest mean validation accuracy; among equals the lowest mean validation loss."""

    def worth(candidate: Candidate) -> tuple[float, float]:
        accuracies, losses = zip(
            *(one.result.best.worth for one in candidate.students), strict=True
        )
        return fmean(accuracies), fmean(losses)

    return max(candidates, key=worth)
