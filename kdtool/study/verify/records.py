"""Whether results.json says what the records of the stages say, and follows from itself."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import ValidationError

from kdtool.errors import StudyError
from kdtool.recipe.schema import Recipe
from kdtool.report.decision import decide
from kdtool.results.base import Role, to_json
from kdtool.results.commands.verification import Part, compared, joined, mismatched, not_checked
from kdtool.results.profile import Latency
from kdtool.results.study import Cost, FileResult, ModelResult, Results, SeedResult, TrainingResult
from kdtool.study.folder import Study
from kdtool.study.ownership import differing_tables
from kdtool.study.stages import StageRecord, read_record
from kdtool.study.verify.integrity import RESULTS

NAME = "results.json, with the records of the stages"
RECORD = "record of the stage"
LEAST_LIKENESS = 0.8  # share of equal values; of two trainings, the values of each epoch differ
DECISION = "the decision, with all other results"


def recorded_results(study: Study, recipe: Recipe, results: Results) -> Part:
    """Compare results.json with recipe.toml and the records of the stages.

    Records that are missing are mismatches; those that are damaged are named by `listed_files`.
    """
    found = study_records(study)
    part = joined(
        NAME,
        [_recipe(recipe, results), *_models(found, results), *_rest(found, results)],
    )
    kept = [
        one
        for one in part.mismatches
        if one.field != RECORD or not any(study.folder.glob(one.file))
    ]
    return part.model_copy(update={"mismatches": kept})


def decided(results: Results) -> Part:
    """Decide again what to ship, from all other results."""
    if results.decision is None:
        return not_checked(DECISION, "decision: results.json, of an older kdtool, has none")
    stored, found = (as_json(one) for one in (results.decision, decide(results)))
    return compared(DECISION, RESULTS, stored, found, "decision")


def as_json(record: Any) -> Any:
    """Return a record as JSON values."""
    return json.loads(to_json(record))


def missing(name: str) -> Part:
    """Return that there is no record of that name, which may have wildcards."""
    return mismatched(NAME, f"stages/{name}.json", RECORD, "written", "no such file")


def study_records(study: Study) -> dict[str, StageRecord]:
    """Return the records of all stages by name; damaged ones are left out."""
    found = {}
    for path in sorted((study.folder / "stages").glob("*.json")):
        with suppress(StudyError, ValueError):  # `listed_files` names it
            if record := read_record(path):
                found[path.stem] = record
    return found


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


def _models(records: dict[str, StageRecord], results: Results) -> Iterator[Part]:
    for role, model in results.models.items():
        for place, seed in enumerate(model.seeds):
            field = f"models.{role}.seeds[{place}]"
            found = training_of(records, role, seed)
            if found is None:
                yield missing(f"{role}-seed{seed.seed}-*")
                continue
            name, training = found
            yield compared(NAME, RESULTS, trained(seed), _known(training, TrainingResult), field)
            if (test := records.get(f"evaluate-{name}")) is None:
                yield missing(f"evaluate-{name}")
            else:
                yield compared(NAME, RESULTS, as_json(seed.test), test.result, f"{field}.test")
        yield from _of_model(records, role, model)


def _of_model(records: dict[str, StageRecord], role: Role, model: ModelResult) -> Iterator[Part]:
    if (cost := records.get(f"cost-{role}")) is None:
        yield missing(f"cost-{role}")
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
            yield missing(f"export-{stem}")
        else:
            made = _filled(made, FileResult)
            kept = made.keys() - {"gate", "latency", "against_teacher"}  # of later stages
            content = as_json(file)
            yield compared(
                NAME, RESULTS, {k: content[k] for k in kept}, {k: made[k] for k in kept}, field
            )
        if speed is None:
            yield missing("latency")
        else:
            yield from _times(speed.result, file, field)
        name = f"against-teacher-{stem}"
        against, stored = records.get(name), as_json(file)["against_teacher"]
        if stored is not None and against is None:
            yield missing(name)
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


def _rest(records: dict[str, StageRecord], results: Results) -> Iterator[Part]:
    for name, record in (("gallery", results.gallery), ("explain", results.explain)):
        stage = records.get(name)
        if record is not None and stage is None:
            yield missing(name)
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
