"""One model of a study: its key, whether it is trained already, and how it is trained."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kdtool.errors import StudyError
from kdtool.files import write_atomic
from kdtool.format import score_with_name
from kdtool.recipe.data import PictureKeys
from kdtool.recipe.training import TrainTable
from kdtool.results.base import Role
from kdtool.results.study import TrainingResult
from kdtool.study.folder import Origin, Study
from kdtool.study.keys import changed_algorithms, key_of
from kdtool.train.fit.batches import Training
from kdtool.train.fit.faster import has_own_draws
from kdtool.train.fit.features import has_cut
from kdtool.train.fit.loop import BatchLoss, fit
from kdtool.train.fit.optimizer import epochs_to_train, phases_of
from kdtool.train.fit.state import damage_of
from kdtool.train.handed import STATE, hand_over
from kdtool.train.models.checkpoint import save_weights, set_weights
from kdtool.train.models.describe import has_batch_norm
from kdtool.train.models.device import choose_precision
from kdtool.train.models.trained_teacher import chance_warning, evaluate_pretrained
from kdtool.train.run import TEACHERS, Run, Trained, table_of


@dataclass(frozen=True)
class ModelPlan:
    """A model that a study needs, trained or not."""

    role: Role
    seed: int
    key: str  # over all that its weights depend on
    checkpoint: Path  # of its weights
    make_loss: Callable[[], BatchLoss]  # makes the loss of a batch, when it is needed
    teacher: Trained | None = None  # of a student
    answers: str | None = None  # stage with those of the teacher to the images, where it has one

    @property
    def title(self) -> str:
        """The model in words."""
        return f"{self.role}, seed {self.seed}"

    @property
    def state_path(self) -> Path:
        """Where the state of its unfinished training is saved."""
        return self.checkpoint.with_suffix(STATE)


def plan_model(
    run: Run,
    role: Role,
    seed: int,
    depends_on: object,
    make_loss: Callable[[], BatchLoss],
    teacher: Trained | None = None,
    answers: str | None = None,
) -> ModelPlan:
    """Return the plan of one model; nothing is trained.

    Args:
        run: The study.
        role: Of the model; control and student of one seed start from equal weights and see equal
            batches.
        seed: Of the initial weights and of the order of the images.
        depends_on: What its loss depends on, in addition to data, table and seed.
        make_loss: Makes the loss of a batch.
        teacher: Of a student.
        answers: Stage with the teacher's answers.
    """
    table, network = run.table(role), run.network(role)
    layers = run.identity(role)
    # Device and precision too: a control of one machine is no control of another's student.
    precision = "fp32"
    if not table.is_trained:
        precision = choose_precision(table.precision, run.device, network)
    excluded = [] if role in TEACHERS else run.splits.result.excluded
    data = [run.fingerprint, excluded, *changes_of(run), *chosen_by(run)]
    algorithms = ["train"]
    if has_batch_norm(network):
        algorithms.append("batch-norm")
    if run.device.type == "cpu" and has_own_draws(network):
        algorithms.append("dropout")
    if learns_from_features(run, role):
        algorithms.append("features")
    key = key_of(
        algorithms,
        content_of(table, run.origin(role)),
        layers,
        [run.device.type, precision],
        seed,
        data,
        depends_on,
    )
    checkpoint = run.study.checkpoint(role, seed, key)
    return ModelPlan(role, seed, key, checkpoint, make_loss, teacher, answers)


def training_of(run: Run, role: Role, seed: int) -> Training:
    """Return how a model is trained, without its loss."""
    data = run.recipe.data
    return Training(
        run.table(role),
        seed,
        run.recipe.metric,
        data.augment,
        run.num_logits(role),
        data.views,
        data.memory if isinstance(data, PictureKeys) else None,
        run.ranks,
    )


def changes_of(run: Run) -> list[object]:
    """Return what the training images of a study are changed by, for keys."""
    data = run.recipe.data
    return [data.augment, *(["views", data.views] if data.views else [])]


def learns_from_features(run: Run, role: Role) -> bool:
    """Return whether the models of a role have a phase in which only the head sees each epoch."""
    table = run.table(role)
    if table.is_trained or training_of(run, role, 0).num_views is None:
        return False
    trains = frozenset(phase.train for phase in phases_of(table, num_images=1))
    return has_cut(run.network(role), trains, run.num_logits(role), run.image_shape)


def trained_here(run: Run, plan: ModelPlan) -> Trained | None:
    """Return the model of a plan if this study has trained it; nothing is written."""
    result = run.study.done(plan.checkpoint.stem, plan.key, TrainingResult)
    if result is None:
        return None
    return Trained(plan.role, plan.seed, plan.key, plan.checkpoint, result)


def find_trained(run: Run, plan: ModelPlan) -> Trained | None:
    """Return the model of a plan if this study or one in a folder next to it has trained it.

    A model of another study is copied into this one.
    """
    name = plan.checkpoint.stem
    result = run.study.done(name, plan.key, TrainingResult)
    if result is None:
        copied = copy_from_sibling(run.study, plan)
        if copied is None:
            return None
        run.reporter.say(f"{plan.title}: copied from the study {copied.taken_from}")
        result = run.study.stage(
            name, plan.key, TrainingResult, lambda: (copied, [plan.checkpoint])
        )
    return finished(run, plan, result)


def train_model(run: Run, plan: ModelPlan) -> Trained:
    """Return the model of a plan: found, or else trained.

    Raises:
        KdtoolError: It cannot be trained.
    """
    return find_trained(run, plan) or train(run, plan)


def train(run: Run, plan: ModelPlan) -> Trained:
    """Train the model of a plan, or evaluate one that is pretrained and not trained further."""
    make = _evaluate_pretrained if run.table(plan.role).is_trained else _train
    result = run.study.stage(
        plan.checkpoint.stem, plan.key, TrainingResult, lambda: make(run, plan)
    )
    return finished(run, plan, result)


def finished(run: Run, plan: ModelPlan, result: TrainingResult) -> Trained:
    """Delete the state of the training, now that the stage is recorded; return the model."""
    plan.state_path.unlink(missing_ok=True)
    run.study.record_origin(table_of(plan.role), run.origin(plan.role))
    return Trained(plan.role, plan.seed, plan.key, plan.checkpoint, result)


def copy_from_sibling(study: Study, plan: ModelPlan) -> TrainingResult | None:
    """Copy the checkpoint of a model from a study in a folder next to `study`; None: none has it.

    The key covers the data, the recipe, the layers with the files that define them, the seed and
    the algorithm. It does not cover what those files import, nor PyTorch's version.
    """
    checkpoint = plan.checkpoint
    for record in sorted(study.folder.parent.glob(f"*/stages/{checkpoint.stem}.json")):
        sibling = Study(record.parent.parent)
        if sibling.folder == study.folder:
            continue
        try:
            result = sibling.done(checkpoint.stem, plan.key, TrainingResult)
        except StudyError as error:  # perhaps of another user
            study.warn(f"{plan.title} is not copied from {sibling.folder}: {error}")
            continue
        source = sibling.folder / checkpoint.relative_to(study.folder)
        if result is not None and source.exists():  # an ONNX teacher has no checkpoint
            write_atomic(checkpoint, source.read_bytes())
            return result.model_copy(update={"taken_from": sibling.folder.name})
    return None


def why_again(study: Study, plan: ModelPlan) -> list[str]:
    """Return the algorithms for which a model that the study has must be trained again.

    Returns:
        Such as `train 1 -> 2`; empty if the study has no such model or its settings differ too.
    """
    records = [record for _, record in study.records(f"{plan.role}-seed{plan.seed}-*")]
    # Settings can be compared with sealed records only; where there are some, others are obsolete.
    sealed = [record for record in records if record.is_sealed]
    found = [changed_algorithms(record.key, plan.key) for record in sealed or records]
    return next(filter(None, found), [])


def _evaluate_pretrained(run: Run, plan: ModelPlan) -> tuple[TrainingResult, list[Path]]:
    table = run.table(plan.role)
    run.reporter.say(
        f"{plan.role}: {table.without_paths.model} is pretrained; evaluating it on validation"
    )
    model = run.build(plan.role, plan.seed, pretrained=True)
    result = evaluate_pretrained(model.to(run.device), run.splits_of(plan.role), run.recipe.metric)
    if table.is_onnx:
        return result, []
    save_weights(plan.checkpoint, model.state_dict(), _facts(run, plan))
    return result, [plan.checkpoint]


def _train(run: Run, plan: ModelPlan) -> tuple[TrainingResult, list[Path]]:
    role, title = plan.role, plan.title
    table, splits = run.table(role), run.splits_of(role)
    if fault := damage_of(plan.state_path):
        run.reporter.warn(f"{plan.state_path} {fault}; {title} is trained from the start")
        plan.state_path.unlink()
    num_images = len(splits.train)
    total = epochs_to_train(table, num_images) * num_images
    answers = run.study.files_of(plan.answers) if plan.answers else []
    hand_over(run, plan.seed, plan.teacher, role, [plan.state_path, *answers])
    with run.reporter.progress(title, total) as update:
        model = run.build(role, plan.seed, pretrained=True)
        result, weights = fit(
            model,
            splits,
            training_of(run, role, plan.seed),
            plan.make_loss(),
            plan.state_path,
            update,
            lambda text: run.reporter.warn(f"{title}: {text}"),
        )
    save_weights(plan.checkpoint, weights, _facts(run, plan) | {"best_epoch": result.best_epoch})
    run.reporter.say(
        f"{title}: {score_with_name(run.recipe.metric, result.best.score)} on validation "
        f"(epoch {result.best_epoch} of {len(result.epochs)}), "
        f"{result.images_per_second:,.0f} images/s in {result.precision}"
    )
    if role in TEACHERS:
        set_weights(model, weights)
        if warning := chance_warning(model, splits.validation, len(splits.classes)):
            result = result.model_copy(update={"warnings": [*result.warnings, f"it {warning}"]})
    for text in result.warnings:
        run.reporter.warn(f"{title}: {text}")
    return result, [plan.checkpoint]


def help_train(run: Run, plan: ModelPlan) -> None:
    """On another rank than 0: train a model together with rank 0, which keeps it."""
    fit(
        run.build(plan.role, plan.seed),
        run.splits_of(plan.role),
        training_of(run, plan.role, plan.seed),
        plan.make_loss(),
        plan.state_path,
        lambda _done, _text: None,
        run.reporter.warn,
    )


def _facts(run: Run, plan: ModelPlan) -> dict[str, object]:
    """Return what a checkpoint says of its model."""
    return {
        "model": run.table(plan.role).model,
        "role": plan.role,
        "seed": plan.seed,
        "num_logits": run.num_logits(plan.role),
    }


def chosen_by(run: Run) -> list[object]:
    """Return what the choice of an epoch depends on: the metric, and the positive class of AUCs."""
    metric = run.recipe.metric
    return [metric, run.splits.positive if metric in {"roc_auc", "pr_auc"} else None]


def content_of(table: TrainTable, origin: Origin | None) -> list[object]:
    """Return a table and the identity of its weights, without the names of files.

    An ONNX file is identified by `OnnxTeacher.extra_repr`, in the description of the network.
    """
    nameless: dict[str, object] = {"weights": None}
    if table.is_onnx:
        nameless["model"] = "onnx"
    return [table.model_copy(update=nameless), origin.identity if origin else None]
