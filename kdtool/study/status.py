"""How far a study is: what is trained, running, written and left, without PyTorch and images."""

import re
import shlex
from collections import defaultdict
from pathlib import Path
from statistics import fmean

from kdtool.environment import nvidia_gpu
from kdtool.errors import StudyError
from kdtool.recipe.schema import Recipe
from kdtool.results.base import ROLES, Role
from kdtool.results.commands.status import RoleStatus, StudyStatus
from kdtool.results.decision import Decision, is_weak_teacher
from kdtool.results.study import Results, TrainingResult, load_results
from kdtool.study.folder import Study
from kdtool.study.ownership import differing_tables

# The parts of a recipe that the models of a role are trained by. `seeds` says only how many.
TRAINED_BY: dict[Role, set[str]] = {
    "teacher": {"data", "metric", "teacher"},
    "subclass-teacher": {"data", "metric", "teacher", "subclass"},
    "control": {"data", "metric", "student"},
    "student": {"data", "metric", "teacher", "student", "distill"},
    "subclass-student": {"data", "metric", "teacher", "student", "subclass"},
}


def status_of(folder: Path) -> StudyStatus:
    """Return how far the study in a folder is.

    Which models are trained is read from the records of the stages, whose files must exist; their
    hashes are compared when the study goes on.

    Args:
        folder: Of a study that was at least begun.

    Raises:
        StudyError: It contains no study, or results.json, recipe.toml or a record cannot be read.
    """
    problems: list[str] = []
    study = Study(folder, problems.append)
    running = study.is_locked()
    if not study.recipe_path.exists():
        return _without_recipe(study, running)
    recipe = study.load_recipe()
    results = load_results(study.results_path) if study.results_path.exists() else None
    changed = differing_tables(recipe, results) if results else []
    roles = [_role_status(study, role, recipe, results, changed) for role in _roles(study, results)]
    is_current = results is not None and not changed
    left = _left(roles, results if is_current else None)
    is_stopped = not running and _is_stopped(study, roles)
    if is_stopped:
        problems.append(
            "the teacher is no better than the control on validation, so no student is trained: "
            "improve the teacher, or continue with --anyway"
        )
    return StudyStatus(
        folder=str(folder),
        name=recipe.name,
        running=running,
        roles=roles,
        results="none" if results is None else "written" if is_current else "outdated",
        report=(folder / "report.html").exists(),
        decision=_decision(results) if results and is_current else None,
        left=left,
        command=None if running or not left else _command(study, recipe, roles, is_stopped),
        problems=problems,
    )


def _decision(results: Results) -> Decision:
    if results.decision:
        return results.decision
    from kdtool.report.decision import decision_of  # imports NumPy; of an older kdtool's results

    return decision_of(results)


def _without_recipe(study: Study, running: bool | None) -> StudyStatus:
    """Return the status of a folder in which a run has only begun.

    Raises:
        StudyError: No run is at work there.
    """
    if study.results_path.exists():
        raise StudyError(
            f"{study.folder} has a results.json, but its recipe.toml is missing; copy it from "
            "where the study was made"
        )
    if not running:
        raise StudyError(
            f"{study.folder} contains no study: a run ended there before it had read its images; "
            "run it again"
        )
    return StudyStatus(
        folder=str(study.folder),
        name=None,
        running=True,
        roles=[],
        results="none",
        report=False,
        decision=None,
        left=["read the images, train, evaluate, export and report"],
        command=None,
        problems=[],
    )


def _roles(study: Study, results: Results | None) -> list[Role]:
    """Return the roles of the study; those of subclasses only if one of their models was begun."""
    folder = study.folder / "checkpoints"
    has_subclasses = any(folder.glob("subclass-*")) or (
        results is not None and "subclass-student" in results.models
    )
    return [role for role in ROLES if has_subclasses or not role.startswith("subclass")]


