"""Train the teacher, or the control: models that learn from the labels alone."""

from kdtool.claim import CHEAP, claim, same_but_for_files
from kdtool.recipe import Recipe
from kdtool.recipe_file import load_recipe
from kdtool.record import ROLES, Role
from kdtool.results import ModelResult, Results, load_results
from kdtool.study import Study
from kdtool.terminal.progress import Terminal
from kdtool.train.conclude import conclude, write_results
from kdtool.train.roles import train_by_labels
from kdtool.train.run import Trained, open_run


def finetune(
    study: Study, recipe: Recipe, terminal: Terminal, *, role: Role, device: str, force: bool
) -> Results:
    """Train the teacher, or with `role` "control" the student on its own, and test it.

    Raises:
        KdtoolError: The data, a model, the device or the folder cannot be used.
    """
    with study.locked():
        if not force:
            recipe = with_cheap_tables(study, recipe)
        run = open_run(study, recipe, device, terminal)
        claim(study, recipe, run.splits.result, sweep={}, force=force)
        models: dict[Role, list[Trained]] = {role: train_by_labels(run, role)}
        return write_results(run, beside_others(study, conclude(run, models, [], with_files=False)))


def with_cheap_tables(study: Study, recipe: Recipe) -> Recipe:
    """Return a recipe with what its finished study says of files, which are not made here."""
    if not (study.results_path.exists() and study.recipe_path.exists()):
        return recipe
    standing = load_recipe(study.recipe_path)
    return recipe.model_copy(update={table: getattr(standing, table) for table in CHEAP})


def beside_others(study: Study, results: Results) -> Results:
    """Add `results` to what the study holds already, if that is of the same recipe and data."""
    if not study.results_path.exists():
        return results
    old = load_results(study.results_path)
    same_data = old.data.fingerprint == results.data.fingerprint
    if not same_data or not same_but_for_files(old.recipe, results.recipe):
        return results
    if any(files_changed(old, results, role) for role in results.models):
        return results  # what else stands there was made with other files
    models = old.models | {
        role: model
        for role, model in results.models.items()
        # a model that stood already keeps its files
        if role not in old.models or without_files(old.models[role]) != without_files(model)
    }
    in_order = {role: models[role] for role in ROLES if role in models}
    return old.model_copy(update={"models": in_order})


def files_changed(old: Results, results: Results, role: Role) -> bool:
    """Say whether a model that starts from a file is another one than that which stood."""
    starts = results.recipe["teacher" if role == "teacher" else "student"]
    assert isinstance(starts, dict)
    return (
        role in old.models
        and (starts.get("weights") is not None or str(starts["model"]).lower().endswith(".onnx"))
        and without_files(old.models[role]) != without_files(results.models[role])
    )


def without_files(model: ModelResult) -> dict[str, object]:
    """Return what training and testing gave."""
    return model.model_dump(exclude={"files", "refused", "recommended"})
