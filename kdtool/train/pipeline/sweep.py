"""Sweeps: new students for every value of a recipe key; the value is chosen on validation."""

import itertools
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from kdtool.recipe.load import check_sweep, with_settings
from kdtool.recipe.schema import Recipe
from kdtool.results.base import Role
from kdtool.study.folder import swept_role
from kdtool.train.run import Trained

Settings = dict[str, Any]  # recipe key -> value


@dataclass(frozen=True)
class Candidate:
    """The students of one setting, one a seed, each trained from its own initial weights."""

    role: Role  # "student" or "subclass-student"
    settings: Settings
    recipe: Recipe
    students: list[Trained]


def title_of(settings: Settings) -> str:
    """Return a setting in words."""
    return ", ".join(f"{key} = {value}" for key, value in settings.items())


def grid(
    recipe: Recipe, sweep: dict[str, list[Any]], *, subclasses: bool
) -> list[tuple[Settings, Recipe]]:
    """Return every combination of the swept values with its recipe; without a sweep, one.

    Args:
        recipe: The study's.
        sweep: Keys and their values.
        subclasses: Whether the study has subclass students.

    Raises:
        RecipeError: A key cannot be swept, or a value is not allowed for it.
    """
    check_sweep(recipe, sweep, subclasses=subclasses)
    combinations = itertools.product(*sweep.values())
    settings = [dict(zip(sweep, values, strict=True)) for values in combinations]
    return [(chosen, with_settings(recipe, chosen)) for chosen in settings]


def settings_of(
    roles: list[Role], settings: list[tuple[Settings, Recipe]]
) -> dict[Role, list[tuple[Settings, Recipe]]]:
    """Return by role the settings that its models are trained with: all of them, or the recipe's.

    Args:
        roles: Of a study.
        settings: Of `grid`.
    """
    sweep, recipe = settings[0]
    varied = {swept_role(sweep)} if sweep else set()
    if "subclass-student" in varied:
        varied.add("subclass-teacher")  # [subclass] is its table too
    return {role: settings if role in varied else [({}, recipe)] for role in roles}


def best_candidate(candidates: list[Candidate]) -> Candidate:
    """Highest mean metric on validation; among equals the lowest mean validation loss."""
    return max(candidates, key=lambda candidate: mean_worth(candidate.students))


def mean_worth(seeds: list[Trained]) -> tuple[float, float]:
    """Return the mean metric and the negative mean loss on validation."""
    scores, minus_losses = zip(*(one.result.best.worth for one in seeds), strict=True)
    return fmean(scores), fmean(minus_losses)
