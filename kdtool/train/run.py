"""What every stage of a study needs."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from kdtool.errors import RecipeError, StudyError
from kdtool.recipe.schema import Recipe, check_operating_point
from kdtool.recipe.training import TrainTable
from kdtool.results.base import Role
from kdtool.results.study import Results, TrainingResult
from kdtool.study.folder import StartTable, Study
from kdtool.terminal.progress import Terminal
from kdtool.train.data.splits import Splits, load_splits, without_classes
from kdtool.train.fit.optimizer import check_trainable, epochs_warning, phases_of
from kdtool.train.models.checkpoint import load_weights
from kdtool.train.models.create import (
    is_checkpoint,
    load_pretrained,
    make_model,
    origin_of,
    source_of,
)
from kdtool.train.models.device import check_precision, check_room, choose_device
from kdtool.train.models.networks import ImageShape, check_model_name
from kdtool.train.models.published import Published, published
from kdtool.train.models.trained_teacher import check_place, in_order, notes_of


@dataclass(frozen=True)
class Note:
    """What the user should know of how a model begins."""

    text: str
    warn: bool = False


def describe_weights(table: TrainTable, image_shape: ImageShape, num_logits: int) -> list[Note]:
    """Return what to say of a model's weights before it is trained."""
    if table.is_onnx:
        return []
    if table.weights is None:
        first = phases_of(table, num_images=1)[0].train
        frozen = f'without weights, train = "{first}" leaves all else as it is drawn, and frozen'
        return [] if first == "all" else [Note(frozen, warn=True)]
    source, known, side = source_of(table), published(table.model), table.input_size
    notes = [Note(f"starts from {source}")]
    model = make_model(table, image_shape, num_logits, seed=0)
    notes += [Note(text) for text in load_pretrained(model, table, num_logits)]
    if is_checkpoint(Path(table.weights)):
        return notes
    if table.normalize == "weights" and table.weights != "imagenet":
        notes.append(_guessed(source, known))
    if known and (side or min(image_shape[1:])) < known.side / 2:
        notes.append(
            Note(
                f"images are {side or min(image_shape[1:])} pixels wide, its weights were trained "
                f"on {known.side}: input_size = {known.side} has the model enlarge them, "
                "which takes more time",
                warn=True,
            )
        )
    return notes


def _guessed(source: str, known: Published | None) -> Note:
    """Say which normalization was taken for a file that does not say its own."""
    if known:
        return Note(
            f"images are normalized as for the ImageNet weights {known.name}, as {source} does not "
            'say how; if its own were not, say normalize = "none"'
        )
    return Note(
        f"nothing says how the images of {source} were normalized, so none is done; "
        'normalize = "imagenet" takes the mean and deviation of ImageNet, "none" nothing',
        warn=True,
    )


TEACHERS: tuple[Role, ...] = ("teacher", "subclass-teacher")
SUBCLASSED: tuple[Role, ...] = ("subclass-teacher", "subclass-student")


def table_of(role: Role) -> StartTable:
    """Return the table of the recipe that says how the models of `role` are trained."""
    return "teacher" if role in TEACHERS else "student"


@dataclass(frozen=True)
class Run:
    """One command at work on one study."""

    study: Study
    recipe: Recipe
    splits: Splits  # on `device`
    # The same, without the train images of `distill.exclude_classes`; validation and test have them
    transfer: Splits
    device: torch.device
    terminal: Terminal
    finished: Results | None = None  # a study that is only read: nothing may be trained
    only_standing: bool = False  # nothing is trained now, to see what stands

    @property
    def image_shape(self) -> ImageShape:
        """C, H, W of the images."""
        return self.splits.result.image_shape

    @property
    def fingerprint(self) -> str:
        """Hash of the data."""
        return self.splits.result.fingerprint

    def table(self, role: Role) -> TrainTable:
        """How the models of `role` are trained; the control as the student."""
        return self.recipe.teacher if role in TEACHERS else self.recipe.student

    def num_logits(self, role: Role) -> int:
        """Length of the logits: C, or C * S of a model with subclasses."""
        per_class = self.recipe.subclass.per_class if role in SUBCLASSED else 1
        return per_class * len(self.splits.classes)

    def num_outputs(self, role: Role) -> int:
        """Length of the logits of the network: one that comes trained may know more classes."""
        return len(self.table(role).classes or range(self.num_logits(role)))

    def splits_of(self, role: Role) -> Splits:
        """What the models of `role` learn from and are chosen on."""
        return self.splits if role in TEACHERS else self.transfer

    def build(self, role: Role, seed: int, *, pretrained: bool = False) -> nn.Module:
        """Return a model of `role` before this study trains it, on the CPU.

        Args:
            role: Whose.
            seed: Of the weights that are drawn.
            pretrained: Whether to load the weights that it starts from, which is no need where
                its layers are all that matters.
        """
        table, num_outputs = self.table(role), self.num_outputs(role)
        recorded = self.study.origin(table_of(role))
        model = make_model(table, self.image_shape, num_outputs, seed, recorded)
        if pretrained:
            load_pretrained(model, table, num_outputs, new_head=role in SUBCLASSED)
        return in_order(model, table, self.splits.classes) if table.is_trained else model


