"""Load a model in a runtime through the script that kdtool ships for it."""

import json
import time
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from kdtool.edge.latency.job import Job, LoadedModel, random_input
from kdtool.errors import KdtoolError, ModelFileError
from kdtool.install import install_command

COMMON = "kdtool.edge.targets.runners.common"  # shipped as well
FACTS = "model.json"  # next to the model, in the folder of a target


def package_of_runner(runtime: str) -> str:
    """Return the package with the script for a runtime: one that needs PyTorch is in `train`."""
    if runtime == "executorch":  # its Python takes tensors of PyTorch; on a device it is C++
        return "kdtool.train.export.targets.runners"
    return "kdtool.edge.targets.runners"


def import_runner(runtime: str) -> ModuleType:
    """Import the script that kdtool ships for a runtime.

    Raises:
        KdtoolError: The runtime is not installed.
    """
    try:
        return import_module(f"{package_of_runner(runtime)}.{runtime}")
    except ModuleNotFoundError as error:
        install = install_command(runtime)
        text = f"timing a model in {runtime} needs {error.name}: {install}"
        raise KdtoolError(text) from error


def _facts_beside(job: Job) -> dict[str, Any]:
    path = Path(job.path).with_name(FACTS)
    if not path.is_file():
        raise ModelFileError(
            f"{job.runtime} cannot run {job.path}: kdtool runs only image classifiers of its own "
            "form there, with an input `image` and the outputs `logits` and `probabilities`"
        )
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return facts


def load_in_runner(job: Job) -> LoadedModel:
    """Load the model of `job` with the script of its runtime.

    The size and type of the images are in `job`, or in `model.json` next to the model.

    Raises:
        KdtoolError: The runtime is not installed, or cannot run the model.
    """
    runner, common = import_runner(job.runtime), import_module(COMMON)
    path = Path(job.path)
    facts = job.facts or _facts_beside(job)
    is_float = facts["input"] == "tensor"
    height, width, channels = facts["height"], facts["width"], facts["channels"]
    shape = (channels, height, width) if is_float else (height, width, channels)
    declared = {"image": ((None, *shape), np.float32 if is_float else np.uint8)}
    (images,) = random_input(declared, job.batch_size, {}).values()

    def predict(images: Any) -> Any:
        # Others are in the form of the model already: floats, or int8.
        given = common.as_input(images, facts) if images.dtype == np.uint8 else images
        return runner.predict(model, given)

    started = time.perf_counter_ns()
    try:
        model = runner.load(path, job.threads, facts)
        load_ns = time.perf_counter_ns() - started
        predict(images)
    except Exception as error:  # the runtimes' errors share no other base class
        raise ModelFileError(f"{job.runtime} cannot run {job.path}: {error}") from error
    return LoadedModel(
        run=lambda: predict(images),
        load_ns=load_ns,
        answer=lambda given: np.asarray(predict(given)),
        provider="cpu",
        provider_share=None,
    )
