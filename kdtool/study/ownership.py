"""Whether a recipe may run in a folder that already contains a study."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kdtool.errors import StudyError
from kdtool.files import sha256_of
from kdtool.recipe.schema import Recipe
from kdtool.results.study import DataResult, Results, load_results
from kdtool.study.folder import StartTable, Study, swept_role

CHEAP = ("export", "profile", "explain", "device")  # tables of stages that are cheap to run again
MAY_CHANGE: dict[str, Any] = {"data": {"root", "memory"}} | dict.fromkeys(CHEAP, True)


def claim(
    study: Study,
    recipe: Recipe,
    data: DataResult,
    *,
    sweep: dict[str, list[Any]],
    force: bool,
) -> None:
    """Bind the folder of a study to a recipe and its data.

    Args:
        study: The folder, with its lock held.
        recipe: Recorded in the folder.
        data: That the recipe names, as they were loaded.
        sweep: Keys with values to choose from; these may differ.
        force: Take the folder over; stages that fit the new recipe are reused all the same.

    Raises:
        StudyError: It contains the study of another recipe or other data, and `force` is False.
    """
    if not force:
        check_owner(study, recipe, data, sweep=sweep)
    study.record_recipe(recipe)


def check_owner(
    study: Study, recipe: Recipe, data: DataResult, *, sweep: dict[str, list[Any]]
) -> None:
    """Check that a folder may be used by a recipe; nothing is written. For arguments see `claim`.

    Raises:
        StudyError: It contains the study of another recipe or other data.
    """
    if differences := _differences(study, recipe, data, sweep):
        lines = [f"{study.folder} already contains a study with different settings:", *differences]
        fix = (
            "give the new study another name with --set name=..., or replace this one with "
            "--force, which reuses every stage that fits the new settings"
        )
        raise StudyError("\n".join([*lines, fix]))


def _differences(
    study: Study, recipe: Recipe, data: DataResult, sweep: dict[str, list[Any]]
) -> list[str]:
    differences = []
    old_results = load_results(study.results_path) if study.results_path.exists() else None
    tried = {key for point in old_results.sweep for key in point.settings} if old_results else ()
    if study.recipe_path.exists() and any(study.folder.glob("checkpoints/*")):
        old, new = _settings(study.load_recipe()), _settings(recipe)
        _compare_weights(study, recipe, old, new)
        untouched = () if any(study.folder.glob("checkpoints/subclass-*")) else ("subclass.",)
        differences += [
            f"  {key}: was {old.get(key)}, now {new.get(key)}"
            + (
                f" (chosen by its sweep: --set {key}={old[key]} keeps it)"
                if _is_among(key, tried)
                else ""
            )
            for key in sorted(old.keys() | new.keys())
            if not _is_among(key, sweep) and not key.startswith(untouched)
            if old.get(key) != new.get(key)
        ]
    if old_results:
        swept = swept_role(sweep) if sweep else None
        if swept in old_results.models and swept not in {p.role for p in old_results.sweep}:
            differences.append(f"  sweep: was none, now over {', '.join(sweep)}")
        made_from = old_results.data
        reported = any(text.startswith("  data.") for text in differences)
        if made_from.fingerprint != data.fingerprint and not reported:
            differences.append(
                f"  data: was {made_from.description}, {made_from.num_train:,} training images, "
                f"now {data.description}, {data.num_train:,} training images; the images, their "
                "labels or their splits differ"
            )
    return differences


def _compare_weights(
    study: Study, recipe: Recipe, old: dict[str, object], new: dict[str, object]
) -> None:
    """Compare files of weights by content, if that was recorded, and not by name."""
    tables: tuple[tuple[StartTable, str | None], ...] = (
        ("teacher", recipe.teacher.weights),
        ("student", recipe.student.weights),
    )
    for table, weights in tables:
        known, key = study.origin(table), f"{table}.weights"
        if known is None or weights is None or not Path(weights).is_file():
            continue
        if sha256_of(Path(weights)) == known.identity:
            old[key] = new[key]
        elif old[key] == new[key]:
            new[key] = f"another file named {new[key]}"


def _settings(recipe: Recipe) -> dict[str, object]:
    """Return the recipe as key -> value, without what may change within a study.

    These are paths of files, which are compared by content, and tables of stages that are cheap to
    run again.
    """
    settings: dict[str, object] = {}
    content_of = recipe.without_paths.model_dump(mode="json", exclude=MAY_CHANGE)
    # Of every method, also of those that the recipe does not use: a sweep may choose one.
    content_of["distill"].pop("options", None)
    for table, content in content_of.items():
        if isinstance(content, dict):
            settings |= {f"{table}.{key}": value for key, value in content.items()}
        else:
            settings[table] = content
    for method, content in recipe.distill.options.model_dump(exclude_none=True).items():
        settings |= {f"distill.options.{method}.{key}": value for key, value in content.items()}
    return settings


def _is_among(key: str, swept: Iterable[str]) -> bool:
    """Whether a key was swept, in full or, for an option of a method, without the method."""
    table, _, option = key.rpartition(".")
    alone = f"distill.options.{option}" if table.startswith("distill.options.") else key
    return not {key, alone}.isdisjoint(swept)


def files_made_otherwise(study: Study, recipe: Recipe) -> list[str]:
    """Return the settings of the files of a finished study that the recipe would change.

    `kdtool export` may have set them, and the user may not know that the recipe undoes it.
    """
    if not (study.results_path.exists() and study.recipe_path.exists()):
        return []
    recorded = study.load_recipe()
    old, new = (_by_key(one.export.model_dump()) for one in (recorded, recipe))
    return [
        f"export.{key}: the files of this study were made with {_typed(old[key])} and are now made "
        f"with {_typed(value)}; --set 'export.{key}={_typed(old[key])}' keeps the old ones"
        for key, value in new.items()
        if old[key] != value
    ]


def _by_key(table: dict[str, Any], prefix: str = "") -> dict[str, object]:
    """Return the values of a table and of those inside it, by their full keys."""
    found: dict[str, object] = {}
    for key, value in table.items():
        inside = isinstance(value, dict)
        found |= _by_key(value, f"{prefix}{key}.") if inside else {f"{prefix}{key}": value}
    return found


def _typed(value: object) -> str:
    """Return a value in the form that `--set` accepts."""
    return value if isinstance(value, str) else json.dumps(value)


def same_but_for_files(one: dict[str, object], other: dict[str, object]) -> bool:
    """Return whether two recipes of results.json ask for the same models, apart from file names.

    Files that models start from are compared by content, which neither recipe contains.
    """
    one, other = _with_its_method(one), _with_its_method(other)
    keys = {key for key in one.keys() | other.keys() if MAY_CHANGE.get(key) is not True}
    return all(_nameless(one.get(key)) == _nameless(other.get(key)) for key in keys)


def _with_its_method(recipe: dict[str, object]) -> dict[str, object]:
    """Return a recipe of results.json with `distill.method`, which an older kdtool lacked."""
    old = recipe.get("distill")
    return recipe | {"distill": {"method": "kd", **old}} if isinstance(old, dict) else recipe


def check_same_recipe(study: Study, recipe: Recipe, results: Results) -> None:
    """Check that a study's results are of its recipe, and not of one that was recorded since.

    A run records its recipe when it begins and its results when it ends. What the recipe leaves
    out, or an older kdtool did not know, is not compared.

    Raises:
        StudyError: A run with another recipe was interrupted, or recipe.toml was edited.
    """
    if differing := differing_tables(recipe, results):
        raise StudyError(
            f"{study.results_path} is not of {study.recipe_path}: `{differing[0]}` differs. A run "
            "with other settings was interrupted, or the recipe was edited: run `kdtool "
            f"distill {study.recipe_path} --out {study.folder.parent}` to its end, or put the "
            "old recipe back"
        )


def differing_tables(recipe: Recipe, results: Results) -> list[str]:
    """Return which tables and keys of a recipe are not those that the results were made with.

    What the recipe leaves out, an older kdtool did not know, or may change within a study, is not
    compared.
    """
    given = recipe.without_paths.model_dump(mode="json", exclude_unset=True, exclude_none=True)
    return [
        table
        for table, content in given.items()
        if MAY_CHANGE.get(table) is not True
        and not _agrees(_nameless(content), _nameless(results.recipe.get(table, content)))
    ]


def _agrees(one: object, other: object) -> bool:
    """Return whether two contents of a recipe agree in all keys that both have."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(_agrees(one[key], other[key]) for key in one.keys() & other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_agrees, one, other))
    return one == other


def _nameless(content: object) -> object:
    """Return a table without the names of files."""
    if not isinstance(content, dict):
        return content
    if "source" in content:  # the fingerprint of the data covers the other keys
        return {key: content.get(key) for key in ("source", "augment", "views", "positive")}
    weights, model = content.get("weights"), content.get("model")
    names = {
        "weights": "a file" if weights not in {None, "imagenet"} else weights,
        "model": "a file" if str(model).lower().endswith(".onnx") else model,
    }
    return content | names
