"""Weights as safetensors; loading runs no code."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from kdtool.errors import StudyError, reason
from kdtool.files import write_atomic


def save_weights(path: Path, weights: dict[str, Tensor], facts: dict[str, object]) -> None:
    """Write weights as safetensors, with `facts` as JSON in its metadata under "kdtool"."""
    # safetensors refuses tensors that share memory or are not contiguous
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in weights.items()}
    write_atomic(path, save(tensors, {"kdtool": json.dumps(facts, sort_keys=True)}))


def load_facts(path: Path) -> dict[str, Any]:
    """Return the `facts` of a file of `save_weights`.

    Raises:
        StudyError: The file is missing, damaged, or not a checkpoint of kdtool.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["kdtool"])
    except FileNotFoundError as error:
        raise StudyError(f"checkpoint {path} does not exist") from error
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise StudyError(
            f"{path} is not a checkpoint of a study; expected a file of its folder `checkpoints`"
        ) from error
    return facts


def load_weights(path: Path, model: nn.Module) -> None:
    """Read the weights at `path` into `model`.

    Raises:
        StudyError: The file is missing, damaged, or of another architecture.
    """
    try:
        set_weights(model, load_file(path))
    except FileNotFoundError as error:
        raise StudyError(f"checkpoint {path} does not exist") from error
    except (SafetensorError, RuntimeError) as error:
        raise StudyError(f"cannot use the checkpoint {path}: {reason(error)}") from error


def set_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load all weights of a model; RuntimeError if they do not fit."""
    own = model.state_dict()  # some networks, such as MNASNet, read their version from it
    for name in own.keys() - weights.keys():
        del own[name]
    own.update(weights)
    model.load_state_dict(own)
