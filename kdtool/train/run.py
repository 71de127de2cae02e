"""One command at work on a study: its recipe, data and networks, checked before training."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from kdtool.errors import RecipeError
from kdtool.format import file_size, keyboard_text
from kdtool.recipe.data import FEW_VALIDATION
from kdtool.recipe.schema import Recipe, check_operating_point
from kdtool.recipe.training import TrainTable
from kdtool.results.base import ROLES, Role
from kdtool.results.study import TrainingResult
from kdtool.study.folder import Origin, StartTable, Study
from kdtool.train.data.large.stored import StoredImages
from kdtool.train.data.splits import Splits, load_splits, without_classes
from kdtool.train.fit.optimizer import check_trainable, epochs_warning, phases_of
from kdtool.train.models.checkpoint import load_weights
from kdtool.train.models.count import count
from kdtool.train.models.create import (
    is_checkpoint,
    load_pretrained,
    make_model,
    origin_of,
    source_of,
)
from kdtool.train.models.describe import describe_model
from kdtool.train.models.device import check_precision, check_room, choose_device, room_on
from kdtool.train.models.networks import ImageShape, check_model_name
from kdtool.train.models.published import Published, published
from kdtool.train.models.trained_teacher import in_order, notes_of
from kdtool.train.ranks.group import ALONE, Ranks
from kdtool.train.reporter import Reporter

TEACHERS: tuple[Role, ...] = ("teacher", "subclass-teacher")
SUBCLASSED: tuple[Role, ...] = ("subclass-teacher", "subclass-student")


def roles_of(*, subclasses: bool) -> list[Role]:
    """Return the roles of a study: of subclass-distill, or of distill."""
    return [role for role in ROLES if subclasses or role not in SUBCLASSED]


def table_of(role: Role) -> StartTable:
    """Return the table of the recipe that the models of `role` are trained by."""
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
    reporter: Reporter
    ranks: Ranks = ALONE  # that train the models together
    # Built once: networks by table and number of outputs, origins of weights by table
    networks: dict[str, nn.Module] = field(default_factory=dict, repr=False)
    origins: dict[str, Origin | None] = field(default_factory=dict, repr=False)

    @property
    def image_shape(self) -> ImageShape:
        """C, H, W of the images."""
        return self.splits.result.image_shape

    @property
    def fingerprint(self) -> str:
        """Hash of the data."""
        return self.splits.result.fingerprint

    def table(self, role: Role) -> TrainTable:
        """Return how the models of `role` are trained; the control as the student."""
        return self.recipe.teacher if role in TEACHERS else self.recipe.student

    def num_logits(self, role: Role) -> int:
        """Return the length of the logits: C, or C * S of a model with subclasses."""
        per_class = self.recipe.subclass.per_class if role in SUBCLASSED else 1
        return per_class * len(self.splits.classes)

    def num_outputs(self, role: Role) -> int:
        """Return the length of the network's own logits; a pretrained teacher may have more."""
        return len(self.table(role).classes or range(self.num_logits(role)))

    def splits_of(self, role: Role) -> Splits:
        """Return the images that the models of `role` learn from and are chosen on."""
        return self.splits if role in TEACHERS else self.transfer

    def origin(self, role: Role) -> Origin | None:
        """Return what the models of `role` start from; None: from random weights.

        Raises:
            KdtoolError: The recipe names weights that do not exist.
        """
        table = self.table(role)
        key = table.model_dump_json()
        if key not in self.origins:
            self.origins[key] = origin_of(table, self.study.origin(table_of(role)))
        return self.origins[key]

    def network(self, role: Role) -> nn.Module:
        """Return the network of a role with random weights, built once, on the CPU, in eval mode.

        It is shared: copy it before changing it.
        """
        key = f"{self.num_outputs(role)} {self.table(role).model_dump_json()}"
        if key not in self.networks:
            self.networks[key] = self.build(role, self.recipe.seeds[0]).eval()
        return self.networks[key]

    def identity(self, role: Role) -> str:
        """Return a hash of the network of a role, as of `describe_model`."""
        return describe_model(self.table(role).without_paths.model, self.network(role))

    def build(self, role: Role, seed: int, *, pretrained: bool = False) -> nn.Module:
        """Return a new model of `role` to train, on the CPU.

        Args:
            role: Of the model.
            seed: Of the random weights.
            pretrained: Whether to load the weights that it starts from.
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


def load_model(run: Run, trained: Trained) -> nn.Module:
    """Return a trained model on the run's device, in eval mode."""
    network = run.network(trained.role)
    if run.table(trained.role).is_onnx:
        return network  # its weights are in the file, and nothing changes it
    model = copy.deepcopy(network)
    load_weights(trained.checkpoint, model)
    return model.to(run.device).eval()


