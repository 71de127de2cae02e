"""Whether the teachers are worth learning from, checked before the students are trained."""

from collections.abc import Callable, Mapping
from statistics import fmean

from kdtool.errors import GateError
from kdtool.format import role_name, score_text, score_with_name
from kdtool.results.base import TEACHER_OF, Role
from kdtool.results.decision import is_weak_teacher
from kdtool.train.pipeline.roles import plan_role
from kdtool.train.pipeline.train_model import find_trained
from kdtool.train.run import TEACHERS, Run, Trained

Models = Mapping[Role, list[Trained]]


def check_teachers(run: Run, models: Models, students: list[Role], *, anyway: bool) -> None:
    """Stop the study if its students have nothing to learn.

    Args:
        run: The study.
        models: Its controls and teachers; a teacher that is missing is not judged.
        students: Roles that the study trains.
        anyway: Warn instead of stopping.

    Raises:
        GateError: Every teacher is no better than the control.
    """
    weak = weak_teachers(run, models)
    if not anyway and all(TEACHER_OF[role] in weak for role in students):
        raise GateError(
            f"{'; '.join(weak.values())}. No student is trained any more; what is trained is kept. "
            "--anyway trains the students all the same"
        )
    for text in weak.values():
        run.reporter.warn(text)


def is_checked(run: Run, roles: list[Role], check: Callable[[Run, Models], None]) -> bool:
    """Check teachers and controls if all of them are trained; return whether they are.

    Args:
        run: The study.
        roles: Of its teachers and controls.
        check: `check_teachers`, with the study's other arguments.
    """
    models: dict[Role, list[Trained]] = {}
    for role in roles:
        found = [find_trained(run, plan) for plan in plan_role(run, role, {})]
        models[role] = [one for one in found if one]
        if len(models[role]) < len(found):
            return False
    check(run, models)
    return True


def warn_of_perfect_control(run: Run, models: Models) -> None:
    """Warn if the controls leave nothing to improve on validation."""
    if all(one.result.best.score == 1 for one in models["control"]):
        run.reporter.warn(
            f"the control already scores {score_with_name(run.recipe.metric, 1.0)} on the "
            f"{len(run.splits.validation):,} validation images: distillation cannot "
            "improve it, or the validation set is too small"
        )


def weak_teachers(run: Run, models: Models) -> dict[Role, str]:
    """Return the teachers that are no better than the control on validation, each with why."""
    control = fmean(one.result.best.score for one in models["control"])
    table, metric = run.recipe.teacher, run.recipe.metric
    key = "teacher.phase" if table.phase else "teacher.epochs"
    remedy = "" if table.is_trained else f"train it longer ({key}) or "
    return {
        role: f"the {role_name(role)} is no better than the control, "
        f"{score_with_name(metric, score)} against {score_text(metric, control)} on validation: "
        f"students can learn little from it, and none would be shipped; {remedy}use a larger one "
        "(teacher.model)"
        for role in TEACHERS
        if (scores := [one.result.best.score for one in models.get(role, [])])
        and is_weak_teacher(score := fmean(scores), control)
    }
