"""What rank 0 of torchrun sends the other ranks, so that all work on one model."""

from dataclasses import dataclass, replace
from pathlib import Path

from kdtool.recipe.schema import Recipe
from kdtool.results.base import Role
from kdtool.study.folder import Origin, StartTable
from kdtool.train.run import Run, Trained, table_of


@dataclass(frozen=True)
class Handed:
    """A model that all ranks train or evaluate together."""

    recipe: Recipe  # of its seed alone
    to_train: Role | None  # its role; None: `model` is evaluated
    model: Trained | None  # what is evaluated, or the teacher of a student to train
    origins: dict[StartTable, Origin | None]  # what its weights, and its teacher's, start from
    files: list[str]  # that follow, relative to the study


def hand_over(
    run: Run, seed: int, model: Trained | None, to_train: Role | None = None, *paths: Path
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
    paths = (*paths, *([] if model is None else [model.checkpoint]))
    handed = Handed(
        run.recipe.model_copy(update={"seeds": [seed], "teacher_seeds": None}),
        to_train,
        model,
        {table_of(role): run.origin(role) for role in roles},
        [path.relative_to(run.study.folder).as_posix() for path in paths],
    )
    run.ranks.same(handed)
    for path in paths:
        run.ranks.carry(path)


def received(run: Run, handed: Handed) -> tuple[Run, Trained | None]:
    """On another rank: return the study of a model, and `Handed.model`; its files are received.

    Args:
        run: Its study is a folder of this rank: rank 0 may write to another disk.
        handed: What rank 0 sent.
    """
    run, study, model = replace(run, recipe=handed.recipe), run.study, handed.model
    for name in handed.files:
        (study.folder / name).unlink(missing_ok=True)
        run.ranks.carry(study.folder / name)
    for table, origin in handed.origins.items():
        study.record_origin(table, origin)
    if model is not None:
        model = replace(model, checkpoint=study.checkpoint(model.role, model.seed, model.key))
    return run, model
