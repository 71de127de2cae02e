"""What a node of a cluster does for one model: check that it can, train, carry the result back.

The study's folder need not exist there: what a model needs of it is sent, and what is made goes
back. Images and weights are read there, from the paths that the recipe has.
"""

import pickle
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch

from kdtool.errors import KdtoolError
from kdtool.files import scratch_folder, write_atomic
from kdtool.recipe.schema import Recipe
from kdtool.results.base import Role
from kdtool.results.study import TrainingResult
from kdtool.study.folder import Study
from kdtool.train.models.device import choose_precision
from kdtool.train.pipeline.parallel.pieces import Piece
from kdtool.train.pipeline.parallel.reports import Remote
from kdtool.train.reporter import Silent
from kdtool.train.run import Run, open_run


@dataclass(frozen=True)
class Expected:
    """What the node must find, or the model would be another one."""

    torch: str  # version
    fingerprint: str  # of the images
    arithmetic: tuple[str, str]  # kind of device and precision
    key: str  # of the model


@dataclass(frozen=True)
class Task:
    """One model to train on a node."""

    piece: Piece  # its teacher lies at a path in the study
    recipe: Recipe  # of the study
    device: str
    threads: int  # of PyTorch
    files: list[str]  # of the study, that the model needs: paths in its folder
    expected: Expected


@dataclass(frozen=True)
class Made:
    """What goes back."""

    result: TrainingResult
    checkpoint: bytes | None  # None: the model is a file of the user's


def train_task(task: Task, contents: Sequence[bytes], send: Callable[..., None]) -> Made | str:
    """Train one model on this node.

    Args:
        task: The model.
        contents: Of `task.files`.
        send: Sends an event to the main process; see `Remote`.

    Returns:
        The model, or why it cannot be trained here.
    """
    torch.set_num_threads(task.threads)
    sys.stdout = sys.stderr  # a user's model may print
    try:
        with scratch_folder() as folder:
            study = Study(folder / task.recipe.name)
            for name, content in zip(task.files, contents, strict=True):
                write_atomic(study.folder / name, content)
            return train_in(study, task, send)
    except KdtoolError as error:
        return f"{error} (on the node {platform.node()})"
    except Exception as error:  # noqa: BLE001  PyTorch's, or anything that a user's network raises
        return (
            f"{type(error).__name__}: {error} (on the node {platform.node()}); without --cluster, "
            "--jobs 1 trains in one process, with a traceback"
        )
    finally:
        send("over")


def train_in(study: Study, task: Task, send: Callable[..., None]) -> Made:
    """Train one model in a study of its own.

    Raises:
        KdtoolError: It cannot be trained here, or would be another model.
    """
    run = opened_run(pickle.dumps((task.recipe, task.device)))
    run = replace(run, study=study, reporter=Remote(send))
    piece = task.piece
    if (teacher := piece.teacher) is not None:
        local = replace(teacher, checkpoint=study.folder / teacher.checkpoint)
        piece = replace(piece, teacher=local)
    check_equal(run, piece, task.expected)
    trained = piece.train(run)
    path = trained.checkpoint
    return Made(trained.result, path.read_bytes() if path.exists() else None)


@cache
def opened_run(content: bytes) -> Run:
    """Open the study, once in a process: Ray trains several models in one.

    Args:
        content: Recipe and device of a `Task`, pickled.

    Raises:
        KdtoolError: The images or a file of the recipe do not exist here, or cannot be read.
    """
    recipe, device = pickle.loads(content)
    # The main process has reported everything about the study and its data.
    return open_run(Study(Path(recipe.name), Silent().warn), recipe, device, Silent())


def check_equal(run: Run, piece: Piece, expected: Expected) -> None:
    """Check that this node would train the model that was asked for.

    Raises:
        KdtoolError: It has another PyTorch, other images, another arithmetic or another network.
    """
    if torch.__version__ != expected.torch:
        raise KdtoolError(
            f"PyTorch is {torch.__version__} here, and {expected.torch} where the command runs; "
            "install the same on all nodes"
        )
    if run.fingerprint != expected.fingerprint:
        raise KdtoolError(
            f"the images here are not those of the study: {run.splits.result.description}, "
            f"fingerprint {run.fingerprint[:16]}, expected {expected.fingerprint[:16]}; put the "
            "same files at the same path on all nodes (data.root)"
        )
    found = arithmetic_of(replace(run, recipe=piece.recipe), piece.role)
    if found != expected.arithmetic:
        raise KdtoolError(
            f"{piece.role} would be trained on {' in '.join(found)} here, and on "
            f"{' in '.join(expected.arithmetic)} where the command runs; give all nodes the same "
            "kind of processor, or say --device and `precision` in the recipe"
        )
    if piece.plan(run).key != expected.key:
        raise KdtoolError(
            f"{piece.role} would be another model here: its network, its weights or a package "
            "that defines them differ; install the same packages on all nodes"
        )


def arithmetic_of(run: Run, role: Role) -> tuple[str, str]:
    """Return the kind of device and the precision that the models of a role are trained in."""
    table = run.table(role)
    if table.is_trained:
        return run.device.type, "fp32"
    return run.device.type, choose_precision(table.precision, run.device, run.network(role))