@dataclass(frozen=True)
class Trained:
    """One trained model: its weights lie at `checkpoint`."""

    role: Role
    seed: int
    key: str  # hash of all that its weights depend on
    checkpoint: Path
    result: TrainingResult


class NotTrainedError(StudyError):
    """A model has still to be trained, which may not be done now or by this command."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(
            f"{checkpoint} is missing or was changed; "
            "`kdtool distill` with the study's recipe trains it again"
        )
        self.checkpoint = checkpoint


def open_run(
    study: Study,
    recipe: Recipe,
    device_name: str,
    terminal: Terminal,
    finished: Results | None = None,
) -> Run:
    """Load the data onto the device; what can be wrong is found out before training.

    Raises:
        KdtoolError: The device is absent, or the data or a model cannot be used.
    """
    device = choose_device(device_name)
    tables: dict[Role, TrainTable] = {"teacher": recipe.teacher, "student": recipe.student}
    for table in tables.values():
        if table.is_onnx:
            check_place(Path(table.model), study.folder)
        else:
            check_model_name(table.model)
        check_precision(table.precision, device)
    splits = load_splits(recipe.data, terminal.warn, terminal.progress)
    check_operating_point(recipe.export.operating_point, splits.classes)
    check_room([splits.train.images, splits.validation.images, splits.test.images], device)
    splits = splits.to(device)
    transfer = without_classes(splits, recipe.distill.exclude_classes)
    splits = replace(splits, result=transfer.result)
    result = splits.result
    terminal.say(
        f"{result.description}: {result.num_train:,} images to train on, "
        f"{result.num_validation:,} to choose epochs on, {result.num_test:,} to test on; "
        f"{len(splits.classes)} classes"
        + (f", of which {result.positive} is to be found" if result.positive else "")
        + f"; on {device.type}"
    )
    if result.excluded:
        terminal.say(
            f"students and controls learn from {len(transfer.train):,} of them, without "
            f"{', '.join(result.excluded)}"
        )
    run = Run(study, recipe, splits, transfer, device, terminal, finished)
    for role, table in tables.items():
        with named(role):
            tell_of_weights(run, role)
            model = run.build(role, seed=0)
            if not table.is_trained:
                check_trainable(model, table, run.num_logits(role))
        if table.is_trained:
            continue
        warning = epochs_warning(role, table, len(run.splits_of(role).train))
        if warning and finished is None:
            terminal.warn(warning)
    return run


@contextmanager
def named(table: str) -> Iterator[None]:
    """Say in an error of the block whose table it is about."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(f"[{table}]: {error}") from error


def tell_of_weights(run: Run, role: Role) -> None:
    """Say which weights the models of a role start from, before any model is trained.

    Where some were trained from them before, nothing is said, and nothing downloaded: they may all
    stand by now.

    Raises:
        KdtoolError: They cannot be had, or do not fit.
    """
    if run.finished is None:
        recorded = run.study.origin(table_of(role))
        if recorded and recorded == origin_of(run.table(role), recorded):
            return
        for note in describe_weights(run.table(role), run.image_shape, run.num_outputs(role)):
            tell = run.terminal.warn if note.warn else run.terminal.say
            tell(f"{role}: {note.text}")
        if run.table(role).is_onnx:
            for text in notes_of(run.build(role, seed=0), run.splits.train):
                run.terminal.say(f"{role}: {text}")


def load_model(run: Run, trained: Trained) -> nn.Module:
    """Return a trained model on the run's device, in eval mode."""
    model = run.build(trained.role, trained.seed)
    if not run.table(trained.role).is_onnx:
        load_weights(trained.checkpoint, model)
    return model.to(run.device).eval()
