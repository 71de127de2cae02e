"""What rank 0 of torchrun sends the other ranks, so that all work on one model."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kdtool.errors import KdtoolError
from kdtool.recipe.schema import Recipe
from kdtool.results.base import Role
from kdtool.study.folder import Origin, StartTable, Study
from kdtool.train.run import Run, Trained, table_of

STATE = ".state.pt"  # end of the name of an unfinished training


@dataclass(frozen=True)
class Handed:
    """A model that all ranks train or evaluate together."""

    recipe: Recipe  # of its seed alone
    to_train: Role | None  # its role; None: `model` is evaluated
    model: Trained | None  # what is evaluated, or the teacher of a student to train
    networks: dict[Role, str]  # of `Run.identity`, of both
    origins: dict[StartTable, Origin | None]  # what its weights, and its teacher's, start from
    files: list[str]  # that follow, relative to the study


def hand_over(
    run: Run,
    seed: int,
    model: Trained | None,
    to_train: Role | None = None,
    paths: Sequence[Path] = (),
) -> None:
    """On rank 0: send the other ranks, if there are any, what `received` returns there.

    Args:
        run: The study.
        seed: Of the model that is trained or evaluated.
        model: Trained already: what is evaluated, or the teacher of a student to train.
        to_train: The role of the model to train; None: `model` is evaluated.
        paths: Files of the study that are sent too, where they exist.
    """
    if not run.ranks.are_several:
        return
    roles = [*([] if to_train is None else [to_train]), *([] if model is None else [model.role])]
    paths = [*paths, *([] if model is None else [model.checkpoint])]
    handed = Handed(
        run.recipe.model_copy(update={"seeds": [seed], "teacher_seeds": None}),
        to_train,
        model,
        {role: run.identity(role) for role in roles},
        {table_of(role): run.origin(role) for role in roles},
        [path.relative_to(run.study.folder).as_posix() for path in paths],
    )
    run.ranks.same(handed)
    for name in lacked(run, handed):
        run.ranks.carry(run.study.folder / name)


def lacked(run: Run, handed: Handed) -> list[str]:
    """Return the files that another rank lacks; called on every rank."""
    own = {name for name in handed.files if (run.study.folder / name).exists()}
    _, *others = run.ranks.gathered(own)
    return [name for name in handed.files if not all(name in held for held in others)]


def received(run: Run, handed: Handed) -> tuple[Run, Trained | None]:
    """On another rank: return the study of a model, and `Handed.model`; its files are received.

    Args:
        run: Its study is a folder of this rank: rank 0 may write to another disk.
        handed: What rank 0 sent.

    Raises:
        KdtoolError: A network is another one here.
    """
    run, study, model = replace(run, recipe=handed.recipe), run.study, handed.model
    delete_others(study, handed.files)
    for name in lacked(run, handed):
        run.ranks.carry(study.folder / name)
    for table, origin in handed.origins.items():
        study.record_origin(table, origin)
    check_networks(run, handed.networks)
    if model is not None:
        model = replace(model, checkpoint=study.checkpoint(model.role, model.seed, model.key))
    return run, model


def delete_others(study: Study, needed: list[str]) -> None:
    """Delete the files of earlier models, of which a sweep has many, and states, which change.

    Args:
        study: Of a rank that follows.
        needed: Files of the next model.
    """
    for folder in ("checkpoints", "predictions"):
        for path in (study.folder / folder).glob("*"):
            if f"{folder}/{path.name}" not in needed or path.name.endswith(STATE):
                path.unlink()


def check_networks(run: Run, expected: dict[Role, str]) -> None:
    """Check that the networks of some roles are those of rank 0.

    Raises:
        KdtoolError: One is not.
    """
    for role, of_rank_0 in expected.items():
        if run.identity(role) != of_rank_0:
            raise KdtoolError(
                f"the network of the {role} is not that of rank 0: its source, its ONNX file or a "
                "package that defines it differs; all ranks need the same"
            )
