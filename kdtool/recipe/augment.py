"""The grammar of `data.augment`: which augmentations there are, and the value that each takes."""

import math
from dataclasses import dataclass

from kdtool.errors import did_you_mean


@dataclass(frozen=True)
class Augmentation:
    """The value that one kind of augmentation takes."""

    meaning: str
    default: float
    lowest: float
    highest: float


AUGMENTATIONS = {
    "crop": Augmentation("smallest share of the area to keep", 0.8, 0.05, 1),
    "flip": Augmentation("probability of a left-right flip", 0.5, 0, 1),
    "vflip": Augmentation("probability of a top-bottom flip", 0.5, 0, 1),
    "rotate": Augmentation("largest angle in degrees, in both directions", 10, 0, 180),
    "shift": Augmentation("largest shift as a share of the side, in both directions", 0.1, 0, 1),
    "brightness": Augmentation("largest relative change of the brightness", 0.2, 0, 1),
    "contrast": Augmentation("largest relative change of the contrast", 0.2, 0, 1),
}
AUGMENTATION = rf"^({'|'.join(AUGMENTATIONS)})(:[0-9.]+)?$"


def parse_augmentation(text: str) -> tuple[str, float]:
    """Split `NAME` or `NAME:VALUE` of `data.augment`.

    Raises:
        ValueError: The augmentation is unknown or its value is out of range.
    """
    name, colon, value = text.partition(":")
    if name not in AUGMENTATIONS:
        hint = did_you_mean(name, AUGMENTATIONS)
        raise ValueError(f'got "{text}", expected one of {", ".join(AUGMENTATIONS)}{hint}')
    kind = AUGMENTATIONS[name]
    try:
        number = float(value) if colon else kind.default
    except ValueError:
        number = math.nan
    if not kind.lowest <= number <= kind.highest:
        raise ValueError(
            f'got "{text}", expected {name}:VALUE with the {kind.meaning}, '
            f"{kind.lowest:g} to {kind.highest:g}"
        )
    return name, number
