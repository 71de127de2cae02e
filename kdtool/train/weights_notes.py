"""What to say of the weights that a model starts from, before it is trained."""

from dataclasses import dataclass
from pathlib import Path

from kdtool.recipe_train import TrainTable
from kdtool.train.networks import ImageShape
from kdtool.train.pretrained import is_checkpoint, load_pretrained, make_model, source_of
from kdtool.train.published import Published, published
from kdtool.train.schedule import phases_of


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
