"""Train the models of a study in several processes, before it asks for them one by one."""

from dataclasses import dataclass, replace
from pathlib import Path

from kdtool.recipe import Recipe
from kdtool.record import TEACHER_OF, Role
from kdtool.study import swept_role
from kdtool.train.parallel import jobs_of, train_in_processes
from kdtool.train.roles import sees_fixed_images, teacher_logits, train_role
from kdtool.train.run import TEACHERS, NotTrainedError, Run, Trained
from kdtool.train.sweep import Settings, title_of


@dataclass(frozen=True)
class Piece:
    """One model to train."""

    title: str  # of the setting, in a sweep
    role: Role
    recipe: Recipe  # of one seed
    teacher: Trained | None  # of a student

    def train(self, run: Run) -> Trained:
        """Train the model, or return it if it stands already."""
        models = {} if self.teacher is None else {self.teacher.role: [self.teacher]}
        (trained,) = train_role(replace(run, recipe=self.recipe), self.role, models)
        return trained


def train_ahead(
    run: Run, roles: list[Role], settings: list[tuple[Settings, Recipe]], jobs: int | None
) -> None:
    """Train in several processes what the study needs, where that helps.

    Each model becomes a stage of the study, so that what follows finds it standing; what is not
    trained here is trained there.

    Args:
        run: The study, with its lock held.
        roles: Whose models it needs.
        settings: Those of a sweep, or the recipe's.
        jobs: How many processes train; None is as many as help.
    """
    sweep = settings[0][0]
    varied = {swept_role(sweep), TEACHER_OF[swept_role(sweep)]} if sweep else set()
    tried: dict[Role, list[tuple[Settings, Recipe]]] = {
        role: settings if role in varied else [({}, settings[0][1])] for role in roles
    }
    # students need the teachers
    for chosen in (TEACHERS, [role for role in roles if role not in TEACHERS]):
        pieces = [
            piece
            for role in roles
            if role in chosen
            for setting in tried[role]
            for piece in pieces_of(run, role, setting)
        ]
        hand_out(run, pieces, jobs)


def pieces_of(run: Run, role: Role, setting: tuple[Settings, Recipe]) -> list[Piece]:
    """Return the models of one role and setting; the teacher of students is trained by now."""
    settings, recipe = setting
    title, teacher = title_of(settings), None
    if role in TEACHER_OF:
        (teacher,) = train_role(replace(run, recipe=recipe), TEACHER_OF[role], {})
    seeds = recipe.seeds[:1] if role in TEACHERS else recipe.seeds
    return [
        Piece(title, role, recipe.model_copy(update={"seeds": [seed]}), teacher) for seed in seeds
    ]


def hand_out(run: Run, pieces: list[Piece], jobs: int | None) -> None:
    """Train in several processes the pieces that do not stand, each model once."""
    models: dict[Path, Piece] = {}
    missing: dict[Path, Piece] = {}
    for piece in pieces:
        try:
            checkpoint = piece.train(replace(run, only_standing=True)).checkpoint
        except NotTrainedError as error:
            checkpoint = error.checkpoint
            missing[checkpoint] = piece
        models[checkpoint] = piece
    if not missing:
        return
    jobs = jobs_of(run, jobs, [piece.role for piece in models.values()])
    if jobs > 1:
        for piece in missing.values():
            asked = replace(run, recipe=piece.recipe)
            if piece.teacher is not None and sees_fixed_images(asked, piece.role):
                teacher_logits(asked, piece.teacher)  # here, once, and not by every process
        train_in_processes(run, [(one.title, one.train) for one in missing.values()], jobs)
