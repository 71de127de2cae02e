"""What is to be trained: each model once, students after what they need."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kdtool.recipe.schema import Recipe
from kdtool.results.base import TEACHER_OF, Role
from kdtool.train.pipeline.roles import plan_role, train_role, with_teachers
from kdtool.train.pipeline.sweep import Settings, title_of
from kdtool.train.pipeline.train_model import ModelPlan, find_trained, train_model
from kdtool.train.run import TEACHERS, Run, Trained

Tried = Mapping[Role, Sequence[tuple[Settings, Recipe]]]  # of `settings_of`


@dataclass(frozen=True)
class Piece:
    """One model to train; sent to the process that does it."""

    title: str  # of the setting, in a sweep
    role: Role
    recipe: Recipe  # of one seed
    teacher: Trained | None  # of a student

    def plan(self, run: Run) -> ModelPlan:
        """Return the plan of the model; nothing is trained."""
        models = {} if self.teacher is None else {self.teacher.role: [self.teacher]}
        (plan,) = plan_role(replace(run, recipe=self.recipe), self.role, models)
        return plan

    def train(self, run: Run) -> Trained:
        """Return the model: found, or else trained."""
        return train_model(replace(run, recipe=self.recipe), self.plan(run))

    def titled(self, text: str) -> str:
        """Return `text` with the setting in front."""
        return f"{self.title}: {text}" if self.title else text


@dataclass(frozen=True)
class Missing:
    """Models that can be trained at the same time."""

    roles: list[Role]  # of all models, those that are trained already included
    pieces: list[Piece]  # that are not trained, in the order of training


def missing_pieces(run: Run, tried: Tried) -> Iterator[Missing]:
    """Yield first the teachers, then all others, whose plans need the trained teachers.

    Args:
        run: The study, with its lock held.
        tried: Of `settings_of`.
    """
    for chosen in (TEACHERS, [role for role in tried if role not in TEACHERS]):
        models: dict[Path, Piece] = {}
        missing: dict[Path, Piece] = {}
        for piece in pieces_of(run, tried, chosen):
            plan = piece.plan(run)
            models[plan.checkpoint] = piece
            if plan.checkpoint not in missing and find_trained(run, plan) is None:
                missing[plan.checkpoint] = piece
        yield Missing([piece.role for piece in models.values()], list(missing.values()))


def pieces_of(run: Run, tried: Tried, chosen: Sequence[Role]) -> list[Piece]:
    """Return the models of some roles; the teachers of students are trained already."""
    pieces = []
    settings_by_role = [(role, *one) for role in tried if role in chosen for one in tried[role]]
    for role, settings, recipe in settings_by_role:
        pairs: list[tuple[int, Trained | None]] = [(seed, None) for seed in recipe.seeds_of(role)]
        if role in TEACHER_OF:
            teachers = train_role(replace(run, recipe=recipe), TEACHER_OF[role], {})
            pairs = [*with_teachers(recipe.seeds, teachers)]
        for seed, teacher in pairs:
            of_seed = recipe.model_copy(update={"seeds": [seed], "teacher_seeds": None})
            pieces.append(Piece(title_of(settings), role, of_seed, teacher))
    return pieces
