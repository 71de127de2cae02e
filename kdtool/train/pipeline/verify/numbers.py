"""Scores, verdicts, counts and all that follows from the predictions, as a study computes it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kdtool.errors import KdtoolError, reason
from kdtool.recipe.load import with_settings
from kdtool.results.base import TEACHER_OF, Role
from kdtool.results.commands.verification import Part, compared, joined, not_checked
from kdtool.results.study import Cost, TestScores
from kdtool.study.verify.integrity import RESULTS, found_sha256, sha256_of_text
from kdtool.study.verify.records import as_json
from kdtool.train.evaluation.bias_shift import bias_shifts
from kdtool.train.evaluation.evaluate import Evaluated, evaluate_stage, split_labels
from kdtool.train.evaluation.images import (
    ANSWERS_TABLE,
    answers_table,
    described,
    flips,
    shown_images,
)
from kdtool.train.evaluation.subclasses import subclass_use
from kdtool.train.evaluation.verdicts import verdicts
from kdtool.train.models.count import count
from kdtool.train.pipeline.finish import (
    chosen_of,
    methods_of,
    model_result,
    role_to_ship,
    sweep_points,
)
from kdtool.train.pipeline.roles import plan_role
from kdtool.train.pipeline.sweep import Candidate, best_candidate
from kdtool.train.pipeline.train_model import ModelPlan, trained_here
from kdtool.train.pipeline.verify.opened import Opened, as_known
from kdtool.train.run import Run, Trained

NAME = "all numbers, computed again as the study does"
OF_FILES = {"files", "refused", "int8_ladder", "recommended"}  # of a `ModelResult`
PAST = (
    "times, losses of training and saliency maps: they were measured once, and are compared with "
    "the records of their stages"
)


def computed_again(opened: Opened) -> Part:
    """Compute all numbers of results.json again, but for those of files."""
    parts = [not_checked(NAME, PAST), *_models(opened)]
    results = opened.results
    if results.shipped is not None and opened.evaluated.keys() == results.models.keys():
        parts += [*_between_models(opened), *_sweep(opened)]
    return joined(NAME, parts)


def _compared(opened: Opened, stored: Any, found: Any, field: str) -> Part:
    return compared(NAME, RESULTS, stored, as_known(stored, found, opened.results), field)


def _models(opened: Opened) -> Iterator[Part]:
    """Compute the results of each role again, but for its files."""
    run, results = opened.run, opened.results
    chosen = chosen_of(run, opened.evaluated)
    for role, seeds in opened.evaluated.items():
        stored, field = results.models[role], f"models.{role}"
        try:
            cost = count(run.network(role), run.image_shape)
        except KdtoolError as error:
            cost = Cost(**{name: getattr(stored, name) for name in Cost.model_fields})
            yield not_checked(NAME, f"{field}.num_params, num_macs: {reason(error)}")
        found = model_result(run, seeds, chosen[role], cost, None)
        old, new = (
            {key: value for key, value in as_json(one).items() if key not in OF_FILES}
            for one in (stored, found)
        )
        yield _compared(opened, old, new, field)


def _between_models(opened: Opened) -> Iterator[Part]:
    """Compute verdicts, flips and what follows from them again."""
    run, results, evaluated = opened.run, opened.results, opened.evaluated
    chosen = chosen_of(run, evaluated)
    differences = flips(chosen, split_labels(run.splits.test))
    uses = subclass_use(evaluated, chosen, run.splits)
    if not opened.has_images:
        uses = [
            one.model_copy(update={"fine": old.fine})
            for one, old in zip(uses, results.subclasses, strict=False)
        ]
        if any(one.fine for one in results.subclasses):
            yield not_checked(NAME, "subclasses[].fine: needs the images' classes before merging")
    found: dict[str, Any] = {
        "verdicts": verdicts(run, evaluated),
        "flips": differences,
        "subclasses": uses,
        "bias_shifts": bias_shifts(evaluated, run.splits),
    }
    for name, several in found.items():
        stored = [as_json(one) for one in getattr(results, name)]
        yield _compared(opened, stored, [as_json(one) for one in several], name)
    yield _answers_table(opened, chosen)
    yield _compared(opened, results.shipped, role_to_ship(evaluated), "shipped")
    if results.gallery is not None:
        shown = sorted(shown_images(differences, uses))
        stored_images = [as_json(one) for one in results.gallery.images]
        again = [as_json(one) for one in described(chosen, run.splits, shown)]
        if not opened.has_images:
            for old, new in zip(stored_images, again, strict=False):
                new["fine_label"] = old["fine_label"]
        yield _compared(opened, stored_images, again, "gallery.images")


def _answers_table(opened: Opened, chosen: dict[Role, Evaluated]) -> Part:
    if not opened.has_images:  # it names the files of the images
        return not_checked(NAME, f"{ANSWERS_TABLE}: needs the images")
    expected = sha256_of_text(answers_table(opened.run, chosen))
    found = found_sha256(opened.run.study.folder / ANSWERS_TABLE)
    return compared(NAME, ANSWERS_TABLE, expected, found, "content")


def _sweep(opened: Opened) -> Iterator[Part]:
    """Compute the scores of a sweep's settings again, from the predictions of its students."""
    run, results = opened.run, opened.results
    if results.sweep and not opened.has_images:
        yield not_checked(NAME, "sweep, methods: finding their models needs the images")
        return
    for role in dict.fromkeys(point.role for point in results.sweep):
        points = [point for point in results.sweep if point.role == role]
        recipes = [with_settings(run.recipe, dict(point.settings)) for point in points]
        found = [
            _candidate(replace(run, recipe=recipe), role, dict(point.settings))
            for point, recipe in zip(points, recipes, strict=True)
        ]
        candidates = [one for one in found if one is not None]
        if len(candidates) < len(points):
            yield not_checked(
                NAME,
                f"sweep of the {role}: models of some settings are missing, or were trained by "
                "another kdtool or on another device",
            )
            continue
        best = best_candidate(candidates)
        again = [as_json(one) for one in sweep_points(run, candidates, best)]
        yield _compared(opened, [as_json(one) for one in points], again, "sweep")
        if role == "student" and results.methods:
            controls = [one.trained for one in opened.evaluated["control"]]
            methods = methods_of(run, candidates, best, controls)
            stored = [as_json(one) for one in results.methods]
            yield _compared(opened, stored, [as_json(one) for one in methods], "methods")


def _candidate(run: Run, role: Role, settings: dict[str, Any]) -> Candidate | None:
    """Return the students of a setting; None if one, its teacher or its scores are missing."""
    teachers = _trained(run, plan_role(run, TEACHER_OF[role], {}))
    if teachers is None:
        return None
    students = _trained(run, plan_role(run, role, {TEACHER_OF[role]: teachers}))
    if students is None:
        return None
    scored = all(run.study.done(*evaluate_stage(run, one), TestScores) for one in students)
    return Candidate(role, settings, run.recipe, students) if scored else None


def _trained(run: Run, plans: list[ModelPlan]) -> list[Trained] | None:
    """Return the models of plans as the study has them; None if one is missing."""
    found = [one for plan in plans if (one := trained_here(run, plan))]
    return found if len(found) == len(plans) else None
