"""A recipe for images that were looked at: `kdtool init` writes it, each choice with its reason."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import tomli_w

from kdtool.recipe.data import FEW_VALIDATION, DataKeys

USUAL_SIDES = (48, 64, 96, 128, 160, 192, 224)  # pixels; 224 is the size of ImageNet's networks
SMALL = 48  # pixels; of smaller images networks that were trained on ImageNet see little
LEAST_INPUT = 112  # pixels; kdtool warns if a network of ImageNet gets smaller images
UNEVEN, VERY_UNEVEN = 1.5, 3.0  # images of the largest class for each of the smallest
FEW, MANY = 1000, 5000  # training images
SMALL_STEPS, MOST_EPOCHS = 1500, 200  # of a small network that learns from random weights
TEST_SHARE, VALIDATION_SHARE = 0.2, 0.1  # the recipe's defaults
COLUMN, WIDTH = 38, 100  # where a reason begins, and how long a line may be
NAMES_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Looked:
    """What was found out about images."""

    description: str
    table: DataKeys  # the recipe's [data], without the choices that are made here
    keys: dict[str, object]  # of `table`, in the order in which they are written; no `source`
    reasons: dict[str, str]  # for some of these keys
    counts: dict[str, int]  # images of each class, broken ones left out
    given_splits: tuple[str, ...]  # that the data have; the others are drawn
    num_images: dict[str, int]  # by split, after the missing ones are drawn
    sizes: dict[tuple[int, int], int]  # width and height -> images
    num_grey: int
    broken: list[str]  # files that cannot be read, with the reason
    from_files: bool  # image files, of which size and channels can be chosen; else arrays
    notes: list[str]  # warnings about the data

    @property
    def imbalance(self) -> float:
        """How many images the largest class has for each of the smallest."""
        return max(self.counts.values()) / min(self.counts.values())


def drawn_sizes(counts: dict[str, int], given: Sequence[str], num_train: int) -> dict[str, float]:
    """Return `test` and `validation` where the defaults would leave too few images.

    Args:
        counts: Images of each class, of all splits.
        given: Splits that the data have.
        num_train: Training images before validation images are drawn from them.
    """
    sizes: dict[str, float] = {}
    num_classes = len(counts)
    if "test" not in given:
        num_test = max(round(TEST_SHARE * num_train), num_classes)
        if num_test > round(TEST_SHARE * num_train):
            sizes["test"] = num_test
        num_train -= num_test
    if "validation" not in given:
        usual = round(VALIDATION_SHARE * num_train)
        wanted = max(usual, min(FEW_VALIDATION, num_train // 5), num_classes)
        if wanted > usual:
            sizes["validation"] = wanted
    return sizes


@dataclass(frozen=True)
class Line:
    """A key of the recipe, its value and why it was chosen."""

    key: str
    value: object
    why: str = ""


def recipe_text(name: str, looked: Looked) -> str:
    """Return a recipe as TOML, with the reasons as comments.

    Args:
        name: Of the study.
        looked: What is known about the images.
    """
    side = chosen_side(looked)
    tables: list[tuple[str, list[Line]]] = [
        ("", [Line("name", name), *_study(looked)]),
        ("[data]", list(_data(looked, side))),
        *_networks(looked, side),
        ("[distill]", [Line("temperature", 4, "--sweep distill.temperature=1,4,16 compares")]),
        ("[export]", [Line("precisions", ["fp32", "int8"], "int8 ships if faster, and as good")]),
    ]
    parts = ["\n".join(_head(looked))]
    for head, lines in tables:
        written = [text for line in lines for text in _written(line)]
        parts.append("\n".join([head, *written] if head else written))
    first, *rest = parts
    return f"{first}\n{rest[0]}\n\n" + "\n\n".join(rest[1:]) + "\n"


def chosen_side(looked: Looked) -> int | None:
    """Return the `data.size` to which images are brought; None: they keep their one size."""
    shorter = median_low(
        [min(size) for size, number in looked.sizes.items() for _ in range(number)]
    )
    if not looked.from_files or (len(looked.sizes) == 1 and shorter <= USUAL_SIDES[-1]):
        return None
    return max((one for one in USUAL_SIDES if one <= shorter), default=shorter)


def _head(looked: Looked) -> Iterator[str]:
    total, classes = sum(looked.counts.values()), len(looked.counts)
    smallest = min(looked.counts, key=lambda one: looked.counts[one])
    largest = max(looked.counts, key=lambda one: looked.counts[one])
    grey = "grey" if looked.num_grey == total else f"{total - looked.num_grey:,} of them in colour"
    splits = looked.num_images
    low, high = looked.counts[smallest], looked.counts[largest]
    per_class = f"{low:,} ({smallest}) to {high:,} ({largest})" if low < high else f"{low:,} each"
    texts = [
        f"Suggested by kdtool init for {looked.description}: {total:,} images of {classes} "
        "classes.",
        f"Images of a class: {per_class}. {_sizes(looked)}, {grey}.",
        f"Training {splits['train']:,}, validation {splits['validation']:,}, test "
        f"{splits['test']:,}: {_split_reason(looked)}.",
        *looked.notes,
    ]
    if classes == 2 and low < high:
        texts.append(f"Positive class: {smallest}, the rarer one (data.positive sets another).")
    if looked.broken:
        texts.append(f"Cannot be read: {_some(looked.broken)}")
    for text in texts:
        yield from _comment(text)


def _sizes(looked: Looked) -> str:
    if len(looked.sizes) == 1:
        ((width, height),) = looked.sizes
        return f"All are {width} x {height} pixels"
    ordered = sorted(looked.sizes, key=lambda size: size[0] * size[1])
    (wide, high), (widest, highest) = ordered[0], ordered[-1]
    return f"{len(ordered):,} sizes, from {wide} x {high} to {widest} x {highest} pixels"


def _split_reason(looked: Looked) -> str:
    drawn = [one for one in ("test", "validation") if one not in looked.given_splits]
    if not drawn:
        return "as the data are split"
    return f"{' and '.join(drawn)} images are drawn, each class in its share, always the same ones"


def _study(looked: Looked) -> Iterator[Line]:
    few = looked.num_images["train"] < MANY
    why = "few images: one seed alone says little" if few else "enough images for small intervals"
    yield Line("seeds", [0, 1, 2, 3, 4] if few else [0, 1, 2], why)
    if looked.imbalance >= UNEVEN:
        why = f"the largest class has {looked.imbalance:.1f} times the images of the smallest"
        yield Line("metric", "balanced_accuracy", why)
    else:
        yield Line("metric", "accuracy", "the classes have about as many images each")


def _data(looked: Looked, side: int | None) -> Iterator[Line]:
    yield Line("source", looked.table.source)
    for key, value in looked.keys.items():
        yield Line(key, value, looked.reasons.get(key, ""))
    if side is not None:
        yield Line("size", side, _side_reason(looked, side))
    if looked.broken:
        yield Line("skip_broken", True, f"{len(looked.broken)}, listed above")
    if _is_small(looked, side) or looked.num_images["train"] >= 4 * MANY:
        yield Line("augment", [], 'none; photographs: ["crop:0.8", "flip"]')
    else:
        yield Line("augment", ["crop:0.7", "flip"], "no flip if left and right differ, as in text")


def _side_reason(looked: Looked, side: int) -> str:
    if len(looked.sizes) == 1:
        return "224 shows enough to most networks, and takes less time than all pixels"
    return f"images differ in size; half of them have a shorter side of {side} or more"


def _is_small(looked: Looked, side: int | None) -> bool:
    return (side or min(min(size) for size in looked.sizes)) < SMALL


def _networks(looked: Looked, side: int | None) -> list[tuple[str, list[Line]]]:
    uneven = []
    if looked.imbalance >= VERY_UNEVEN:
        why = f"{looked.imbalance:.1f} to 1: the rare class would hardly be learned"
        uneven = [Line("class_weights", "balanced", why)]
    actual = side or min(min(size) for size in looked.sizes)
    if _is_small(looked, side):
        return _small_networks(looked, actual, uneven)
    return _pretrained_networks(looked, actual, uneven)


def _small_networks(looked: Looked, side: int, uneven: list[Line]) -> list[tuple[str, list[Line]]]:
    num_train = looked.num_images["train"]
    batch_size = 32 if num_train < FEW else 64 if num_train < 4 * MANY else 128
    steps = math.ceil(num_train / batch_size)
    epochs = min(MOST_EPOCHS, max(10, math.ceil(SMALL_STEPS / steps)))
    teacher = "mnist-cnn" if side >= 6 else "mnist-mlp"
    student = "mnist-cnn-small" if side >= 12 else "mnist-mlp"
    learning = [
        Line("epochs", epochs, f"about {epochs * steps:,} steps, from random weights"),
        Line("batch_size", batch_size),
        *uneven,
    ]
    why = f"{side} pixels are too few for networks of ImageNet"
    return [
        ("[teacher]", [Line("model", teacher, why), *learning]),
        ("[student]", [Line("model", student, "the network that ships"), *learning]),
    ]


def _pretrained_networks(
    looked: Looked, side: int, uneven: list[Line]
) -> list[tuple[str, list[Line]]]:
    num_train = looked.num_images["train"]
    halvings = (num_train >= FEW) + (num_train >= MANY)
    learning = [
        Line("weights", "imagenet", "downloaded once; with them few images are enough"),
        *([Line("input_size", LEAST_INPUT, "enlarged: the weights know larger images")]
          if side < LEAST_INPUT else []),
        Line("batch_size", 32 if num_train < MANY else 64),
        *uneven,
    ]  # fmt: skip
    head = [Line("epochs", 5 if halvings < 2 else 2), Line("train", "head", "first the head alone")]
    tables = []
    for table, model, why, epochs, rate in (
        ("teacher", "torchvision:resnet18", "accurate, and trained in minutes", 20, 1e-4),
        ("student", "torchvision:mobilenet_v3_small", "ships: made for phones", 30, 3e-4),
    ):
        every = [
            Line("epochs", epochs // 2**halvings, f"for {num_train:,} training images"),
            Line("learning_rate", rate, "then all layers, at a lower rate"),
        ]
        tables += [
            (f"[{table}]", [Line("model", model, why), *learning]),
            (f"[[{table}.phase]]", head),
            (f"[[{table}.phase]]", every),
        ]
    return tables


def _written(line: Line) -> list[str]:
    """Return a line of TOML with its reason, above it where it is too long."""
    text = f"{line.key} = {toml_value(line.value)}"
    why = _one_line(line.why)
    if not why:
        return [text]
    if len(text) < COLUMN and COLUMN + 2 + len(why) <= WIDTH:
        return [f"{text:<{COLUMN}}# {why}"]
    return [*_comment(why), text]


def toml_value(value: object) -> str:
    """Return a value in one line of TOML.

    Raises:
        ValueError: It is a text that TOML, which is UTF-8, cannot hold.
    """
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, dict):
        pairs = ", ".join(f"{key} = {toml_value(one)}" for key, one in value.items())
        return f"{{ {pairs} }}"
    plain: Any = value
    text = tomli_w.dumps({"value": plain}).removeprefix("value = ").rstrip("\n")
    text.encode()  # a name of a file need not be text
    return text


def _comment(text: str) -> Iterator[str]:
    """Yield a text as lines of a comment."""
    line = "#"
    for word in _one_line(text).split(" "):
        if len(line) + 1 + len(word) > WIDTH and line != "#":
            yield line
            line = "#"
        line += f" {word}"
    yield line


def _one_line(text: str) -> str:
    """Return a text that a comment of TOML can hold: on one line, without control characters."""
    printable = (
        c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split())
    )
    return "".join(printable)


def _some(items: Sequence[str]) -> str:
    more = len(items) - NAMES_SHOWN
    return "; ".join(items[:NAMES_SHOWN]) + (f"; and {more:,} more" if more > 0 else "")
