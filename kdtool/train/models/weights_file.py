"""Files of weights: found in what training programs write, and read without running code of it."""

import argparse
import re
from collections.abc import Mapping
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from kdtool.errors import KdtoolError

Weights = Mapping[str, Tensor]

# Where checkpoints of training programs keep the weights, the latest before the averaged.
PLACES = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "module",
    "net",
    "network",
    "weights",
    "params",
)
AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema", "params_ema")


def _empty(*_given: object) -> dict[str, object]:
    return {}


def _harmless() -> list[Any | tuple[Any, str]]:
    """Return what files name next to weights and runs no code of theirs: object, full name.

    An object that is not used is read as a plain one: a path as a pure path, which every operating
    system has; a dictionary of another class as a dictionary, without importing that class.
    """
    numbers = {type(np.dtype(code)) for code in np.typecodes["All"] if code not in "OV"}
    scalar, array = np.float64(0).__reduce__()[0], np.zeros(0).__reduce__()[0]
    plain = [bool, dict, float, frozenset, int, list, slice, str, tuple]
    paths = {
        "Path": PurePosixPath,
        "PurePath": PurePosixPath,
        "PosixPath": PurePosixPath,
        "PurePosixPath": PurePosixPath,
        "WindowsPath": PureWindowsPath,
        "PureWindowsPath": PureWindowsPath,
    }
    lightning = (
        "lightning.fabric.utilities.data",
        "lightning_fabric.utilities.data",
        "lightning.pytorch.utilities.parsing",
        "pytorch_lightning.utilities.parsing",
    )
    return [
        (np.dtype, "numpy.dtype"),
        (np.ndarray, "numpy.ndarray"),
        *((kind, f"numpy.dtypes.{kind.__name__}") for kind in numbers),
        *((scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
        *((array, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
        *((pure, f"pathlib.{name}") for name, pure in paths.items()),
        *((pure, f"pathlib._local.{name}") for name, pure in paths.items()),  # of Python 3.13
        *((kind, f"builtins.{kind.__name__}") for kind in plain),
        *((kind, f"datetime.{kind.__name__}") for kind in (date, datetime, timedelta, timezone)),
        (argparse.Namespace, "argparse.Namespace"),
        (SimpleNamespace, "types.SimpleNamespace"),
        (_empty, "collections.defaultdict"),
        *((dict, f"{module}.AttributeDict") for module in lightning),
    ]


def load_file_of_weights(path: Path) -> Weights:
    """Read a file of weights; it is read again only if it was changed.

    Raises:
        KdtoolError: The file is missing or damaged, could run code, or holds no weights.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise KdtoolError(f"cannot read the weights {path}: {error.strerror}") from error
    return _checked(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4)
def _checked(path: Path, _changed: int, _size: int) -> Weights:
    weights = _read(path)
    broken = [name for name, value in weights.items() if not _is_finite(value)]
    if broken:
        raise KdtoolError(
            f"the weights {path} are damaged or diverged: {len(broken):,} of {len(weights):,} "
            f"tensors hold NaN or infinity, such as {broken[0]}; copy the file again, or take "
            "weights from before that"
        )
    return weights


def _is_finite(value: Tensor) -> bool:
    if not value.is_floating_point():
        return True
    return bool((value if value.itemsize > 1 else value.float()).isfinite().all())  # 8-bit floats


def _read(path: Path) -> Weights:
    if path.suffix.lower() == ".onnx":
        raise KdtoolError(f'{path} is an ONNX file, which can be a teacher: model = "{path.name}"')
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(path)
        with torch.serialization.safe_globals(_harmless()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise KdtoolError(f"cannot read the weights {path}: {error.strerror or error}") from error
    except Exception as error:  # of a damaged file torch raises what its parser stumbles over
        raise KdtoolError(_unreadable(path, str(error))) from error
    return weights_in(content, path)


def _unreadable(path: Path, said: str) -> str:
    """Return why a file cannot be read, from torch's message."""
    code = re.search(r"TorchScript|(?<=GLOBAL )[\w.]+|(?<=<class ')[\w.]+", said)
    if code:
        return (
            f"{path} contains {code[0]}, which can run code when the file is read; expected "
            "weights alone: in the program that wrote it, use torch.save(model.state_dict(), FILE)"
        )
    return (
        f"cannot read the weights {path}: the file is damaged, or was neither written by "
        "torch.save nor as .safetensors"
    )


def weights_in(content: Any, path: Path) -> Weights:
    """Find the state dict in the content of a file.

    Raises:
        KdtoolError: It contains none.
    """
    if isinstance(content, Mapping):
        # First, since a program may keep a tensor such as the epoch next to the weights.
        for place in PLACES + AVERAGED:
            if isinstance(content.get(place), Mapping):
                return weights_in(content[place], path)
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
    given = list(content) if isinstance(content, Mapping) else type(content).__name__
    raise KdtoolError(
        f"{path} contains no weights, but {str(given)[:80]}; expected a state dict, or one under "
        f"one of the keys {', '.join(PLACES + AVERAGED)}"
    )