def _role_status(
    study: Study, role: Role, recipe: Recipe, results: Results | None, changed: list[str]
) -> RoleStatus:
    asked = recipe.seeds_of(role)
    found: dict[int, int] = defaultdict(int)  # seed -> models
    old = results.models.get(role) if results and TRAINED_BY[role] & set(changed) else None
    # Models of settings that the recipe has no more: their records are still there
    replaced = (
        [[one.model_dump(mode="json") for one in run.epochs] for run in old.seeds] if old else []
    )
    for name, record in study.records(f"{role}-seed*"):
        number = re.fullmatch(rf"{role}-seed(\d+)-\w+", name)
        exists = all((study.folder / file).exists() for file in record.files)
        if number and exists and record.result.get("epochs") not in replaced:
            found[int(number[1])] += 1
    states = (study.folder / "checkpoints").glob(f"{role}-seed*.state.pt")
    begun = {int(number[1]) for one in states if (number := re.search(r"-seed(\d+)-", one.name))}
    done = [seed for seed in asked if found[seed]]
    return RoleStatus(
        role=role,
        asked=asked,
        done=done,
        begun=[seed for seed in asked if seed in begun],
        num_models=sum(found[seed] for seed in asked),
    )


def _left(roles: list[RoleStatus], results: Results | None) -> list[str]:
    """Return what is left to do.

    Args:
        roles: Of the study.
        results: Those of the study's recipe; None: there are none.
    """
    left = [
        f"train {len(missing)} of {len(one.asked)} {one.role} models (seed {_numbers(missing)})"
        for one in roles
        if (missing := [seed for seed in one.asked if seed not in one.done])
    ]
    complete = results is not None and all(
        one.role in results.models
        and {run.seed for run in results.models[one.role].seeds} >= set(one.asked)
        for one in roles
    )
    if left or not complete:
        left.append("evaluate all models, export and report")
    elif results and not any(results.models[one.role].files for one in roles):
        left.append("export and report")
    return left


def _numbers(seeds: list[int]) -> str:
    return ", ".join(map(str, seeds))


def _is_stopped(study: Study, roles: list[RoleStatus]) -> bool:
    """Return whether a run ended, or would end, without its students because of a weak teacher."""
    states = {one.role: one for one in roles}
    teacher, control, student = (states.get(one) for one in ("teacher", "control", "student"))
    if not teacher or not control or not student or len(student.done) == len(student.asked):
        return False
    if len(teacher.done) < len(teacher.asked) or len(control.done) < len(control.asked):
        return False
    best, mean = (
        fmean(one.best.score for one in _newest(study, role)) for role in ("teacher", "control")
    )
    return is_weak_teacher(best, mean)


def _newest(study: Study, role: str) -> list[TrainingResult]:
    """Return the model of each seed that was trained last; others are of earlier settings."""
    records = sorted(study.records(f"{role}-seed*"), key=lambda one: study.written_at(one[0]))
    newest = {name.rpartition("-")[0]: record.result for name, record in records}
    return [TrainingResult.model_validate(result) for result in newest.values()]


def _command(study: Study, recipe: Recipe, roles: list[RoleStatus], is_stopped: bool) -> str | None:
    """Return the command that continues a study; None: its folder has another name."""
    folder = study.folder.resolve()
    if folder.name != recipe.name:
        return None
    has_subclasses = any(one.role == "subclass-student" for one in roles)
    words = ["kdtool", "subclass-distill" if has_subclasses else "distill", str(study.recipe_path)]
    if folder.parent != Path("runs").resolve():
        words += ["--out", str(study.folder.parent if study.folder.name else folder.parent)]
    if is_stopped:
        words.append("--anyway")
    devices = {record.result.get("device") for _, record in study.records("*-seed*")} - {None}
    if devices == {"cpu"} and nvidia_gpu():  # on it all models would be trained again
        words += ["--device", "cpu"]
    return shlex.join(words)
