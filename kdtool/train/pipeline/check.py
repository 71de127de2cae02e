"""Check a recipe as a study does before it trains, without changing the study's folder."""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

from kdtool.files import scratch_folder
from kdtool.recipe.schema import Recipe
from kdtool.results.base import TEACHER_OF, Role
from kdtool.results.commands.check import CheckReport, ModelsToTrain, NetworkCheck
from kdtool.study.folder import Study
from kdtool.study.ownership import check_owner, files_made_otherwise
from kdtool.train.fit.optimizer import epochs_to_train
from kdtool.train.models.count import count
from kdtool.train.models.create import source_of
from kdtool.train.pipeline.commands import check_settings
from kdtool.train.pipeline.roles import plan_role
from kdtool.train.pipeline.sweep import grid
from kdtool.train.pipeline.train_model import trained_here
from kdtool.train.reporter import Reporter, Update
from kdtool.train.run import Run, Trained, check_models, open_run, roles_of


class Listener:
    """Reports to another reporter, and keeps the warnings in their order."""

    def __init__(self, reporter: Reporter) -> None:
        self.reporter = reporter
        self.warnings: list[str] = []

    def say(self, text: str) -> None:
        """Pass a message on."""
        self.reporter.say(text)

    def warn(self, text: str) -> None:
        """Keep a warning, once, and pass it on."""
        if text not in self.warnings:
            self.warnings.append(text)
        self.reporter.warn(text)

    def progress(self, title: str, total: int) -> AbstractContextManager[Update]:
        """Pass the progress on."""
        return self.reporter.progress(title, total)


def check(
    folder: Path, recipe: Recipe, reporter: Reporter, *, device: str, subclasses: bool = False
) -> CheckReport:
    """Load the data, build the networks with their weights, and check the folder of the study.

    Nothing is trained, and the folder is neither made nor changed.

    Args:
        folder: Of the study; it need not exist.
        recipe: Of the study.
        reporter: Shows progress and warnings.
        device: As of `distill`.
        subclasses: Whether for subclass-distill.

    Raises:
        KdtoolError: This recipe could not be trained here.
    """
    listener = Listener(reporter)
    run = open_run(Study(folder, listener.warn), recipe, device, listener)
    check_models(run)
    check_owner(run.study, recipe, run.splits.result, sweep={})
    for text in files_made_otherwise(run.study, recipe):
        listener.warn(text)
    check_elsewhere(run, subclasses=subclasses)
    networks = [role for role in roles_of(subclasses=subclasses) if role != "control"]
    return CheckReport(
        name=recipe.name,
        folder=str(folder),
        device=str(run.device),
        data=run.splits.result,
        networks=[_network(run, role) for role in networks],
        models=models_of(run, subclasses=subclasses),
        warnings=listener.warnings,
    )


def check_elsewhere(run: Run, *, subclasses: bool) -> None:
    """Check what a whole study needs, in a temporary folder.

    Args:
        run: The study.
        subclasses: Whether it is one of subclass-distill.

    Raises:
        KdtoolError: A model cannot be trained or exported.
    """
    with scratch_folder() as scratch:  # an export that is tried leaves a record
        elsewhere = replace(run, study=Study(scratch / run.recipe.name))
        settings = grid(run.recipe, {}, subclasses=subclasses)
        check_settings(elsewhere, settings, {}, subclasses=subclasses, force=False)


def _network(run: Run, role: Role) -> NetworkCheck:
    table = run.table(role)
    cost = count(run.network(role), run.image_shape)
    num_images = len(run.splits_of(role).train)
    return NetworkCheck(
        role=role,
        model=table.without_paths.model,
        weights=None if table.weights is None else source_of(table),
        num_params=cost.num_params,
        num_macs=cost.num_macs,
        params_at_least=cost.params_at_least,
        macs_at_least=cost.macs_at_least,
        num_epochs=0 if table.is_trained else epochs_to_train(table, num_images),
    )


def models_of(run: Run, *, subclasses: bool) -> list[ModelsToTrain]:
    """Return how many models the study has and needs; nothing is copied from another study.

    Args:
        run: The study.
        subclasses: Whether it is one of subclass-distill.
    """
    found: dict[Role, list[Trained]] = {}
    models = []
    for role in roles_of(subclasses=subclasses):
        num_models = len(run.recipe.seeds_of(role))
        teacher = TEACHER_OF.get(role)  # the keys of its students depend on its own
        if teacher is None or len(found[teacher]) == len(run.recipe.seeds_of(teacher)):
            plans = plan_role(run, role, found)
            found[role] = [one for plan in plans if (one := trained_here(run, plan))]
        num_trained = len(found.get(role, []))
        models.append(ModelsToTrain(role=role, num_models=num_models, num_trained=num_trained))
    return models
