"""The one way in which a model of a study is trained, or found if it stands."""

from collections.abc import Callable
from pathlib import Path

from kdtool.files import write_atomic
from kdtool.format import score_with_name
from kdtool.recipe.training import TrainTable
from kdtool.results.base import Role
from kdtool.results.study import TrainingResult
from kdtool.study.folder import Origin, Study, key_of
from kdtool.train.fit.batches import Training
from kdtool.train.fit.loop import BatchLoss, fit
from kdtool.train.fit.optimizer import epochs_to_train
from kdtool.train.models.checkpoint import save_weights, set_weights
from kdtool.train.models.create import origin_of
from kdtool.train.models.device import choose_precision
from kdtool.train.models.networks import describe_model
from kdtool.train.models.trained_teacher import as_it_is, chance_warning
from kdtool.train.run import TEACHERS, NotTrainedError, Run, Trained, table_of


def from_sibling(study: Study, checkpoint: Path, key: str) -> TrainingResult | None:
    """Copy the checkpoint of a model from a study beside `study`; None if none has it.

    The key covers the data, the recipe, the layers, the seed and kdtool's version. It knows nothing
    of PyTorch's version and of the modules that a network of the user's imports.
    """
    for record in sorted(study.folder.parent.glob(f"*/stages/{checkpoint.stem}.json")):
        sibling = Study(record.parent.parent)
        result = sibling.done(checkpoint.stem, key, TrainingResult)
        if result is not None and sibling.folder != study.folder:
            there = sibling.folder / checkpoint.relative_to(study.folder)
            write_atomic(checkpoint, there.read_bytes())
            return result.model_copy(update={"taken_from": sibling.folder.name})
    return None


def train_model(
    run: Run, role: Role, seed: int, depends_on: object, make_loss: Callable[[], BatchLoss]
) -> Trained:
    """Train one model, or return it if it stands already.

    Args:
        run: The study.
        role: What the model is for; control and student of one seed start from equal weights and
            see equal batches.
        seed: Of the initial weights and of the order of the images.
        depends_on: What its loss depends on, beside data, table and seed.
        make_loss: Makes the loss of a batch, when it is needed.

    Raises:
        NotTrainedError: The model has still to be trained, and may not be.
    """
    table, splits = run.table(role), run.splits_of(role)
    layers = describe_model(table.without_paths.model, run.build(role, seed))
    # Without the arithmetic, a control of one machine could stand beside a student of another.
    excluded = [] if role in TEACHERS else run.splits.result.excluded
    data = [run.fingerprint, excluded, run.recipe.data.augment, *chosen_by(run)]
    origin = origin_of(table, run.study.origin(table_of(role)))
    key = key_of(content_of(table, origin), layers, arithmetic(run, role), seed, data, depends_on)
    checkpoint = run.study.checkpoint(role, seed, key)
    state_path = checkpoint.with_suffix(".state.pt")
    title = f"{role}, seed {seed}"
    facts = {
        "model": table.model,
        "role": role,
        "seed": seed,
        "num_logits": run.num_logits(role),
    }

    def make() -> tuple[TrainingResult, list[Path]]:
        if table.is_trained:
            run.terminal.say(
                f"{role}: {table.without_paths.model} comes trained, and is tested on validation"
            )
            model = run.build(role, seed, pretrained=True)
            result = as_it_is(model.to(run.device), splits, run.recipe.metric)
            if table.is_onnx:
                return result, []
            save_weights(checkpoint, model.state_dict(), facts)
            return result, [checkpoint]
        if known := from_sibling(run.study, checkpoint, key):
            run.terminal.say(f"{title}: the same as in {known.taken_from}, taken over")
            return known, [checkpoint]
        if run.finished is not None or run.only_standing:
            raise NotTrainedError(checkpoint)
        num_images = len(splits.train)
        total = epochs_to_train(table, num_images) * num_images
        with run.terminal.progress(title, total) as update:
            training = Training(
                table, seed, run.recipe.metric, run.recipe.data.augment, run.num_logits(role)
            )
            model = run.build(role, seed, pretrained=True)
            result, weights = fit(model, splits, training, make_loss(), state_path, update)
        save_weights(checkpoint, weights, facts | {"best_epoch": result.best_epoch})
        run.terminal.say(
            f"{title}: {score_with_name(run.recipe.metric, result.best.score)} on validation "
            f"(epoch {result.best_epoch} of {len(result.epochs)}), "
            f"{result.images_per_second:,.0f} images/s in {result.precision}"
        )
        show_warnings(run, title, result)
        if role in TEACHERS:
            set_weights(model, weights)
            if warning := chance_warning(model, splits.validation, len(splits.classes)):
                run.terminal.warn(f"the {role} {warning}")
        return result, [checkpoint]

    result = run.study.stage(checkpoint.stem, key, TrainingResult, make)
    state_path.unlink(missing_ok=True)  # only now: the stage stands
    run.study.record_origin(table_of(role), origin)
    return Trained(role, seed, key, checkpoint, result)


def show_warnings(run: Run, title: str, result: TrainingResult) -> None:
    """Show what is stored with the training of a model, and in the report as well."""
    for warning in result.warnings:
        run.terminal.warn(f"{title}: {warning}")


def arithmetic(run: Run, role: Role) -> tuple[str, str]:
    """Return the device and the precision that the models of `role` are, or were, trained in."""
    if run.finished is not None:
        seed = run.finished.models[role].seeds[0]
        return seed.device, seed.precision
    table = run.table(role)
    if table.is_trained:
        return run.device.type, "fp32"
    return run.device.type, choose_precision(table.precision, run.device, run.build(role, seed=0))


def chosen_by(run: Run) -> list[object]:
    """Return what the choice of an epoch depends on: the metric, and the class that AUCs are of."""
    metric = run.recipe.metric
    return [metric, run.splits.positive if metric in {"roc_auc", "pr_auc"} else None]


def content_of(table: TrainTable, origin: Origin | None) -> list[object]:
    """Return a table and what its weights are, without the names of files.

    An ONNX file is known by what its model tells of itself.
    """
    nameless: dict[str, object] = {"weights": None}
    if table.is_onnx:
        nameless["model"] = "onnx"
    return [table.model_copy(update=nameless), origin.identity if origin else None]