def open_run(
    study: Study, recipe: Recipe, device_name: str, reporter: Reporter, ranks: Ranks = ALONE
) -> Run:
    """Check the recipe, load the data onto the device and announce them.

    Raises:
        KdtoolError: The device does not exist, or the recipe or the data cannot be used.
    """
    device = choose_device(device_name)
    check_recipe(recipe, device)
    splits, transfer = load_data(recipe, device, reporter)
    announce_data(splits, transfer, reporter)
    return Run(study, recipe, splits, transfer, device, reporter, ranks)


def check_recipe(recipe: Recipe, device: torch.device) -> None:
    """Check what can be checked of a recipe's models before its data are loaded.

    Raises:
        KdtoolError: A model does not exist, or the device does not have the precision.
    """
    for table in (recipe.teacher, recipe.student):
        if not table.is_onnx:
            check_model_name(table.model)
        check_precision(table.precision, device)


def load_data(recipe: Recipe, device: torch.device, reporter: Reporter) -> tuple[Splits, Splits]:
    """Load the images onto the device.

    Returns:
        All images, and those that students and controls learn from: the same, or with
        `distill.exclude_classes` a copy of a part of them.

    Raises:
        KdtoolError: They cannot be read, do not fit on the device, or do not fit the recipe.
    """
    splits = load_splits(recipe.data, reporter.warn, reporter.progress, room_on(device))
    check_operating_point(recipe.export.operating_point, splits.classes)
    parts = [splits.train, splits.validation, splits.test]
    copied = [splits.train] if recipe.distill.exclude_classes else []
    check_room([one.images for one in (*parts, *copied) if isinstance(one.images, Tensor)], device)
    splits = splits.to(device)
    transfer = without_classes(splits, recipe.distill.exclude_classes)
    return replace(splits, result=transfer.result), transfer


def announce_data(splits: Splits, transfer: Splits, reporter: Reporter) -> None:
    """Report the number of images of each split, the classes and the device."""
    result = splits.result
    positive = f" (positive class: {result.positive})" if result.positive else ""
    reporter.say(
        f"{result.description}: {result.num_train:,} training, {result.num_validation:,} "
        f"validation and {result.num_test:,} test images; {len(splits.classes)} classes{positive}; "
        f"on {splits.train.device.type}"
    )
    if isinstance(splits.train.images, StoredImages) and result.read_from is not None:
        size = keyboard_text(file_size(result.read_from.num_bytes))
        reporter.say(
            f"they take {size}, more than they may of the memory (data.memory): they are read from "
            f"{splits.train.images.path}"
        )
    if result.num_validation < FEW_VALIDATION:
        reporter.warn(
            f"{result.num_validation:,} validation images choose epochs and settings, and one of "
            f"them is {100 / result.num_validation:.1f} points: set a larger data.validation"
        )
    if result.excluded:
        reporter.say(
            f"students and controls learn from {len(transfer.train):,} of the training images, "
            f"without {', '.join(result.excluded)}"
        )


def check_models(run: Run) -> None:
    """Build teacher and student, and report what they start from and how long they train.

    Raises:
        KdtoolError: A model cannot be built, does not fit the images or cannot be trained.
    """
    roles: tuple[Role, ...] = ("teacher", "student")  # a control has the student's network
    for role in roles:
        with errors_name(role):
            announce_weights(run, role)
            network, table = run.network(role), run.table(role)
            if not table.is_trained:
                check_trainable(network, table, run.num_logits(role))
                announce_epochs(run, role)
            count(network, run.image_shape)  # at the end of the study is too late to fail


@contextmanager
def errors_name(table: str) -> Iterator[None]:
    """Name the table in every RecipeError of the block."""
    try:
        yield
    except RecipeError as error:
        raise RecipeError(f"[{table}]: {error}") from error


def announce_weights(run: Run, role: Role) -> None:
    """Report the weights that the models of a role start from.

    Where the study has models trained from them already, nothing is reported or downloaded: it may
    be finished.

    Raises:
        KdtoolError: They do not exist, or do not fit the network.
    """
    table, recorded = run.table(role), run.study.origin(table_of(role))
    if recorded and recorded == run.origin(role):
        return
    for note in describe_weights(table, run.image_shape, run.num_outputs(role)):
        report = run.reporter.warn if note.warn else run.reporter.say
        report(f"{role}: {note.text}")
    if table.is_onnx:
        for text in notes_of(run.network(role), run.splits.train):
            run.reporter.say(f"{role}: {text}")


def announce_epochs(run: Run, role: Role) -> None:
    """Warn where min_steps raises the number of epochs that a role trains."""
    if warning := epochs_warning(role, run.table(role), len(run.splits_of(role).train)):
        run.reporter.warn(warning)


@dataclass(frozen=True)
class Note:
    """One thing to report about the weights that a model starts from."""

    text: str
    warn: bool = False


def describe_weights(table: TrainTable, image_shape: ImageShape, num_logits: int) -> list[Note]:
    """Return what to report about a model's weights before it is trained."""
    if table.is_onnx:
        return []
    if table.weights is None:
        first = phases_of(table, num_images=1)[0].train
        frozen = f'without weights, train = "{first}" freezes all other layers at random weights'
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
    """Return which normalization is used for a file that does not contain its own."""
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
