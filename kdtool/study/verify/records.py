"""Whether results.json says what the records of the stages say, and follows from itself."""

import json
from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from typing import Any

from pydantic import ValidationError

from kdtool.recipe.schema import Recipe
from kdtool.report.decision import decide
from kdtool.results.base import Role, to_json
from kdtool.results.commands.verification import Part, compared, joined, mismatched, not_checked
from kdtool.results.profile import Latency
from kdtool.results.study import Cost, FileResult, ModelResult, Results, SeedResult, TrainingResult
from kdtool.study.ownership import differing_tables
from kdtool.study.stages import StageRecord
from kdtool.study.verify.finished_study import FinishedStudy
from kdtool.study.verify.integrity import RESULTS

NAME = "results.json, with the records of the stages"
LEAST_LIKENESS = 0.8  # share of equal values; of two trainings, the values of each epoch differ
DECISION = "the decision, with all other results"


def recorded_results(finished: FinishedStudy) -> Part:
    """Compare results.json with recipe.toml and the records of the stages.

    Records that are missing are mismatches; those that are damaged are named by `listed_files`.
    """
    recipe, results = finished.recipe, finished.results
    return joined(NAME, [_recipe(recipe, results), *_models(finished), *_rest(finished)])


def decided(results: Results) -> Part:
    """Decide again what to ship, from all other results."""
    if results.decision is None:
        return not_checked(DECISION, "decision: results.json, of an older kdtool, has none")
    stored, found = (as_json(one) for one in (results.decision, decide(results)))
    return compared(DECISION, RESULTS, stored, found, "decision")


def as_json(record: Any) -> Any:
    """Return a record as JSON values."""
    return json.loads(to_json(record))


def _missing(finished: FinishedStudy, name: str) -> Iterator[Part]:
    """Say that no record of that name, which may have wildcards, has what results.json says."""
    if any(fnmatch(one, name) for one in finished.damaged):
        return
    is_there = any(fnmatch(one, name) for one in finished.records)
    found = "other values" if is_there else "no such file"
    yield mismatched(NAME, f"stages/{name}.json", "record of the stage", "written", found)


def training_of(
    records: Mapping[str, StageRecord], role: Role, seed: SeedResult
) -> tuple[str, StageRecord] | None:
    """Return the training that gave a seed's results, of which some values may be wrong now.

    A sweep leaves several trainings of one role and seed; they differ in most values.
    """
    stored, likeness = trained(seed), {}
    for name, record in records.items():
        if name.startswith(f"{role}-seed{seed.seed}-"):
            one = compared("", "", stored, _known(record, TrainingResult))
            likeness[name] = 1 - len(one.mismatches) / one.num_compared
    nearest = max(likeness, key=lambda name: likeness[name], default=None)
    if nearest is None or likeness[nearest] < LEAST_LIKENESS:
        return None
    return nearest, records[nearest]


def trained(seed: SeedResult) -> dict[str, Any]:
    """Return the part of a seed's results that its training recorded, as JSON values."""
    content = as_json(seed)
    return {name: content[name] for name in TrainingResult.model_fields}


def _recipe(recipe: Recipe, results: Results) -> Part:
    tables = differing_tables(recipe, results)
    stored, found = (dict.fromkeys(tables, text) for text in ("another one", "as in results.json"))
    part = compared(NAME, "recipe.toml", stored, found)
    return part.model_copy(update={"num_compared": len(recipe.model_dump())})


def _models(finished: FinishedStudy) -> Iterator[Part]:
    records, results = finished.records, finished.results
    for role, model in results.models.items():
        for place, seed in enumerate(model.seeds):
            field = f"models.{role}.seeds[{place}]"
            found = training_of(records, role, seed)
            if found is None:
                yield from _missing(finished, f"{role}-seed{seed.seed}-*")
                continue
            name, training = found
            yield compared(NAME, RESULTS, trained(seed), _known(training, TrainingResult), field)
            if (test := records.get(f"evaluate-{name}")) is None:
                yield from _missing(finished, f"evaluate-{name}")
            else:
                yield compared(NAME, RESULTS, as_json(seed.test), test.result, f"{field}.test")
        yield from _of_model(finished, role, model)


def _of_model(finished: FinishedStudy, role: Role, model: ModelResult) -> Iterator[Part]:
    records = finished.records
    if (cost := records.get(f"cost-{role}")) is None:
        yield from _missing(finished, f"cost-{role}")
    else:
        content = as_json(model)
        stored = {name: content[name] for name in Cost.model_fields}
        yield compared(NAME, RESULTS, stored, _known(cost, Cost), f"models.{role}")
    speed = records.get("latency")
    for precision, file in model.files.items():
        field, stem = f"models.{role}.files.{precision}", file.path.removesuffix(".onnx")
        stage = records.get(f"export-{stem}")
        made = None if stage is None else stage.result
        if made is not None and precision != "fp32":
            made = made.get("file")
        if made is None:
            yield from _missing(finished, f"export-{stem}")
        else:
            made = _filled(made, FileResult)
            kept = made.keys() - {"gate", "latency", "against_teacher"}  # of later stages
            content = as_json(file)
            yield compared(
                NAME, RESULTS, {k: content[k] for k in kept}, {k: made[k] for k in kept}, field
            )
        if speed is None:
            yield from _missing(finished, "latency")
        else:
            yield from _times(speed.result, file, field)
        name = f"against-teacher-{stem}"
        against, stored = records.get(name), as_json(file)["against_teacher"]
        if stored is not None and against is None:
            yield from _missing(finished, name)
        elif against is not None:
            yield compared(NAME, RESULTS, stored, against.result, f"{field}.against_teacher")


def _times(speed: dict[str, Any], file: FileResult, field: str) -> Iterator[Part]:
    content = as_json(file)
    times = _filled(speed.get("latency", {}).get(file.path, {}), Latency)
    yield compared(NAME, RESULTS, content["latency"], times, f"{field}.latency")
    if file.gate and (ratio := speed.get("ratios", {}).get(file.path)):
        stored = [file.gate.time_ratio, list(file.gate.time_ratio_ci95)]
        names = ["time_ratio", "time_ratio_ci95"]
        given, found = (dict(zip(names, pair, strict=True)) for pair in (stored, ratio))
        yield compared(NAME, RESULTS, given, found, f"{field}.gate")


def _rest(finished: FinishedStudy) -> Iterator[Part]:
    results = finished.results
    for name, record in (("gallery", results.gallery), ("explain", results.explain)):
        stage = finished.records.get(name)
        if record is not None and stage is None:
            yield from _missing(finished, name)
        elif record is not None and stage is not None:
            yield compared(NAME, RESULTS, as_json(record), _known(stage, type(record)), name)


def _known(stage: StageRecord, kind: type[Any]) -> dict[str, Any]:
    return _filled(stage.result, kind)


def _filled(content: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    """Return content with the defaults of a record; content that is no such record as it is."""
    try:
        filled: dict[str, Any] = as_json(kind.model_validate(content))
    except ValidationError:
        return content
    return filled
