"""Keys of stages: a hash of everything that a result depends on, with the version of its algorithm.

A key reads `train.2+batch-norm.2:0f3c5d1e9a7b2c46`: the algorithms that made the result, each with
its number, and a hash of the settings. So a study can say whether a model has to be trained again
because its recipe changed or because kdtool computes it differently now.
"""

import hashlib
import json
from collections.abc import Iterable

from pydantic import BaseModel

# Raise a number when the arithmetic of that stage changes, so that the same settings give another
# result. Anything else must keep its number: a raised "train" retrains every study of every user.
# kdtool's version and PyTorch's are not part of a key.
ALGORITHMS: dict[str, int] = {
    "train": 2,  # 2: the loss of an epoch weighs each image alike
    "batch-norm": 2,  # 2: statistics are recomputed after training; of networks with BatchNorm only
    "dropout": 1,  # 1: 16 random bits for each value; of networks with `nn.Dropout` on a CPU only
    # 1: a frozen trunk sees each image once, and always the same images together; of models with a
    # phase in which only the head learns, from images that do not change
    "features": 1,
    "origin": 1,
    "teacher-logits": 1,
    "evaluate": 1,
    "cost": 1,
    "exportable": 1,
    "export": 3,  # 2: means over height and width as GlobalAveragePool; 3: forms that OpenCV reads
    # 2: decided on validation images, confirmed on test images; 3: hard-swish in 8 bits; 4: a
    # ladder of calibrations, bias correction, layers in fp32 and learning in 8 bits; 5: opset 19,
    # weights of linear layers not transposed
    "smaller": 5,
    "qat": 1,
    "latency": 1,
    "file-answers": 1,
    "against-teacher": 1,
    # 2: agreement over a stratified sample of the test images; 3: its interval; 4: deletion,
    # insertion, untrained networks, images of most and least agreement; 5: their curves
    "explain": 5,
    "gallery": 1,
    "duplicates": 1,
}


def key_of(algorithms: str | Iterable[str], *settings: object) -> str:
    """Return the key of a result.

    Args:
        algorithms: One or more keys of `ALGORITHMS`.
        settings: Everything else that the result depends on: values that JSON can hold, and
            pydantic models.
    """
    names = [algorithms] if isinstance(algorithms, str) else list(algorithms)
    numbered = "+".join(f"{name}.{ALGORITHMS[name]}" for name in names)
    text = json.dumps([names, *settings], sort_keys=True, default=_plain)
    return f"{numbered}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def short_key(key: str) -> str:
    """Return 8 characters for the name of a file; algorithms of other numbers give another name."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def changed_algorithms(recorded: str, key: str) -> list[str]:
    """Return which algorithms changed between two keys of equal settings, as `train 1 -> 2`.

    Args:
        recorded: Key of an earlier result. Keys of kdtool 0.1.0 have no numbers, and mixed
            kdtool's version into the hash: their settings cannot be compared, and all their
            algorithms count as number 1.
        key: Key of the result that is needed now.

    Returns:
        Empty if the settings differ or nothing changed.
    """
    names, _, settings = key.rpartition(":")
    old_names, colon, old_settings = recorded.rpartition(":")
    if colon and old_settings != settings:
        return []
    old = dict(one.split(".") for one in old_names.split("+")) if colon else {}
    new = dict(one.split(".") for one in names.split("+"))
    return [
        f"{name} {old.get(name, '1')} -> {number}"
        for name, number in new.items()
        if old.get(name, "1") != number
    ]


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        # So a new key of the recipe, off by default, trains nothing again. A changed default does
        # not show in the hash: it needs a raised number.
        return value.model_dump(mode="json", exclude_defaults=True)
    raise TypeError(f"cannot hash {type(value).__name__}")
